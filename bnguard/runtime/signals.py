"""Ctrl-C and SIGTERM: one line about the saved checkpoints, and exit status 130 or 143.

Also: end worker processes with the process that started them.
"""

from __future__ import annotations

from contextlib import suppress
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

NOTHING_SAVED = "nothing of this run was saved; earlier checkpoints are untouched"

_WORDS = {signal.SIGINT: "Interrupted", signal.SIGTERM: "Terminated"}
_CLEAR_LINE = b"\r\x1b[K\x1b[?25h"  # clear a progress bar's line, and show the cursor again

_message = ""


def set_message(message: str) -> None:
    """Set the text that follows the word `Interrupted` or `Terminated` from now on."""
    global _message
    _message = message


def install() -> Callable[[], None]:
    """Let Ctrl-C and SIGTERM end this process at once, with one line on stderr.

    The handler raises no exception, because an import or a finalizer may swallow it. It can exit
    at any moment because a checkpoint is either complete or absent. Python runs a handler between
    two of its own instructions, so TensorFlow finishes the file that it is writing.

    A signal that is ignored, as under nohup, stays ignored. In a thread other than the main one,
    where Python allows no handlers, nothing changes.

    Returns:
      A function that restores the handlers before.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    stderr = _duplicate(2)  # descriptor 2 is redirected while TensorFlow is imported
    process = os.getpid()

    def stop(number: int, frame: Any) -> None:
        if os.getpid() == process:  # a forked child has the handler too, and must not print
            with suppress(OSError):
                os.write(stderr, _CLEAR_LINE if os.isatty(stderr) else b"")
                os.write(stderr, _line(_WORDS[signal.Signals(number)]).encode())
        os._exit(128 + number)

    handled = [number for number in _WORDS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in handled}

    def undo() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        with suppress(OSError):
            os.close(stderr)

    return undo


def in_worker(reader: Connection, writer: Connection) -> None:
    """Ignore Ctrl-C in this worker process, and end it when the process that started it ends.

    Args:
      reader: the reading end of a pipe.
      writer: the writing end. The starting process keeps it open and writes nothing.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    writer.close()
    threading.Thread(target=_end_with, args=(reader,), daemon=True).start()


def _end_with(reader: Connection) -> None:
    with suppress(EOFError, OSError):
        reader.recv()
    os._exit(1)


def _line(word: str) -> str:
    return f"{word}: {_message}.\n" if _message else f"{word}.\n"


def _duplicate(descriptor: int) -> int:
    with suppress(OSError):
        return os.dup(descriptor)
    return -1
