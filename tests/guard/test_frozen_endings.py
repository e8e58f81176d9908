"""The end of a `frozen` block: restored values, an exception, the end of the data."""

import numpy as np
import pytest
from support.programs import tf1_programs as programs
from support.programs.tf1_programs import (
    MOVED,
    VARIABLE_CLASSES,
    entering_fails_with,
    fires,
    two_branches,
)
import tensorflow.compat.v1 as tf

import bnguard

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_restore_restores_the_statistics_and_no_other_variable(variables):
    with programs.session(variables, build=two_branches) as (session, layers):
        programs.infer(session, layers)
        before, beta = bnguard.snapshot(session), tf.global_variables("one/beta")[0]
        with bnguard.frozen(session, on_change="restore"):
            programs.infer(session, layers)
            beta.load([7.0, 8.0], session)
        assert bnguard.snapshot(session) == before
        np.testing.assert_array_equal(session.run(beta), [7, 8])


def test_restore_works_for_variables_that_share_an_initial_value():
    def build():
        start = tf.constant([1.0, 2.0])
        mean = tf.get_variable("bn/moving_mean", initializer=start)
        variance = tf.get_variable("bn/moving_variance", initializer=start)
        return [mean.assign([3, 4]), variance.assign([5, 6])]

    with programs.session(build=build) as (session, moves):
        session.run(moves[0])
        with bnguard.frozen(session, on_change="restore") as before:
            session.run(moves)
        assert bnguard.snapshot(session) == before
        np.testing.assert_array_equal(before["bn/moving_mean"], [3, 4])


def test_restore_works_for_a_partitioned_variable():
    def build():
        with tf.variable_scope("bn", partitioner=tf.fixed_size_partitioner(2)):
            parts = tf.get_variable("moving_mean", [5], initializer=tf.ones_initializer())
        return [part.assign_add(tf.ones_like(part)) for part in parts]

    with programs.session(build=build) as (session, moves):
        with bnguard.frozen(session, on_change="restore"):
            session.run(moves)
        np.testing.assert_array_equal(bnguard.snapshot(session)["bn/moving_mean"], np.ones(5))


def test_restore_without_an_initializer_is_refused_at_the_start():
    with programs.session() as (session, _):
        definition = session.graph.as_graph_def()
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(definition, name="")
        session.run(
            [f"{name}/Assign" for name in [*MOVED, "two/moving_mean", "two/moving_variance"]]
        )
        entering_fails_with(
            bnguard.frozen(session, on_change="restore"),
            "one/moving_mean",
            "the initializer of this variable is unknown",
            "on_change='raise'",
        )


def test_restore_restores_after_an_interrupt():
    with programs.session(build=two_branches) as (session, layers):
        before = bnguard.snapshot(session)
        with pytest.raises(KeyboardInterrupt), bnguard.frozen(session, on_change="restore"):
            raise KeyboardInterrupt(programs.infer(session, layers))
        assert bnguard.snapshot(session) == before


@pytest.mark.parametrize("on_change", ["raise", "warn", "restore"])
def test_an_exception_of_the_body_propagates(on_change):
    with programs.session(build=two_branches) as (session, layers):
        before = bnguard.snapshot(session)
        with pytest.raises(ZeroDivisionError), bnguard.frozen(session, on_change=on_change):
            raise ZeroDivisionError(programs.infer(session, layers))
        assert (bnguard.snapshot(session) == before) == (on_change == "restore")
        assert "run" not in vars(session)


def test_a_change_before_the_end_of_the_data_is_detected():
    with tf.Graph().as_default():
        layers = two_branches(programs.data())
        with pytest.raises(bnguard.StatisticsChanged) as caught:
            evaluate_to_the_end(layers, bnguard.frozen)
    assert [statistic.variable for statistic in caught.value.moved] == MOVED
    assert caught.value.moved[0].findings[0].fetch == "y:0 with is_training:0=False"
    assert isinstance(caught.value.__cause__, tf.errors.OutOfRangeError)


def test_the_end_of_the_data_propagates_if_nothing_changed():
    with tf.Graph().as_default():
        evaluate_to_the_end(programs.layers(programs.data()), bnguard.frozen)
    with programs.session(build=lambda: programs.layers(programs.data(0))) as (session, layers):
        with pytest.raises(tf.errors.OutOfRangeError), bnguard.frozen(session):
            session.run(layers.y, {layers.is_training: False})
        with pytest.raises(StopIteration), bnguard.frozen(session):
            next(iter(()))


