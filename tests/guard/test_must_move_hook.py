"""The hook for training: it raises if steps leave a statistic unchanged, with the reason."""

from contextlib import contextmanager

import numpy as np
import pytest
from support.programs import tf1_programs as programs
from support.programs.tf1_programs import VARIABLE_CLASSES
from support.samples import combinations
import tensorflow.compat.v1 as tf

import bnguard

pytestmark = pytest.mark.slow

NAMES = ["one/moving_mean", "one/moving_variance", "two/moving_mean", "two/moving_variance"]


@contextmanager
def training(variables="ref", build=programs.layers, **arguments):
    """Open a monitored session of a new graph, with the hook; yields it and what was built."""
    hook = bnguard.MustMoveStatisticsHook(**arguments)
    with tf.Graph().as_default():
        with programs.variable_class(variables):
            built = build()
        with tf.train.MonitoredTrainingSession(hooks=[hook]) as session:
            yield session, built


def feed(layers):
    return {layers.x: programs.BATCH, layers.is_training: True}


@pytest.mark.parametrize(
    ("variables", "every_n_steps"), combinations(VARIABLE_CLASSES, [None, 1, 2])
)
def test_training_that_runs_the_updates_passes(variables, every_n_steps):
    with training(variables, every_n_steps=every_n_steps) as (session, layers):
        for _ in range(3):
            session.run([layers.y, layers.updates], feed(layers))


def run_steps(fetches_of, variables="ref", **arguments):
    """Run a step for each of the fetches; yield after each."""
    with training(variables, **arguments) as (session, layers):
        for fetches in fetches_of(layers):
            session.run(fetches, feed(layers))
            yield


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_statistics_that_no_step_moved_are_raised_at_the_end(variables):
    steps = run_steps(lambda layers: [layers.y] * 3, variables)
    for _ in range(3):
        next(steps)
    with pytest.raises(bnguard.StatisticsDidNotMove) as caught:
        next(steps)
    assert [statistic.variable for statistic in caught.value.unmoved] == NAMES
    text = str(caught.value)
    assert text.startswith(
        "MustMoveStatisticsHook: running statistics stayed bit-identical in 3 steps\n"
        "  4 running statistics: no step reaches its update op; steps that ran: y:0 with "
    )


def test_each_period_must_move_the_statistics():
    def fetches_of(layers):  # an evaluation in the first period, and nothing else in the second
        return [[layers.y, layers.updates], layers.y, layers.y, layers.y]

    steps = run_steps(fetches_of, every_n_steps=2)
    for _ in range(3):
        next(steps)
    with pytest.raises(bnguard.StatisticsDidNotMove, match="bit-identical in 2 steps"):
        next(steps)


def test_the_scope_selects_statistics():
    with training(scope="one") as (session, layers):
        session.run(layers.updates[:2], feed(layers))


def test_a_session_without_a_step_is_told_so():
    with pytest.raises(bnguard.StatisticsDidNotMove, match="no step completed"):
        with training():
            pass


@pytest.mark.parametrize("given", [0, -1, True, 2.0, "3"])
def test_a_number_of_steps_that_is_none_is_reported(given):
    with programs.fails_with("every_n_steps: got", "expected a positive integer"):
        bnguard.MustMoveStatisticsHook(given)
    bnguard.MustMoveStatisticsHook(np.int32(3))


def test_a_hook_that_is_added_too_late_is_reported():
    hook = bnguard.MustMoveStatisticsHook()
    with tf.Graph().as_default():
        layers = programs.layers()
        with tf.train.MonitoredSession() as session:
            context = tf.train.SessionRunContext(
                tf.train.SessionRunArgs(layers.y, {}), session._sess
            )
            with programs.fails_with("MustMoveStatisticsHook: the hook was added to an existing"):
                hook.before_run(context)
