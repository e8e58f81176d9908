"""The hook: it refuses a step that writes statistics, runs all others, and reports misuse."""

from contextlib import contextmanager
from typing import NamedTuple
import warnings

import numpy as np
import pytest
from support.programs import tf1_programs as programs
from support.programs.tf1_programs import MOVED, VARIABLE_CLASSES
from support.samples import combinations
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.statistics import graph_discovery

pytestmark = pytest.mark.slow


class Evaluation(NamedTuple):
    session: object
    hook: object
    built: object


@contextmanager
def evaluation(build=programs.layers, variables="ref", hooks=(), **arguments):
    """Open a monitored session of a new graph, with the hook."""
    hook = bnguard.FrozenStatisticsHook(**arguments)
    with tf.Graph().as_default():
        with programs.variable_class(variables):
            built = build()
        with tf.train.MonitoredSession(hooks=[hook, *hooks]) as session:
            yield Evaluation(session, hook, built)


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_a_step_that_writes_is_refused_before_it_runs(variables):
    with evaluation(programs.two_branches, variables) as evaluated:
        before = bnguard.snapshot(evaluated.session)
        with pytest.raises(bnguard.StatisticsChanged) as caught:
            programs.infer(evaluated.session, evaluated.built)
        assert [(statistic.variable, statistic.change) for statistic in caught.value.moved] == [
            (name, None) for name in MOVED
        ]
        assert bnguard.snapshot(evaluated.session) == before
    text = str(caught.value)
    assert "a step of this session, not run yet, writes running statistics" in text
    assert "2 running statistics would change\n    one: moving_mean, moving_variance\n" in text
    assert "when y:0 with is_training:0=False is fetched" in text


@pytest.mark.parametrize(
    ("variables", "mode"), combinations(VARIABLE_CLASSES, ["static", "static+dynamic"])
)
def test_evaluating_the_fixed_graph_passes(variables, mode):
    with evaluation(variables=variables, mode=mode, every_n_steps=2) as evaluated:
        for _ in range(5):
            programs.infer(evaluated.session, evaluated.built)


def test_every_fetch_and_every_value_of_the_flag_is_audited():
    with evaluation() as evaluated:
        layers, session = evaluated.built, evaluated.session
        programs.infer(session, layers)
        session.run(layers.y, {layers.x: programs.BATCH, layers.is_training: True})
        programs.infer(session, layers)
        with pytest.raises(bnguard.StatisticsChanged) as caught:
            programs.train(session, layers)
    assert {
        statistic.findings[0].fetch.rpartition(" with ")[2] for statistic in caught.value.moved
    } == {"is_training:0=True"}


def test_a_step_that_writes_a_renorm_variable_is_refused():
    with evaluation(lambda: programs.layers(renorm=True)) as evaluated:
        fetch = "one/AssignAuxiliary"
        with pytest.raises(bnguard.StatisticsChanged) as caught:
            evaluated.session.run(fetch, {"x:0": programs.BATCH, "is_training:0": True})
    assert [statistic.variable for statistic in caught.value.moved] == ["one/renorm_mean"]


def test_the_default_of_an_unfed_flag_is_used():
    def build():
        flag = tf.placeholder_with_default(True, [], name="is_training")
        return programs.layers(is_training=flag, updates_collections=None)._replace(
            is_training=flag
        )

    with evaluation(build) as evaluated:
        layers, session = evaluated.built, evaluated.session
        programs.infer(session, layers)
        with pytest.raises(bnguard.StatisticsChanged):
            session.run(layers.y, {layers.x: programs.BATCH})


def test_a_repeated_step_is_audited_once(monkeypatch):
    audited = []
    with evaluation() as evaluated:
        diagnosis = evaluated.hook._static_check._diagnosis
        findings = diagnosis.findings
        monkeypatch.setattr(
            diagnosis, "findings", lambda run_key: audited.append(run_key) or findings(run_key)
        )
        for _ in range(10):
            programs.infer(evaluated.session, evaluated.built)
    assert len(audited) == 1


