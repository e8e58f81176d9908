"""Where TensorFlow's own optimizer of graphs, Grappler, changes what a step writes."""

import pytest
from support.graphs import build_with
import tensorflow.compat.v1 as tf

from bnguard.analysis.rules import RULES
from bnguard.watch.watcher import Watcher

pytestmark = pytest.mark.slow


def branch_in_a_loop(negations):
    """A loop of `times` iterations around a branch that adds 1 to a variable, and the variable."""
    mean = tf.get_variable("bn/moving_mean", [2], initializer=tf.zeros_initializer())
    x = tf.placeholder(tf.float32, [2], name="x")
    times = tf.placeholder(tf.int32, [], name="times")
    flag = tf.placeholder(tf.bool, [], name="flag")

    def write(h):
        with tf.control_dependencies([tf.assign_add(mean, tf.fill([2], 1.0))]):
            return tf.identity(h)

    def body(step, h):
        predicate = flag
        for _ in range(negations):
            predicate = tf.logical_not(predicate)
        return step + 1, tf.cond(predicate, lambda: write(h), lambda: tf.identity(h))

    loop = tf.while_loop(lambda step, h: step < times, body, (tf.constant(0), x))
    return tf.identity(loop[1], name="y"), mean


@pytest.mark.parametrize("optimizes", [False, True])
@pytest.mark.parametrize("negations", [0, 2])
@pytest.mark.parametrize("times", [0, 2])
def test_a_branch_in_a_loop_is_taken_as_often_as_the_loop_runs(negations, times, optimizes):
    """Grappler removes a double negation, and with it the edge that kept the branch in the loop.

    The branch then runs one more time: when the loop's condition has ended it.
    """
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = not optimizes
    watcher = Watcher(RULES, stops=False, steps=None)
    with tf.Graph().as_default(), build_with("resource", "v1"):
        y, mean = branch_in_a_loop(negations)
        with tf.Session(config=config) as session, watcher.hooks.installed():
            session.run(tf.global_variables_initializer())
            session.run(y, {"x:0": [1.0, 2.0], "times:0": times, "flag:0": True})
            added = set(session.run(mean))
    is_rewritten = optimizes and negations == 2
    assert added <= ({times, times + 1} if is_rewritten else {times})
    (graph,) = watcher.report("program").graphs
    (step,) = [step for step in graph.steps if step.fetches == (y.name,)]
    assert step.written == (("bn/moving_mean",) if times else ())
