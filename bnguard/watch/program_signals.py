"""Ctrl-C and SIGTERM for a program that is watched: they end it as Python lets them end it."""

from __future__ import annotations

from contextlib import contextmanager, suppress
import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator

INTERRUPTED = -signal.SIGINT
"""The status of a program that Ctrl-C ends, which is no status but a signal."""

_PATIENCE = 1.0  # seconds


@contextmanager
def own_signals(at_sigterm: Callable[[], None]) -> Iterator[None]:
    """Give Ctrl-C and SIGTERM to the program as Python does.

    If SIGTERM ends it, `at_sigterm` is called first, also while a session's step blocks the main
    thread, in which Python would call a handler only after the step.

    A signal that is ignored, as under nohup, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ending = _EndBySigterm(at_sigterm)
    handlers: Dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: ending.handle,
    }
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        with ending.woken_by_signals():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _EndBySigterm:
    """Ends this process by SIGTERM, after a function was called.

    Args:
      first: the function; a forked child does not call it.
    """

    def __init__(self, first: Callable[[], None]) -> None:
        self._first = first
        self._process = os.getpid()
        self._claim = threading.Lock()  # by the handler, or by the thread if that does not run

    def handle(self, number: int, frame: Any) -> None:
        """Handle the signal, in the main thread."""
        if self._claim.acquire(blocking=False):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._end()

    @contextmanager
    def woken_by_signals(self) -> Iterator[None]:
        """Let a thread end the process in the block if the main thread does not run `handle`."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=lambda: _forget(writer))
        threading.Thread(target=self._wait, args=(reader,), daemon=True).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.close(writer)  # which ends the thread

    def _wait(self, reader: int) -> None:
        with open(reader, "rb", buffering=0) as numbers:
            while True:
                number = numbers.read(1)
                if not number:
                    return
                if number[0] == signal.SIGTERM and signal.getsignal(signal.SIGTERM) == self.handle:
                    self._end_if_blocked()

    def _end_if_blocked(self) -> None:
        time.sleep(_PATIENCE)
        if self._claim.acquire(blocking=False):
            ctypes.pythonapi.PyOS_setsig(signal.SIGTERM, None)  # signal.signal is for main threads
            self._end()

    def _end(self) -> None:
        try:
            if os.getpid() == self._process:
                self._first()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)


def _forget(writer: int) -> None:
    """Let a forked child write its signals no longer to the pipe of its parent."""
    with suppress(ValueError):  # where this is not the main thread
        current = signal.set_wakeup_fd(-1)
        if current not in (writer, -1):
            signal.set_wakeup_fd(current)


def end_by_sigint() -> None:
    """End this process as Python does after a KeyboardInterrupt, so that a shell ends its loop."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
