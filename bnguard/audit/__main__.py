"""`python -m bnguard.audit` is `bnguard audit`, for where the command is not installed."""

from bnguard.audit.command import audit_command

if __name__ == "__main__":
    audit_command(prog_name="python -m bnguard.audit")
