"""A block that is busy for too long ends with the error that is given, whatever it is busy with."""

from contextlib import suppress
import signal
import threading
import time

import pytest

from bnguard.runtime.cpu_time import limit_cpu_time


class OutOfTimeError(Exception):
    pass


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_what_computes_for_too_long_is_interrupted():
    began = time.process_time()
    with pytest.raises(OutOfTimeError), limit_cpu_time(0.05, OutOfTimeError()):
        busy(5)
    assert time.process_time() - began < 1


def test_an_error_that_was_caught_comes_again():
    with pytest.raises(OutOfTimeError), limit_cpu_time(0.05, OutOfTimeError()):  # noqa: PT012
        with suppress(OutOfTimeError):
            busy(5)
        busy(5)


def test_waiting_costs_nothing_and_nothing_comes_after_the_block():
    with limit_cpu_time(0.05, OutOfTimeError()):
        time.sleep(0.1)
    busy(0.1)
    assert signal.getsignal(signal.SIGPROF) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


def test_a_profiler_and_other_threads_are_left_alone():
    def of_profiler(*_):
        pass

    signal.signal(signal.SIGPROF, of_profiler)
    try:
        with limit_cpu_time(0.01, OutOfTimeError()):
            busy(0.05)
        assert signal.getsignal(signal.SIGPROF) is of_profiler
    finally:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
    ended = []

    def in_thread():
        with limit_cpu_time(0.01, OutOfTimeError()):
            busy(0.05)
        ended.append(True)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert ended == [True]
