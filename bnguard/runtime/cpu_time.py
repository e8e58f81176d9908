"""Limit the CPU time of a block, whatever it is busy with."""

from __future__ import annotations

from contextlib import contextmanager
import signal
import threading
from typing import Any, Iterator

_AGAIN = 0.25  # seconds, after which an error that was caught inside the block is raised once more


@contextmanager
def limit_cpu_time(seconds: float, error: Exception) -> Iterator[None]:
    """Raise `error` in the block once this process has used so much CPU time in it.

    There is no limit where the system has no such timer, in threads but the main one, and where the
    program uses the timer already, as a profiler does.

    Args:
      seconds: of all threads together.
      error: what is raised, between two instructions of Python.
    """
    if not _has_timer():
        yield
        return
    is_inside = True

    def on_time(*_: Any) -> None:
        if is_inside:
            raise error

    signal.signal(signal.SIGPROF, on_time)
    signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN)
    try:
        yield
    finally:
        is_inside = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)


def _has_timer() -> bool:
    if not hasattr(signal, "SIGPROF") or not hasattr(signal, "setitimer"):
        return False
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGPROF) == signal.SIG_DFL
