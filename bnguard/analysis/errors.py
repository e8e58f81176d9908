"""What the audit cannot do, said in one line."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

from bnguard.errors import BnguardError


class AuditError(BnguardError):
    """The input cannot be read, or is not what a graph file can be; exit status 2."""


@contextmanager
def about(label: str) -> Iterator[None]:
    """Let the errors inside begin with what they are about: the label, maybe with tags after it."""
    try:
        yield
    except AuditError as error:
        text = str(error)
        if text.startswith((f"{label}: ", f"{label} [")):
            raise
        raise AuditError(f"{label}: {text}") from error