def test_a_flag_fed_as_a_number_is_seen_beside_a_number_that_changes():
    def build():
        count = tf.placeholder(tf.int32, [])
        return programs.layers(updates_collections=None), count, tf.identity(count)

    with evaluation(build) as evaluated, warnings.catch_warnings():
        warnings.simplefilter("error")
        (layers, count, counted), session = evaluated.built, evaluated.session
        before = bnguard.snapshot(session)
        fetches, feed = [layers.y, counted], {layers.x: programs.BATCH}
        for number in range(100):
            session.run(fetches, {**feed, count: number, layers.is_training: 0})
        with pytest.raises(bnguard.StatisticsChanged):
            session.run(fetches, {**feed, count: 5, layers.is_training: 1})
        assert bnguard.snapshot(session) == before


def test_a_step_that_may_write_is_warned_of_once_for_all_values_of_a_flag():
    def build():
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        number = tf.placeholder(tf.int32, [], name="number")
        trains = (tf.reduce_sum(x) > 0) & (number > 5)
        return x, number, programs.layers(x, trains, updates_collections=None).y

    with evaluation(build) as evaluated, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        x, number, y = evaluated.built
        for value in range(20):
            evaluated.session.run(y, {x: -programs.BATCH, number: value})
    assert len(caught) == 1


def test_a_refused_step_is_refused_every_time():
    with evaluation(programs.two_branches) as evaluated:
        for _ in range(2):
            with pytest.raises(bnguard.StatisticsChanged):
                programs.infer(evaluated.session, evaluated.built)


def test_dynamic_mode_compares_only_the_scope():
    def build():
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        moving = {"is_training": True, "updates_collections": None}
        hidden = bnguard.batch_norm(x, scope="one", **moving)
        return tf.identity(bnguard.batch_norm(hidden, is_training=False, scope="two"), name="y")

    def run(scope):
        arguments = {"mode": "static+dynamic", "scope": scope, "every_n_steps": 1}
        with evaluation(build, hooks=[Fetching("y")], **arguments) as evaluated:
            evaluated.session.run([], {"x:0": programs.BATCH})

    run("two")
    with pytest.raises(bnguard.StatisticsChanged) as caught:
        run("one")
    assert [statistic.variable for statistic in caught.value.moved] == MOVED


class Fetching(tf.train.SessionRunHook):
    """Another hook, which fetches in each step; the static audit does not see that."""

    def __init__(self, fetch, feed=None):
        self._arguments = tf.train.SessionRunArgs(fetch, feed)

    def before_run(self, run_context):
        return self._arguments


def undecided():
    """Build a layer whose flag is computed from data, so that an audit cannot decide it."""
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    return programs.layers(x, is_training=tf.reduce_max(x) > 20, updates_collections=None)


def test_a_step_that_may_write_is_warned_about_once():
    with evaluation(undecided, "resource") as evaluated, warnings.catch_warnings(
        record=True
    ) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            evaluated.session.run("y:0", {"x:0": programs.BATCH})
    (warning,) = [warned for warned in caught if issubclass(warned.category, RuntimeWarning)]
    assert "may be written by" in str(warning.message)


def test_dynamic_mode_detects_a_change_that_static_mode_cannot_decide():
    def run():
        with evaluation(undecided, "resource", mode="static+dynamic") as evaluated:
            evaluated.session.run("y:0", {"x:0": np.zeros([3, 2])})
            evaluated.session.run("y:0", {"x:0": programs.BATCH})

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(bnguard.StatisticsChanged) as caught:
            run()
    assert sorted(statistic.variable for statistic in caught.value.moved) == [
        *MOVED,
        "two/moving_mean",
        "two/moving_variance",
    ]
    mean, _ = programs.after_one_step()
    assert caught.value.moved[0].change == pytest.approx(mean.max())
    assert "running statistics changed since the session was created" in str(caught.value)
    assert "may be written by" in str(caught.value)


@pytest.mark.parametrize(("every_n_steps", "steps"), [(1, 1), (3, 3), (100, 10)])
def test_dynamic_mode_compares_every_n_steps_and_at_the_end(every_n_steps, steps):
    ran = []

    def run():
        with evaluation(
            undecided, "resource", mode="static+dynamic", every_n_steps=every_n_steps
        ) as evaluated:
            for _ in range(10):
                ran.append(0)
                evaluated.session.run("y:0", {"x:0": programs.BATCH})

    with pytest.raises(bnguard.StatisticsChanged):
        run()
    assert len(ran) == steps


