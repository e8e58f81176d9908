"""The error that is the user's to mend, and reads like it."""

from __future__ import annotations


class BnguardError(Exception):
    """A mistake in what bnguard was given: a path, a checkpoint, a case name, a flag.

    The message is one line that says where, what was seen, what was expected and what
    to do. The command line prints it without a traceback and exits with status 2.
    """


# How lines begin with which TensorFlow 2 says where, around the line that says what.
_WHERE = ("Graph execution error", "Detected at node", "Node: ", "<", " ", "\t")


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says what, or its type where it has none."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(_WHERE)]
    return [*said, *lines, type(error).__name__][0].strip()