def test_a_change_before_stop_iteration_is_detected():
    with programs.session(build=two_branches) as (session, layers), fires(session) as caught:
        programs.infer(session, layers)
        next(iter(()))
    assert isinstance(caught.value.__cause__, StopIteration)


def test_restore_restores_at_the_end_of_the_data():
    with tf.Graph().as_default():
        layers = two_branches(programs.data())
        seen = evaluate_to_the_end(
            layers, lambda session: bnguard.frozen(session, on_change="restore")
        )
    np.testing.assert_array_equal(seen["one/moving_mean"], [0, 0])


def evaluate_to_the_end(layers, guard):
    """Run the usual evaluation loop of TF1, and return the statistics after it."""
    after = {}

    class Last(tf.train.SessionRunHook):
        def end(self, session):
            after.update(bnguard.snapshot(session))

    with tf.train.MonitoredSession(hooks=[Last()]) as session, guard(session):
        while not session.should_stop():
            session.run(layers.y, {layers.is_training: False})
    return after


def test_an_exception_propagates_even_if_the_session_is_closed():
    fails = pytest.raises(ZeroDivisionError)
    with programs.session() as (session, _), fails, bnguard.frozen(session, on_change="restore"):
        raise ZeroDivisionError(session.close())


def test_a_session_closed_in_the_block_is_reported():
    closed = programs.fails_with("the session is closed; expected an open one")
    with programs.session() as (session, _), closed, bnguard.frozen(session):
        session.close()


def test_the_session_and_the_graph_are_unchanged_after_the_block():
    with programs.session() as (session, layers):
        ops = len(session.graph.get_operations())
        with bnguard.frozen(session):
            assert "run" in vars(session)
            programs.infer(session, layers)
        assert "run" not in vars(session)
        assert len(session.graph.get_operations()) == ops


def test_a_wrapped_session_run_stays_wrapped():
    with programs.session() as (session, layers):
        calls = []
        run = session.run
        session.run = wrapper = lambda *args, **kwargs: calls.append(1) or run(*args, **kwargs)
        with bnguard.frozen(session):
            calls.clear()
            programs.infer(session, layers)
            assert calls == [1]
        assert session.run is wrapper


def test_blocks_can_end_in_any_order():
    with programs.session() as (session, layers):
        first, second = bnguard.frozen(session), bnguard.frozen(session)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        programs.train(session, layers)
        with pytest.raises(bnguard.StatisticsChanged):
            second.__exit__(None, None, None)
        assert "run" not in vars(session)


@pytest.mark.parametrize("on_change", ["raise", "restore"])
def test_a_change_by_a_hook_of_a_monitored_session_is_detected(on_change):
    class Fetching(tf.train.SessionRunHook):
        """A hook that changes the statistics; the program does not."""

        def before_run(self, run_context):
            return tf.train.SessionRunArgs("one/AssignMovingAvg")

    with tf.Graph().as_default():
        layers = programs.layers()
        with tf.train.MonitoredSession(hooks=[Fetching()]) as session:
            feed = {layers.x: programs.BATCH, layers.is_training: True}
            if on_change == "restore":
                with bnguard.frozen(session, on_change="restore") as before:
                    session.run(layers.y, feed)
                assert bnguard.snapshot(session) == before
            else:
                with fires(session) as caught:
                    session.run(layers.y, feed)
                (moved,) = caught.value.moved
                assert (moved.variable, moved.findings[0].op) == (MOVED[0], "one/AssignMovingAvg")


def test_a_step_that_fails_after_its_update_is_the_cause():
    def build():
        mean = tf.get_variable("bn/moving_mean", initializer=[1.0], use_resource=True)
        moved = mean.assign_sub([0.5])
        with tf.control_dependencies([moved]):
            return tf.Assert(False, ["no"], name="fails")

    with programs.session(build=build) as (session, fails), fires(session) as caught:
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run(fails)
    (moved,) = caught.value.moved
    assert (moved.change, [finding.fetch for finding in moved.findings]) == (0.5, ["fails/Assert"])
