"""The step cache: steps are identified by objects and flags, and their number is bounded."""

import numpy as np

from bnguard.guard.run_key import RunKey
from bnguard.guard.step_cache import StepCache


def test_the_same_objects_and_flags_are_the_same_step():
    cache, x, y = StepCache(), object(), object()
    run_key = RunKey(("y:0",), ())
    assert cache.find([y], {x: True}) is None
    cache.add([y], {x: True}, run_key)
    assert cache.find([y], {x: True}) is run_key
    assert cache.find((y,), {x: np.bool_(True)}) is run_key
    for fetches, feed in [([y], {x: False}), ([y, x], {x: True}), ([y], {}), ([y], None)]:
        assert cache.find(fetches, feed) is None


def test_fed_data_do_not_distinguish_steps():
    cache, x, y = StepCache(), object(), object()
    cache.add(y, {x: np.zeros(3)}, RunKey((), ()))
    assert cache.find(y, {x: np.ones(5)}) is not None
    assert cache.find(y, {x: 0.5}) is not None


def test_equal_names_are_the_same_step():
    cache = StepCache()
    cache.add("y:0", {"x:0": 1}, RunKey((), ()))
    assert cache.find("".join(["y", ":0"]), {"".join(["x", ":0"]): 1}) is not None


def test_a_fed_counter_stops_distinguishing_steps():
    cache, x, y = StepCache(), object(), object()
    missed = 0
    for count in range(1000):
        if cache.find(y, {x: count}) is None:
            cache.add(y, {x: count}, RunKey((), ()))
            missed += 1
    assert missed < 100


def test_a_full_cache_is_cleared():
    cache = StepCache()
    for count in range(2500):
        cache.add(f"y_{count}", None, RunKey((), ()))
    assert cache.find("y_2499", None) is not None
    assert cache.find("y_0", None) is None
