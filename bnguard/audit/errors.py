"""What the audit cannot do, said in one line."""

from __future__ import annotations

from bnguard.errors import BnguardError


class AuditError(BnguardError):
    """The input cannot be read, or is not what a graph file can be; exit status 2."""
