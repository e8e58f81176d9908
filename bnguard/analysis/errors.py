"""The error of the analysis: a message of one line that names what it is about."""

from __future__ import annotations

from contextlib import contextmanager
import re
from typing import Iterator

from bnguard.errors import BnguardError

_LONGEST = 1000  # characters of a message, of which a part of a file may be a part
_KEPT_START, _KEPT_END = 700, 250
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


class AuditError(BnguardError):
    """The input cannot be read, or is not what a graph file can be; exit status 2.

    The message is one line of at most a thousand characters, whatever names and texts of a file
    are in it.
    """

    def __init__(self, message: str = "", *more: str) -> None:
        if len(message) > _LONGEST:
            message = f"{message[:_KEPT_START]} ... {message[-_KEPT_END:]}"
        line = _CONTROL_CHARACTER.sub(lambda found: repr(found.group())[1:-1], message)
        super().__init__(line, *more)


class NotAGraphError(AuditError):
    """The input is known to be something else than a graph that can be audited.

    Attributes:
      what: what it is, with its article.
    """

    def __init__(self, message: str, what: str) -> None:
        super().__init__(message, what)  # both, so that it can be pickled
        self.what = what

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def about(label: str) -> Iterator[None]:
    """Prefix the errors of the block with the label of the input, if they do not start with it."""
    try:
        yield
    except NotAGraphError:
        raise
    except AuditError as error:
        text = str(error)
        if text.startswith((f"{label}: ", f"{label} [")):
            raise
        raise AuditError(f"{label}: {text}") from error
