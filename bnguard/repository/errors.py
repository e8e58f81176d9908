"""The error of the repository's own files: a message of one line that names the file."""

from __future__ import annotations

from bnguard.errors import BnguardError


class RepositoryError(BnguardError):
    """A configuration file or a baseline cannot be used; exit status 2."""


def reason(error: Exception) -> str:
    """Return why a file cannot be read or written, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
