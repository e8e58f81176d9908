"""`must_move`: it fires when training leaves statistics alone, and says why."""

import contextlib
import pickle

import numpy as np
import pytest
from support.programs import tf1_programs as programs
from support.programs.tf1_programs import KINDS
import tensorflow.compat.v1 as tf

import bnguard

NAMES = ["one/moving_mean", "one/moving_variance", "two/moving_mean", "two/moving_variance"]


@contextlib.contextmanager
def fires(session):
    """A must_move block that has to fire."""
    with pytest.raises(bnguard.StatisticsDidNotMove) as caught, bnguard.must_move(session):
        yield caught


def why(caught):
    """The variables that stood still, and the one reason for all of them."""
    (reason,) = {one.reason for one in caught.value.still}
    return [one.variable for one in caught.value.still], reason


@pytest.mark.parametrize("variables", KINDS)
@pytest.mark.parametrize("updates_collections", [None, tf.GraphKeys.UPDATE_OPS])
def test_training_that_runs_the_updates(variables, updates_collections):
    with programs.session(variables, updates_collections=updates_collections) as (session, layers):
        with bnguard.must_move(session) as before:
            programs.train(session, layers)
        np.testing.assert_array_equal(before["one/moving_mean"], [0, 0])


@pytest.mark.parametrize("variables", KINDS)
def test_update_ops_that_nothing_reaches(variables):
    with programs.session(variables) as (session, layers), fires(session) as caught:
        session.run(layers.y, {layers.x: programs.BATCH, layers.is_training: True})
    reasons = {one.variable: one.reason for one in caught.value.still}
    assert sorted(reasons) == NAMES
    assert reasons["two/moving_mean"] == (
        "no step reaches its update op two/AssignMovingAvg; these ran: y:0 with "
        "is_training:0=True. Make the train op depend on the collection UPDATE_OPS, or use "
        "updates_collections=None"
    )


@pytest.mark.parametrize("variables", KINDS)
def test_one_layer_of_two(variables):
    with programs.session(variables) as (session, layers):
        with fires(session) as caught:
            session.run(layers.updates[:2], {layers.x: programs.BATCH, layers.is_training: True})
        assert [one.variable for one in caught.value.still] == NAMES[2:]
        with bnguard.must_move(session, scope="one"):
            session.run(layers.updates[:2], {layers.x: programs.BATCH, layers.is_training: True})


def test_a_graph_without_updates():
    with programs.session(is_training=False) as (session, layers), fires(session) as caught:
        session.run(layers.y, {layers.x: programs.BATCH})
    names, reason = why(caught)
    assert names == NAMES
    assert reason.startswith("nothing in the graph updates it.")


def test_a_dead_branch():
    def build():
        flag = tf.placeholder(tf.bool, [], name="flag")
        mean = tf.get_variable("bn/moving_mean", initializer=[1.0], use_resource=True)
        batch = tf.placeholder(tf.float32, [None, 1], name="batch")
        moved = tf.cond(
            flag, lambda: mean.assign_sub(0.1 * (mean - tf.reduce_mean(batch, 0))), lambda: mean + 0
        )
        return tf.identity(moved, name="moved")

    with programs.session(build=build) as (session, moved):
        feed = {"batch:0": [[5.0]]}
        with bnguard.must_move(session):
            session.run(moved, {**feed, "flag:0": True})
        with fires(session) as caught:
            session.run(moved, {**feed, "flag:0": False})
    _, reason = why(caught)
    assert "is in a branch that the step does not take" in reason
    assert "moved:0 with flag:0=False" in reason


def test_an_update_that_changes_nothing():
    still = programs.session(decay=1.0, is_training=True)
    with still as (session, layers), fires(session) as caught:
        session.run([layers.y, layers.updates], {layers.x: programs.BATCH})
    assert "is reached, but leaves the value as it is" in caught.value.still[0].reason


@pytest.mark.parametrize(("arguments", "companions"), programs.COMPANIONS)
def test_what_belongs_to_a_statistic_has_to_move_but_a_count(arguments, companions):
    with programs.session(**arguments) as (session, layers):
        with bnguard.must_move(session):
            programs.train(session, layers)
        with fires(session) as caught:
            programs.infer(session, layers)
    reasons = {one.variable: one.reason for one in caught.value.still}
    for name in companions:
        if name.endswith("local_step"):
            assert name not in reasons
        else:
            assert "no step reaches its update op one/AssignAuxiliary" in reasons[name]


def test_a_block_without_steps():
    with programs.session() as (session, _), fires(session) as caught:
        pass
    names, reason = why(caught)
    assert names == NAMES
    assert reason == "no step ran to its end in the block. Train inside it, by session.run"
    assert str(caught.value).splitlines()[1].startswith("  one/moving_mean, one/moving_variance, ")


def test_a_step_that_failed_has_not_run():
    with programs.session() as (session, layers), fires(session) as caught:
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run([layers.y, layers.updates], {layers.is_training: True})
    _, reason = why(caught)
    assert reason.startswith("no step ran to its end in the block.")


def test_the_bodys_own_exception_goes_on_and_nothing_is_left_behind():
    with programs.session() as (session, _):
        with pytest.raises(ZeroDivisionError), bnguard.must_move(session):
            raise ZeroDivisionError
        assert "run" not in vars(session)


def test_it_nests_and_may_be_entered_again():
    with programs.session() as (session, layers):
        guard = bnguard.must_move(session)
        with guard, guard:
            programs.train(session, layers)
        with guard:
            programs.train(session, layers)
            with pytest.raises(bnguard.StatisticsDidNotMove), guard:
                programs.infer(session, layers)


def test_a_monitored_session():
    with tf.Graph().as_default():
        layers = programs.layers(updates_collections=None)
        with tf.train.MonitoredSession() as session:
            with bnguard.must_move(session):
                programs.train(session, layers)
            with fires(session):
                programs.infer(session, layers)


@pytest.mark.parametrize("trains", [True, False])
def test_the_end_of_the_data_is_an_end(trains):
    with tf.Graph().as_default():
        layers = programs.layers(programs.data(), updates_collections=None)
        expected = (
            contextlib.nullcontext() if trains else pytest.raises(bnguard.StatisticsDidNotMove)
        )
        with expected as caught, tf.train.MonitoredSession() as session:
            with bnguard.must_move(session):
                while not session.should_stop():
                    session.run(layers.y, {layers.is_training: trains})
    if not trains:
        assert [one.variable for one in caught.value.still] == NAMES
        assert isinstance(caught.value.__cause__, tf.errors.OutOfRangeError)


def test_the_exception_survives_a_pickle():
    with programs.session() as (session, _), fires(session) as caught:
        pass
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.still == caught.value.still
    assert str(again) == str(caught.value)
