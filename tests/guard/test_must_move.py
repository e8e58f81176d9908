"""`must_move`: it raises if training does not change the statistics, and names the reason."""

import contextlib
import pickle

import numpy as np
import pytest
from support.graphs import build_with
from support.programs import tf1_programs as programs
from support.programs.tf1_programs import VARIABLE_CLASSES
from support.samples import combinations
import tensorflow.compat.v1 as tf

import bnguard

pytestmark = pytest.mark.slow

NAMES = ["one/moving_mean", "one/moving_variance", "two/moving_mean", "two/moving_variance"]


@contextlib.contextmanager
def fires(session):
    """Expect a must_move block to raise StatisticsDidNotMove."""
    with pytest.raises(bnguard.StatisticsDidNotMove) as caught, bnguard.must_move(session):
        yield caught


def why(caught):
    """Return the variables that did not change, and their common reason."""
    (reason,) = {statistic.reason for statistic in caught.value.unmoved}
    return [statistic.variable for statistic in caught.value.unmoved], reason


@pytest.mark.parametrize(
    ("variables", "updates_collections"),
    combinations(VARIABLE_CLASSES, [None, tf.GraphKeys.UPDATE_OPS]),
)
def test_training_that_runs_the_updates_passes(variables, updates_collections):
    with programs.session(variables, updates_collections=updates_collections) as (session, layers):
        with bnguard.must_move(session) as before:
            programs.train(session, layers)
        np.testing.assert_array_equal(before["one/moving_mean"], [0, 0])


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_update_ops_that_no_step_reaches_are_the_reason(variables):
    with programs.session(variables) as (session, layers), fires(session) as caught:
        session.run(layers.y, {layers.x: programs.BATCH, layers.is_training: True})
    reasons = {statistic.variable: statistic.reason for statistic in caught.value.unmoved}
    assert sorted(reasons) == NAMES
    assert reasons["two/moving_mean"] == (
        "no step reaches its update op; steps that ran: y:0 with "
        "is_training:0=True. Build the train op under `tf.control_dependencies("
        "tf.get_collection(tf.GraphKeys.UPDATE_OPS))`, or with a create_train_op that does so"
    )


def test_the_message_names_the_ops_and_the_lines_that_built_the_layers():
    with programs.session() as (session, layers), fires(session) as caught:
        session.run(layers.y, {layers.x: programs.BATCH, layers.is_training: True})
    for statistic in caught.value.unmoved:
        assert "batch_norm" in statistic.location.text
    text = str(caught.value)
    assert "  4 running statistics: no step reaches its update op; steps that ran: y:0" in text
    assert "    one: moving_mean, moving_variance\n    two: " in text
    assert "    update op: one/AssignMovingAvg and 3 more ops\n" in text
    assert all(f"    built at {statistic.location}" in text for statistic in caught.value.unmoved)


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_a_layer_without_updates_is_detected_unless_out_of_scope(variables):
    with programs.session(variables) as (session, layers):
        with fires(session) as caught:
            session.run(layers.updates[:2], {layers.x: programs.BATCH, layers.is_training: True})
        assert [statistic.variable for statistic in caught.value.unmoved] == NAMES[2:]
        with bnguard.must_move(session, scope="one"):
            session.run(layers.updates[:2], {layers.x: programs.BATCH, layers.is_training: True})


def test_runs_of_one_train_op_get_one_remedy():
    """However their feeds differ, and whatever else ran."""

    def build():
        layers = programs.layers()
        train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(layers.y))
        return layers, train

    with programs.session(build=build) as (session, (layers, train)), fires(session) as caught:
        for is_training in (True, False):
            feed = {layers.x: programs.BATCH, layers.is_training: is_training}
            session.run(train, feed)
            session.run(layers.y, feed)
    reasons = [statistic.reason for statistic in caught.value.unmoved]
    (remedy,) = {reason.partition("; steps that ran: ")[2].partition(". ")[2] for reason in reasons}
    assert remedy == (
        "Build the train op under `tf.control_dependencies(tf.get_collection("
        "tf.GraphKeys.UPDATE_OPS))`, or with a create_train_op that does so"
    )


def test_a_graph_without_update_ops_is_the_reason():
    with programs.session(is_training=False) as (session, layers), fires(session) as caught:
        session.run(layers.y, {layers.x: programs.BATCH})
    names, reason = why(caught)
    assert names == NAMES
    assert reason.startswith("no op in the graph updates it.")


def test_a_branch_that_no_step_takes_is_the_reason():
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
    assert "is in a branch that no step takes" in reason
    assert "moved:0 with flag:0=False" in reason


def test_an_update_without_effect_is_the_reason():
    without_decay = programs.session(decay=1.0, is_training=True)
    with without_decay as (session, layers), fires(session) as caught:
        session.run([layers.y, layers.updates], {layers.x: programs.BATCH})
    assert "is reached but does not change the value" in caught.value.unmoved[0].reason


@pytest.mark.parametrize(("arguments", "companions"), programs.COMPANIONS)
def test_variables_of_renorm_and_zero_debiasing_must_move_except_counts(arguments, companions):
    with programs.session(**arguments) as (session, layers):
        with bnguard.must_move(session):
            programs.train(session, layers)
        with fires(session) as caught:
            programs.infer(session, layers)
    reasons = {statistic.variable: statistic.reason for statistic in caught.value.unmoved}
    ops = {statistic.variable: statistic.ops for statistic in caught.value.unmoved}
    for name in companions:
        if name.endswith("local_step"):
            assert name not in reasons
        else:
            assert "no step reaches its update op" in reasons[name]
            assert any(op.startswith("one/AssignAuxiliary") for op in ops[name])


