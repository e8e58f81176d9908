"""The error that is the user's to mend, and reads like it."""

from __future__ import annotations


class BnguardError(Exception):
    """A mistake in what bnguard was given: a path, a checkpoint, a case name, a flag.

    The message is one line that says where, what was seen, what was expected and what
    to do. The command line prints it without a traceback and exits with status 2.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
