"""Print to any standard stream, closed, full or not of Unicode, and escape hostile names."""

from __future__ import annotations

from contextlib import contextmanager
import errno
import io
import os
import sys
from typing import Any, Iterator, List, Optional, TextIO, Tuple

import click

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


# As Python opened them: name, stream and its `errors`; None for a closed one.
_as_opened: List[Tuple[str, Any, Optional[str]]] = []


class Mistake(click.ClickException):
    """An error for the user to fix: one line on stderr, and exit status 2."""

    exit_code = 2

    def format_message(self) -> str:
        """Return the line, without anything that a terminal would obey."""
        return printable(self.message)


def printable(text: str) -> str:
    r"""Return text as one line, with everything that is not printable escaped, as `\n` or `\x1b`.

    Names in files can contain line breaks, which would break a message in two, and escape
    sequences, which a terminal would obey.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def takes_color(stream: TextIO) -> bool:
    """Return whether to print colors to a stream; see https://no-color.org."""
    unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not unwanted


def is_stream_error(error: OSError) -> bool:
    """Return whether a standard stream could not be written, rather than a named file."""
    return error.errno in _UNWRITABLE and error.filename is None


@contextmanager
def any_streams() -> Iterator[None]:
    """Run a command on standard streams that may be closed, full, or not of Unicode.

    If a stream cannot be written, print one line to the other and exit with status 2.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        _as_opened.append((name, stream, getattr(stream, "errors", None)))
    _open_closed()
    for name in ("stdout", "stderr"):
        setattr(sys, name, _whole(getattr(sys, name)))
    try:
        yield
    except OSError as error:
        if not is_stream_error(error):
            raise
        silence(sys.stdout)
        line = f"Error: the output cannot be written ({error.strerror})"
        try:
            print(line, file=sys.stderr, flush=True)
        except OSError:
            silence(sys.stderr)
        sys.exit(2)


def give_back() -> None:
    """Give a program that runs in this process the streams as Python opened them."""
    for name, stream, errors in _as_opened:
        used = getattr(sys, name)
        if used is stream:
            used.reconfigure(errors=errors)
        elif stream is not None:
            used.detach().detach()  # or it would close the stream when it is deleted
        setattr(sys, name, stream)
    _as_opened.clear()


@contextmanager
def descriptor_2() -> Iterator[TextIO]:
    """Open the standard error anew, because a program may have replaced or closed `sys.stderr`."""
    encoding = getattr(sys.__stderr__, "encoding", None)
    with open(2, "w", encoding=encoding, errors="backslashreplace", closefd=False) as stream:
        yield stream


def _open_closed() -> None:
    """Open the null device in place of closed streams, so that no other file takes their place."""
    lowest = os.open(os.devnull, os.O_RDWR)
    while lowest <= 2:
        lowest = os.open(os.devnull, os.O_RDWR)
    os.close(lowest)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w", closefd=False))  # noqa: SIM115


def _whole(stream: TextIO) -> TextIO:
    """Return the stream, set to escape what it cannot encode and to fail if a write is cut short.

    With PYTHONUNBUFFERED there is no buffer below the text layer. Python then drops the rest of a
    write that the system cut short, as on a full disk, without an error.
    """
    if not isinstance(stream.buffer, io.RawIOBase):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
        return stream
    buffer = io.BufferedWriter(stream.buffer)
    return io.TextIOWrapper(buffer, stream.encoding, "backslashreplace", line_buffering=True)


def silence(stream: object) -> None:
    """Discard buffered output; otherwise Python would fail to write it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
    os.close(nowhere)
