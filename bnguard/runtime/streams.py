"""What a command prints, whatever it prints to and whatever names it was given to print."""

from __future__ import annotations

from contextlib import contextmanager
import errno
import io
import os
import sys
from typing import Iterator, TextIO

import click

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Mistake(click.ClickException):
    """What the user is to mend: one line on stderr, and exit status 2."""

    exit_code = 2

    def format_message(self) -> str:
        """The line."""
        return printable(self.message)


def printable(text: str) -> str:
    r"""One line of text with all that is not printable escaped, as `\n` or `\x1b`.

    Names in somebody's file can hold line breaks, which would end a message early, and
    sequences that a terminal obeys.
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def takes_color(stream: TextIO) -> bool:
    """Say whether this is a terminal that colors are wanted on: https://no-color.org."""
    unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not unwanted


@contextmanager
def any_streams() -> Iterator[None]:
    """Run a command on standard streams as they may be: closed, full, or not of Unicode.

    A stream that cannot be written ends it with one line on the other, and status 2.
    """
    _open_closed()
    for name in ("stdout", "stderr"):
        setattr(sys, name, _whole(getattr(sys, name)))
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:  # not a stream's
            raise
        _silence(sys.stdout)
        said = f"Error: the output cannot be written ({error.strerror})"
        try:
            print(said, file=sys.stderr, flush=True)
        except OSError:
            _silence(sys.stderr)
        sys.exit(2)


def _open_closed() -> None:
    """Open nothing in the place of closed streams, lest the next file opened is taken for one."""
    lowest = os.open(os.devnull, os.O_RDWR)
    while lowest <= 2:
        lowest = os.open(os.devnull, os.O_RDWR)
    os.close(lowest)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w", closefd=False))  # noqa: SIM115


def _whole(stream: TextIO) -> TextIO:
    """The stream, escaping what it cannot encode, and writing all that it is given or failing.

    With PYTHONUNBUFFERED there is no buffer below the text, and what the system takes no more of,
    as on a disk that fills up, would be dropped without an error.
    """
    if not isinstance(stream.buffer, io.RawIOBase):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
        return stream
    buffer = io.BufferedWriter(stream.buffer)
    return io.TextIOWrapper(buffer, stream.encoding, "backslashreplace", line_buffering=True)


def _silence(stream: object) -> None:
    """Let what is still buffered go nowhere, or Python would fail to write it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
    os.close(nowhere)
