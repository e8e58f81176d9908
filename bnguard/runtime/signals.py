"""Ctrl-C and SIGTERM: one line, with where to go on from, and exit status 130 or 143.

And for a process that others are started by: none outlives it.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Callable, Iterator

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_WORDS = {signal.SIGINT: "Interrupted", signal.SIGTERM: "Terminated"}
NOTHING_SAVED = "nothing of this run was saved; earlier checkpoints are untouched"
_CLEAN_LINE = b"\r\x1b[K\x1b[?25h"  # of a progress bar, and its hidden cursor shown again

_told = ""


def tell(what: str) -> None:
    """What the line says from now on, beside the one word."""
    global _told
    _told = what


def install() -> Callable[[], None]:
    """Have Ctrl-C and SIGTERM end this process at once, with the line on stderr as it is now.

    No exception is raised: in the middle of an import or of a finalizer it may be swallowed.
    What is saved is whole or not there at any moment, so there is nothing to clean up. Python
    runs a handler between two of its instructions, so TensorFlow finishes the file that it is at.

    In a thread other than the main one, where Python allows no handlers, nothing changes.

    Returns:
      What undoes it.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    stderr = _duplicate(2)  # for the one below may be held back, as while TensorFlow is imported
    process = os.getpid()

    def stop(number: int, frame: Any) -> None:
        if os.getpid() == process:  # a forked one has the handler too, and is not to say it again
            with suppress(OSError):
                os.write(stderr, _CLEAN_LINE if os.isatty(stderr) else b"")
                os.write(stderr, _line(_WORDS[signal.Signals(number)]).encode())
        os._exit(128 + number)

    heeded = [one for one in _WORDS if signal.getsignal(one) is not signal.SIG_IGN]  # nohup
    before = {one: signal.signal(one, stop) for one in heeded}

    def undo() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)
        with suppress(OSError):
            os.close(stderr)

    return undo


@contextmanager
def installed() -> Iterator[None]:
    """A block with `install`."""
    undo = install()
    try:
        yield
    finally:
        undo()


def in_worker(reader: Connection, writer: Connection) -> None:
    """End this process when the one that has started it ends, by whatever, and not by Ctrl-C.

    Args:
      reader: one end of a pipe.
      writer: the other end, which that process keeps and writes nothing to.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    writer.close()
    threading.Thread(target=_end_with, args=(reader,), daemon=True).start()


def _end_with(reader: Connection) -> None:
    with suppress(EOFError, OSError):
        reader.recv()
    os._exit(1)


def _line(word: str) -> str:
    return f"{word}: {_told}.\n" if _told else f"{word}.\n"


def _duplicate(descriptor: int) -> int:
    with suppress(OSError):
        return os.dup(descriptor)
    return -1