def test_a_block_without_steps_is_the_reason():
    with programs.session() as (session, _), fires(session) as caught:
        pass
    names, reason = why(caught)
    assert names == NAMES
    assert reason == "no step completed in the block. Train inside the block, with session.run"
    assert str(caught.value).splitlines()[1:4] == [
        f"  4 running statistics: {reason}",
        "    one: moving_mean, moving_variance",
        "    two: moving_mean, moving_variance",
    ]


def test_a_failed_step_does_not_count_as_completed():
    with programs.session() as (session, layers), fires(session) as caught:
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run([layers.y, layers.updates], {layers.is_training: True})
    _, reason = why(caught)
    assert reason.startswith("no step completed in the block.")


def test_an_exception_of_the_body_propagates_and_the_session_is_restored():
    with programs.session() as (session, _):
        with pytest.raises(ZeroDivisionError), bnguard.must_move(session):
            raise ZeroDivisionError
        assert "run" not in vars(session)


def test_a_guard_can_be_nested_and_entered_again():
    with programs.session() as (session, layers):
        guard = bnguard.must_move(session)
        with guard, guard:
            programs.train(session, layers)
        with guard:
            programs.train(session, layers)
            with pytest.raises(bnguard.StatisticsDidNotMove), guard:
                programs.infer(session, layers)


def test_a_monitored_session_is_guarded():
    with tf.Graph().as_default():
        layers = programs.layers(updates_collections=None)
        with tf.train.MonitoredSession() as session:
            with bnguard.must_move(session):
                programs.train(session, layers)
            with fires(session):
                programs.infer(session, layers)


@pytest.mark.parametrize("trains", [True, False])
def test_the_statistics_are_compared_at_the_end_of_the_data(trains):
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
        assert [statistic.variable for statistic in caught.value.unmoved] == NAMES
        assert isinstance(caught.value.__cause__, tf.errors.OutOfRangeError)


def test_the_exception_survives_pickling():
    with programs.session() as (session, _), fires(session) as caught:
        pass
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.unmoved == caught.value.unmoved
    assert str(again) == str(caught.value)


def test_averages_of_statistics_need_not_move_and_are_in_every_snapshot(tmp_path):
    """An average of all variables moves where the program applies it, not in every step."""
    with build_with("ref", "v1"), tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 2])
        y = bnguard.batch_norm(x, is_training=True, updates_collections=None, scope="bn")
        average = tf.train.ExponentialMovingAverage(0.9).apply(tf.global_variables())
        session.run(tf.global_variables_initializer())
        with bnguard.must_move(session) as before:
            session.run(y, {x: [[1.0, 2.0], [3.0, 4.0]]})
        assert sorted(before) == [
            f"bn/moving_{role}{ending}"
            for role in ("mean", "variance")
            for ending in ("", "/ExponentialMovingAverage")
        ]
        session.run(average)
        prefix = tf.train.Saver().save(session, str(tmp_path / "model"))
        assert not bnguard.diff(session, prefix)
        assert not bnguard.diff(prefix, session)


def test_averages_of_moments_that_a_layer_uses_must_move():
    with build_with("ref", "v1"), tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 2])
        moments = tf.nn.moments(x, [0])
        averages = tf.train.ExponentialMovingAverage(0.9)
        averages.apply(moments)
        y = tf.nn.batch_normalization(x, *map(averages.average, moments), None, None, 1e-3)
        session.run(tf.global_variables_initializer())
        with fires(session) as caught:
            session.run(y, {x: [[1.0, 2.0]]})
        assert len(caught.value.unmoved) == 2


@pytest.mark.parametrize(
    ("copies", "advice"),
    [
        (True, "Copy the statistics with the weights: tf.global_variables(scope), not "),
        (False, "Build its layer for training too"),
    ],
)
def test_a_statistic_without_updates_gets_advice_for_its_network(copies, advice):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 2])
        for scope in ("online", "target"):
            with tf.variable_scope(scope):
                bnguard.batch_norm(x, is_training=scope == "online", scale=True, scope="bn")
        pairs = zip(tf.trainable_variables("target"), tf.trainable_variables("online"))
        copied = [tf.assign(target, online) for target, online in pairs] if copies else []
        step = tf.group(*copied, *tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        session.run(tf.global_variables_initializer())
        with fires(session) as caught:
            session.run(step, {x: [[1.0, 2.0], [3.0, 5.0]]})
    reasons = {statistic.variable: statistic.reason for statistic in caught.value.unmoved}
    assert sorted(reasons) == ["target/bn/moving_mean", "target/bn/moving_variance"]
    for reason in reasons.values():
        assert reason.startswith(f"no op in the graph updates it. {advice}")


def test_an_average_that_a_second_network_made_again_is_to_be_shared():
    """Both networks have the same gamma, but only the first network's average is run."""
    with build_with("ref", "v1"), tf.Graph().as_default(), tf.Session() as session:
        gamma = tf.get_variable("gamma", [2], initializer=tf.ones_initializer())
        x, updates = tf.placeholder(tf.float32, [None, 2]), []
        for network in ("trained", "tested"):
            moments = tf.nn.moments(x, [0])
            averages = tf.train.ExponentialMovingAverage(0.9)
            updates.append(averages.apply(moments))
            used = moments if network == "trained" else map(averages.average, moments)
            tf.nn.batch_normalization(x, *used, None, gamma, 1e-3)
        session.run(tf.global_variables_initializer())
        with fires(session) as caught:
            session.run(updates[0], {x: [[1.0, 2.0], [3.0, 5.0]]})
    assert len(caught.value.unmoved) == 2
    for statistic in caught.value.unmoved:
        assert "Share the statistics with the network that is trained" in statistic.reason
        assert "control_dependencies" not in statistic.reason