def test_dynamic_mode_detects_a_change_by_another_hook():
    def run(mode):
        hooks = [Fetching("one/AssignMovingAvg", {"is_training:0": True})]
        with evaluation(hooks=hooks, mode=mode) as evaluated:
            evaluated.session.run("y:0", {"x:0": programs.BATCH})

    with pytest.raises(bnguard.StatisticsChanged) as caught:
        run("static+dynamic")
    assert [statistic.variable for statistic in caught.value.moved] == ["one/moving_mean"]


def test_only_statistics_in_the_scope_are_guarded():
    with evaluation(programs.two_branches, scope="one"):
        pass
    refused = evaluation(programs.two_branches, scope="two")
    with programs.fails_with("scope 'two'", "these scopes have some: one"):
        refused.__enter__()


def test_the_hook_adds_no_op():
    with evaluation(mode="static+dynamic") as evaluated:
        with_hook = [op.name for op in evaluated.session.graph.get_operations()]
    with tf.Graph().as_default() as graph, programs.variable_class("ref"):
        programs.layers()
        with tf.train.MonitoredSession():
            pass
    assert with_hook == [op.name for op in graph.get_operations()]


def without_reads():
    """Build a resource variable without an op that only reads it, as in an imported graph."""
    tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[2], shared_name="v", name="bn/moving_mean")
    handle = tf.get_default_graph().get_tensor_by_name("bn/moving_mean:0")
    zeros = tf.raw_ops.AssignVariableOp(resource=handle, value=[0.0, 0.0])
    tf.add_to_collection(tf.GraphKeys.LOCAL_INIT_OP, zeros)


def test_a_missing_read_op_is_added_before_the_graph_is_finalized():
    with evaluation(without_reads, mode="static+dynamic") as evaluated:
        np.testing.assert_array_equal(bnguard.snapshot(evaluated.session)["bn/moving_mean"], [0, 0])


def test_an_added_read_op_has_no_control_inputs():
    hook = bnguard.FrozenStatisticsHook("static+dynamic")
    with tf.Graph().as_default() as graph:
        without_reads()
        with tf.control_dependencies([tf.placeholder(tf.float32, [], name="unfed")]):
            hook.begin()
        (read,) = [op for op in graph.get_operations() if op.type == "ReadVariableOp"]
    assert read.control_inputs == []


def test_a_missing_read_op_in_a_finalized_graph_is_reported():
    with tf.Graph().as_default() as graph:
        without_reads()
        graph.finalize()
        bnguard.FrozenStatisticsHook().begin()
        with programs.fails_with("bn/moving_mean: the graph is finalized", "Add the hook before"):
            bnguard.FrozenStatisticsHook("static+dynamic").begin()


@pytest.mark.parametrize("mode", ["static", "static+dynamic"])
@pytest.mark.parametrize("has_begun", [False, True])
def test_a_hook_added_too_late_is_reported(mode, has_begun):
    hook = bnguard.FrozenStatisticsHook(mode)
    with programs.session() as (session, layers):
        if has_begun:
            hook.begin()
        context = tf.train.SessionRunContext(tf.train.SessionRunArgs(layers.y), session)
        with programs.fails_with("added to an existing session", "finalized", "hooks="):
            hook.before_run(context)


def test_a_session_of_a_different_graph_is_reported():
    hook = bnguard.FrozenStatisticsHook()
    with tf.Graph().as_default():
        programs.layers()
        hook.begin()
    with programs.session() as (session, _), programs.fails_with("a different graph", "as_default"):
        hook.after_create_session(session, None)


def test_a_hook_can_be_used_in_several_sessions():
    hook = bnguard.FrozenStatisticsHook("static+dynamic")
    for build in (programs.layers, programs.layers):
        with tf.Graph().as_default():
            layers = build()
            with tf.train.MonitoredSession(hooks=[hook]) as session:
                programs.infer(session, layers)
    with tf.Graph().as_default():
        layers, session = programs.two_branches(), tf.train.MonitoredSession(hooks=[hook])
        with session, pytest.raises(bnguard.StatisticsChanged):
            programs.infer(session, layers)


@pytest.mark.parametrize(
    ("given", "fragments"),
    [
        ({"mode": "dynamic"}, ["mode: got 'dynamic'", "static, static+dynamic"]),
        ({"every_n_steps": 0}, ["every_n_steps: got 0", "a positive integer"]),
        ({"every_n_steps": 1.5}, ["every_n_steps: got 1.5", "a positive integer"]),
        ({"every_n_steps": True}, ["every_n_steps: got True", "a positive integer"]),
    ],
)
def test_invalid_arguments_are_reported(given, fragments):
    with programs.fails_with(*fragments):
        bnguard.FrozenStatisticsHook(**given)


