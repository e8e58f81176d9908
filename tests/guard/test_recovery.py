"""The guards around a MonitoredSession that loses its session and recovers with a new one."""

from contextlib import contextmanager

import pytest
from support.programs import tf1_programs as programs
import tensorflow.compat.v1 as tf

import bnguard


class Preemption(tf.train.SessionRunHook):
    """Fails the next attempt of a step when it is told to, before or after the step runs."""

    def __init__(self):
        self.next = None

    def before_run(self, run_context):
        self._fail("before")

    def after_run(self, run_context, run_values):
        self._fail("after")

    def _fail(self, when):
        if self.next is not None and self.next[0] == when:
            error, self.next = self.next[1], None
            raise error(None, None, "the worker was lost")


@contextmanager
def monitored(build=programs.layers):
    """Open a session that recovers, with the layers and what makes it fail."""
    preemption = Preemption()
    with tf.Graph().as_default():
        with programs.variable_class("ref"):
            layers = build()
        with tf.train.MonitoredSession(hooks=[preemption]) as session:
            yield session, layers, preemption


@pytest.mark.parametrize(
    ("when", "error"),
    [("before", tf.errors.AbortedError), ("after", tf.errors.UnavailableError)],
)
def test_variables_that_a_recovery_initializes_have_not_moved(when, error):
    with monitored() as (session, layers, preemption):
        programs.train(session, layers)
        guard = bnguard.must_move(session)
        guard.__enter__()
        programs.infer(session, layers)
        preemption.next = (when, error)
        programs.infer(session, layers)
        with pytest.raises(bnguard.StatisticsDidNotMove) as caught:
            guard.__exit__(None, None, None)
    text = str(caught.value)
    assert "since its session was re-created after an error from which it recovered" in text
    assert "no step reaches its update op; steps that ran: y:0 with is_training:0=False" in text
    assert len(caught.value.unmoved) == 4


def test_the_step_that_is_attempted_again_moves_the_statistics():
    with monitored() as (session, layers, preemption), bnguard.must_move(session):
        preemption.next = ("before", tf.errors.AbortedError)
        programs.train(session, layers)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_change_after_a_recovery_has_its_causes(steps):
    """Inference in the two-branch graph writes; so does an initializer."""
    with monitored(programs.two_branches) as (session, layers, preemption):
        for _ in range(5):
            programs.infer(session, layers)
        with programs.fires(session) as caught:
            preemption.next = ("after", tf.errors.AbortedError)
            programs.infer(session, layers)
            for _ in range(steps):
                programs.infer(session, layers)
    assert "its session was re-created after an error" in str(caught.value)
    assert "initializes or restores all variables" in str(caught.value)
    if steps:
        assert "written by one/AssignMovingAvg" in str(caught.value)


def test_nested_blocks_follow_the_session_and_leave_nothing_behind():
    with monitored() as (session, layers, preemption):
        with bnguard.must_move(session):
            with bnguard.must_move(session):
                preemption.next = ("before", tf.errors.AbortedError)
                programs.train(session, layers)
            programs.train(session, layers)
        assert "run" not in vars(session)
        assert "run" not in vars(session.run_step_fn(lambda step_context: step_context.session))


def test_results_and_errors_of_a_monitored_session_are_passed_through():
    with monitored() as (session, layers, _):
        feed = {layers.x: programs.BATCH, layers.is_training: False}
        metadata = tf.RunMetadata()
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        with bnguard.frozen(session):
            y = session.run(layers.y, feed, options=options, run_metadata=metadata)
            assert y.shape == programs.BATCH.shape
            assert metadata.step_stats.dev_stats
            with pytest.raises(tf.errors.InvalidArgumentError):
                session.run(layers.y)
