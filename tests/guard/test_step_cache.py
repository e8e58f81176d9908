"""The step cache: steps are told apart by objects and by what is fed to a flag of any type."""

import gc
import weakref

import numpy as np
import pytest
from support.graphs import build_with
import tensorflow.compat.v1 as tf

from bnguard import batch_norm
from bnguard.guard.step_cache import StepCache


class Steps:
    """A layer whose mode is a tensor of `mode`, beside a number that decides nothing."""

    def __init__(self, mode, control_flow="v1"):
        self.graph = tf.Graph()
        self.checked = []
        self.cache = StepCache(self._learn)
        with self.graph.as_default(), build_with("resource", control_flow):
            self.x = tf.placeholder(tf.float32, [None, 4], name="x")
            self.flag = tf.placeholder(tf.as_dtype(mode(0).dtype), mode(0).shape, name="flag")
            self.count = tf.placeholder(tf.int64, [], name="count")
            self.rate = tf.placeholder(tf.float32, [], name="rate")
            training = tf.cast(tf.reshape(self.flag, []), tf.float32) > 0.5
            y = batch_norm(self.x, is_training=training, updates_collections=None)
            self.fetches = [y * self.rate, tf.identity(self.count)]

    def key(self, **fed):
        feed = {getattr(self, name): value for name, value in fed.items()}
        return self.cache.known(self.graph, self.fetches, feed)

    def _learn(self, run_key):
        self.checked.append(run_key)
        return run_key


FLAGS = [np.bool_, np.int32, np.int64, np.float32, lambda value: np.array([value], np.float64)]


@pytest.mark.parametrize("mode", FLAGS)
@pytest.mark.parametrize("control_flow", ["v1", "v2"])
def test_what_decides_a_branch_is_a_flag_whatever_its_type(mode, control_flow):
    """The number beside it, which changes in every step, is not, and hides nothing."""
    steps = Steps(mode, control_flow)
    for count in range(500):
        steps.key(flag=mode(0), count=count, rate=0.1 * count)
    assert len(steps.checked) < 70
    after = len(steps.checked)
    training = steps.key(flag=mode(1), count=500, rate=0.5)
    assert len(steps.checked) == after + 1
    assert dict(training.feeds) == {"count:0": None, "flag:0": 1, "rate:0": None}
    steps.key(flag=mode(1), count=501, rate=0.5)
    steps.key(flag=mode(0), count=501, rate=0.5)
    assert len(steps.checked) <= after + 2


def test_every_value_of_a_number_that_decides_is_checked_and_again_when_forgotten():
    steps = Steps(np.int64)
    for _ in range(2):
        for number in range(1500):
            steps.key(flag=number)
    assert [dict(run_key.feeds)["flag:0"] for run_key in steps.checked] == 2 * list(range(1500))


def test_data_of_many_elements_do_not_distinguish_steps():
    steps = Steps(np.bool_)
    for rows in range(2, 9):
        steps.key(x=np.zeros([rows, 4]), flag=False)
    assert len(steps.checked) == 1


def test_the_same_objects_and_flags_are_the_same_step():
    steps = Steps(np.bool_)
    first = steps.key(flag=True)
    assert steps.key(flag=np.bool_(True)) is first
    assert steps.cache.known(steps.graph, tuple(steps.fetches), {steps.flag: True}) is first
    by_name = steps.cache.known(steps.graph, steps.fetches, {"".join(["flag", ":0"]): 1})
    assert by_name == first
    others = [([*steps.fetches, steps.x], {steps.flag: True}), (steps.fetches, None)]
    for fetches, feed in [*others, (steps.fetches, {steps.flag: False})]:
        assert steps.cache.known(steps.graph, fetches, feed) != first


def test_a_graph_that_grows_keeps_its_flags():
    """A number that decided nothing decides a branch that is built later."""
    steps = Steps(np.bool_)
    for count in range(200):
        steps.key(flag=False, count=count)
    checked = len(steps.checked)
    with steps.graph.as_default():
        zero = tf.constant(0.0)
        steps.fetches = [tf.cond(steps.count > 250, lambda: zero, lambda: zero + 1)]
    for count in range(200, 300):
        steps.key(flag=False, count=count)
    assert len(steps.checked) == checked + 100


def test_a_step_whose_check_fails_is_checked_again():
    steps = Steps(np.bool_)
    failures = []

    def refuse(run_key):
        failures.append(run_key)
        raise AssertionError

    cache = StepCache(refuse)
    for _ in range(2):
        with pytest.raises(AssertionError):
            cache.known(steps.graph, steps.fetches, {steps.flag: True})
    assert len(failures) == 2


def test_what_is_fetched_is_kept_so_that_no_other_object_gets_its_id():
    steps = Steps(np.bool_)
    with steps.graph.as_default():
        fetched = tf.IndexedSlices(steps.x, steps.x[:, 0])
    kept = weakref.ref(fetched)
    steps.cache.known(steps.graph, [fetched], {steps.flag: True})
    del fetched
    gc.collect()
    assert kept() is not None
