"""`python -m bnguard` is `bnguard`, for where the command is not installed."""

from bnguard.cli.commands import main

if __name__ == "__main__":
    main()
