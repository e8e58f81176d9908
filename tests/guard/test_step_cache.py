"""Steps known already: recognised by the objects and flags, and never without bound."""

import numpy as np

from bnguard.guard.run_key import RunKey
from bnguard.guard.step_cache import StepCache


def test_the_same_objects_and_flags_are_the_same_step():
    known, x, y = StepCache(), object(), object()
    step = RunKey(("y:0",), ())
    assert known.find([y], {x: True}) is None
    known.add([y], {x: True}, step)
    assert known.find([y], {x: True}) is step
    assert known.find((y,), {x: np.bool_(True)}) is step
    for fetches, feed in [([y], {x: False}), ([y, x], {x: True}), ([y], {}), ([y], None)]:
        assert known.find(fetches, feed) is None


def test_data_do_not_matter():
    known, x, y = StepCache(), object(), object()
    known.add(y, {x: np.zeros(3)}, RunKey((), ()))
    assert known.find(y, {x: np.ones(5)}) is not None
    assert known.find(y, {x: 0.5}) is not None


def test_names_are_known_by_their_letters():
    known = StepCache()
    known.add("y:0", {"x:0": 1}, RunKey((), ()))
    assert known.find("".join(["y", ":0"]), {"".join(["x", ":0"]): 1}) is not None


def test_a_counter_is_no_flag_for_ever():
    known, x, y = StepCache(), object(), object()
    missed = 0
    for count in range(1000):
        if known.find(y, {x: count}) is None:
            known.add(y, {x: count}, RunKey((), ()))
            missed += 1
    assert missed < 100


def test_it_does_not_grow_without_bound():
    known = StepCache()
    for count in range(2500):
        known.add(f"y_{count}", None, RunKey((), ()))
    assert known.find("y_2499", None) is not None
    assert known.find("y_0", None) is None