def test_a_numpy_integer_is_accepted():
    bnguard.FrozenStatisticsHook(every_n_steps=np.int64(5))


@pytest.mark.parametrize("mode", ["static", "static+dynamic"])
def test_a_graph_without_statistics_is_reported(mode):
    without = evaluation(lambda: None, mode=mode)
    with programs.fails_with("no running statistics found"):
        without.__enter__()


def test_static_mode_analyses_the_graph_once(monkeypatch):
    analysed = []
    load = graph_discovery.load
    monkeypatch.setattr(
        graph_discovery, "load", lambda graph: analysed.append(graph) or load(graph)
    )
    with evaluation() as evaluated:
        programs.infer(evaluated.session, evaluated.built)
    assert len(analysed) == 1


@pytest.mark.skipif(not hasattr(tf, "estimator"), reason="this TensorFlow has no Estimator")
@pytest.mark.parametrize("is_broken", [False, True])
def test_the_evaluation_of_an_estimator_is_guarded(is_broken, tmp_path):
    def model(features, labels, mode):
        training = is_broken or mode == tf.estimator.ModeKeys.TRAIN
        layers = programs.layers(features, is_training=training, updates_collections=None)
        loss = tf.losses.mean_squared_error(labels, layers.y)
        train_op = tf.train.GradientDescentOptimizer(0.1).minimize(loss, tf.train.get_global_step())
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)

    def data():
        return tf.data.Dataset.from_tensors((programs.BATCH, programs.BATCH)).repeat(3)

    estimator = tf.estimator.Estimator(model, str(tmp_path))
    train = tf.estimator.TrainSpec(data, max_steps=3)
    spec = tf.estimator.EvalSpec(data, hooks=[bnguard.FrozenStatisticsHook()])
    if is_broken:
        with pytest.raises(bnguard.StatisticsChanged, match="4 running statistics would change"):
            tf.estimator.train_and_evaluate(estimator, train, spec)
    else:
        tf.estimator.train_and_evaluate(estimator, train, spec)


class TestOnlyEvaluation:
    """A session that trains and evaluates, in which the hook judges the evaluations."""

    @staticmethod
    def trainer(is_training=None):
        layers = programs.layers(is_training=is_training, updates_collections=None)
        loss = tf.reduce_mean(tf.square(layers.y))
        return layers, tf.train.GradientDescentOptimizer(0.1).minimize(loss)

    def test_training_steps_and_evaluations_pass(self):
        with evaluation(self.trainer, only="evaluation") as evaluated:
            layers, train_op = evaluated.built
            for _ in range(2):
                feed = {layers.x: programs.BATCH, layers.is_training: True}
                evaluated.session.run(train_op, feed)
                programs.infer(evaluated.session, layers)

    def test_update_ops_alone_pass(self):
        with evaluation(only="evaluation") as evaluated:
            layers = evaluated.built
            feed = {layers.x: programs.BATCH, layers.is_training: True}
            evaluated.session.run(layers.updates, feed)

    def test_an_evaluation_in_training_mode_is_refused(self):
        with evaluation(self.trainer, only="evaluation") as evaluated:
            layers, train_op = evaluated.built
            feed = {layers.x: programs.BATCH, layers.is_training: True}
            evaluated.session.run(train_op, feed)
            with pytest.raises(bnguard.StatisticsChanged):
                evaluated.session.run(layers.y, feed)

    def test_training_steps_are_refused_without(self):
        with evaluation(self.trainer) as evaluated:
            layers, train_op = evaluated.built
            feed = {layers.x: programs.BATCH, layers.is_training: True}
            with pytest.raises(bnguard.StatisticsChanged):
                evaluated.session.run(train_op, feed)

    @pytest.mark.parametrize(
        ("given", "fragments"),
        [
            ({"only": "training"}, ("only: got 'training'", "expected None or 'evaluation'")),
            (
                {"only": "evaluation", "mode": "static+dynamic"},
                ("only: got 'evaluation' with mode='static+dynamic'", "expected mode='static'"),
            ),
        ],
    )
    def test_invalid_arguments_are_reported(self, given, fragments):
        with programs.fails_with(*fragments):
            bnguard.FrozenStatisticsHook(**given)
