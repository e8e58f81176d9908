"""The base class of errors caused by user input."""

from __future__ import annotations


class BnguardError(Exception):
    """A mistake in bnguard's input: a path, a checkpoint, a case name, an option.

    The message is one line: where, what was seen, what was expected, and what to do. The command
    line prints it without a traceback and exits with status 2.
    """


# The beginnings of the lines with which TensorFlow 2 describes where an error happened.
_LOCATION = ("Graph execution error", "Detected at node", "Node: ", "<", " ", "\t")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that describes the problem.

    Lines that only describe the location are skipped. Without a message it is the error's type.
    """
    lines = [line for line in str(error).splitlines() if line.strip()]
    described = [line for line in lines if not line.startswith(_LOCATION)]
    return [*described, *lines, type(error).__name__][0].strip()
