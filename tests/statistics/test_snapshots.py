"""Snapshots and differences of sessions and checkpoints: one Session.run, no added op."""

import pathlib

import numpy as np
import pytest
from support.programs import tf1_programs as programs
from support.programs.tf1_programs import VARIABLE_CLASSES
import tensorflow.compat.v1 as tf

import bnguard

pytestmark = pytest.mark.slow

NAMES = ["one/moving_mean", "one/moving_variance", "two/moving_mean", "two/moving_variance"]


def count_runs(session):
    calls = []
    run = session.run
    session.run = lambda *args, **kwargs: calls.append(args) or run(*args, **kwargs)
    return calls


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_a_session_is_read_in_one_run_without_adding_an_op(variables):
    with programs.session(variables) as (session, layers):  # its graph is finalized
        programs.train(session, layers)
        ops, calls = len(session.graph.get_operations()), count_runs(session)
        taken = bnguard.snapshot(session)
        assert len(calls) == 1
        assert len(session.graph.get_operations()) == ops
    assert list(taken) == NAMES
    mean, variance = programs.after_one_step()
    np.testing.assert_allclose(taken["one/moving_mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(taken["one/moving_variance"], variance, rtol=1e-6)


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_a_snapshot_does_not_change_with_its_session(variables):
    with programs.session(variables) as (session, layers):
        before = bnguard.snapshot(session)
        programs.train(session, layers)
        after = bnguard.snapshot(session)
    np.testing.assert_array_equal(before["one/moving_mean"], [0, 0])
    assert [change.name for change in bnguard.diff(before, after).changed] == NAMES


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_statistics_with_any_name_are_found_by_structure(variables, tmp_path):
    def build():
        mu = tf.get_variable("net/mu", [2], initializer=tf.zeros_initializer(), trainable=False)
        sigma = tf.get_variable("net/s", [2], initializer=tf.ones_initializer(), trainable=False)
        tf.get_variable("net/kernel", [2])
        x = tf.placeholder(tf.float32, [None, 1, 1, 2])
        return tf.nn.fused_batch_norm(x, [1.0, 1], [0.0, 0], mu, sigma, is_training=False)

    with programs.session(variables, build) as (session, _):
        taken = bnguard.snapshot(session)
        path = session.saver.save(session, str(tmp_path / "model.ckpt"))
        assert not bnguard.diff(session, path)  # by name alone, the checkpoint has none
        assert not bnguard.diff(path, session)
    assert taken.roles == {"net/mu": "mean", "net/s": "variance"}
    assert taken.health()[1].problems == ("never moved from its initial value 1",)


def test_variables_inside_a_function_body_are_left_out():
    @tf.function
    def infer(x):
        handles = [
            tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[2], shared_name=name, name=name)
            for name in ("moving_mean", "moving_variance")
        ]
        mean, variance = (
            tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32) for handle in handles
        )
        return tf.nn.fused_batch_norm(x, [1.0, 1], [0.0, 0], mean, variance, is_training=False)[0]

    def build():
        return infer(tf.placeholder(tf.float32, [None, 1, 1, 2])), programs.layers()

    with programs.session(build=build) as (session, _):
        assert list(bnguard.snapshot(session)) == NAMES


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_the_graph_need_not_be_the_default_graph(variables):
    with tf.Graph().as_default(), programs.variable_class(variables):
        programs.layers()
        session, initializer = tf.Session(), tf.global_variables_initializer()
    session.run(initializer)
    assert list(bnguard.snapshot(session)) == NAMES
    session.close()


def test_a_scope_selects_statistics():
    with programs.session() as (session, _):
        assert list(bnguard.snapshot(session, scope="two")) == NAMES[2:]


def test_an_interactive_session_is_read():
    with tf.Graph().as_default():
        programs.layers()
        session = tf.InteractiveSession()
        try:
            session.run(tf.global_variables_initializer())
            assert list(bnguard.snapshot(session)) == NAMES
        finally:
            session.close()


def test_a_monitored_sessions_hooks_see_no_step():
    class Hook(tf.train.SessionRunHook):
        steps = 0

        def before_run(self, run_context):
            self.steps += 1

    with tf.Graph().as_default():
        programs.layers()
        hook = Hook()
        with tf.train.MonitoredSession(hooks=[hook]) as session:
            assert list(bnguard.snapshot(session)) == NAMES
    assert hook.steps == 0


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_a_graph_imported_without_collections_is_read(variables):
    with programs.session(variables) as (session, _):
        definition = session.graph.as_graph_def()
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(definition, name="")
        session.run([f"{name}/Assign" for name in NAMES])
        np.testing.assert_array_equal(bnguard.snapshot(session)["two/moving_variance"], [1, 1])


def test_a_resource_variable_without_a_read_op_is_reported():
    with tf.Graph().as_default(), tf.Session() as session:
        handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[2], name="bn/moving_mean")
        tf.raw_ops.AssignVariableOp(resource=handle, value=tf.zeros([2]))
        with programs.fails_with("bn/moving_mean: the graph has no op that only reads"):
            bnguard.snapshot(session)


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_a_partitioned_variable_is_joined(variables, tmp_path):
    values = np.arange(23, dtype=np.float32)

    def slice_of_values(shape, dtype, partition_info):
        start = partition_info.var_offset[0]
        return tf.constant(values[start : start + shape[0]], dtype)

    def partitioned():
        with tf.variable_scope("bn", partitioner=tf.fixed_size_partitioner(11)):  # 10 after 9
            tf.get_variable("moving_mean", [23], initializer=slice_of_values)

    with programs.session(variables, partitioned) as (session, _):
        taken = bnguard.snapshot(session)
        path = session.saver.save(session, str(tmp_path / "model.ckpt"))
    assert list(taken) == ["bn/moving_mean"]
    np.testing.assert_array_equal(taken["bn/moving_mean"], values)
    assert not bnguard.diff(taken, path)


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_a_variable_partitioned_along_its_second_axis_is_joined_and_restored(variables):
    values = np.arange(18, dtype=np.float32).reshape(2, 9)

    def columns(shape, dtype, partition_info):
        start = partition_info.var_offset[1]
        return tf.constant(values[:, start : start + shape[1]], dtype)

    def partitioned():
        with tf.variable_scope("bn", partitioner=tf.fixed_size_partitioner(3, axis=1)):
            parts = tf.get_variable("moving_mean", [2, 9], initializer=columns)
        return [part.assign_add(tf.ones_like(part)) for part in parts]

    with programs.session(variables, partitioned) as (session, moves):
        with bnguard.frozen(session, on_change="restore") as before:
            session.run(moves)
        taken = bnguard.snapshot(session)
    np.testing.assert_array_equal(before["bn/moving_mean"], values)
    assert taken == before


@pytest.mark.parametrize("spelling", ["prefix", "path", "folder"])
def test_a_checkpoint_gives_the_same_snapshot_as_its_session(spelling, tmp_path):
    with programs.session() as (session, layers):
        programs.train(session, layers)
        prefix = session.saver.save(session, str(tmp_path / "model.ckpt"))
        taken = bnguard.snapshot(session)
    path = {"prefix": prefix, "path": pathlib.Path(prefix), "folder": str(tmp_path)}[spelling]
    assert bnguard.snapshot(path) == taken
    assert bnguard.snapshot(path).source == prefix  # even if a folder is given


def test_sessions_checkpoints_and_snapshots_can_be_compared_with_each_other(tmp_path):
    with programs.session() as (session, layers):
        start = session.saver.save(session, str(tmp_path / "start.ckpt"))
        programs.train(session, layers)
        assert bnguard.diff(start, session).before == start
        assert bnguard.diff(session, start).after == start
        assert [change.name for change in bnguard.diff(start, session).changed] == NAMES
        assert [
            change.name for change in bnguard.diff(start, session, scope="one").changed
        ] == NAMES[:2]
        assert not bnguard.diff(session, bnguard.snapshot(session))
        mean = bnguard.diff(session, start).changes[0]
    assert mean.absolute == pytest.approx(programs.after_one_step()[0].max())


def test_all_statistics_are_removed_in_a_checkpoint_without_any(tmp_path):
    with programs.session() as (session, _):
        complete = session.saver.save(session, str(tmp_path / "complete.ckpt"))
    with tf.Graph().as_default(), tf.Session() as session:
        beta = tf.get_variable("one/beta", [2])
        session.run(beta.initializer)
        trainable = tf.train.Saver([beta]).save(session, str(tmp_path / "trainable.ckpt"))
    assert bnguard.diff(complete, trainable).removed == tuple(NAMES)
    assert bnguard.diff(trainable, complete).added == tuple(NAMES)
    with programs.fails_with("trainable.ckpt: no running statistics"):
        bnguard.snapshot(trainable)
    with programs.fails_with("trainable.ckpt: no running statistics"):
        bnguard.diff(trainable, trainable)


def test_a_scope_without_statistics_lists_the_scopes_that_have_some():
    with programs.session() as (session, _), programs.fails_with(
        "these scopes have some: one, two"
    ):
        bnguard.snapshot(session, scope="three")


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_uninitialized_variables_are_reported(variables):
    message = f"{', '.join(NAMES)}: not initialized; expected variables with values"
    with programs.session(variables, initialize=False) as (session, _), programs.fails_with(
        message
    ):
        bnguard.snapshot(session)


def test_a_closed_session_is_reported():
    with programs.session() as (session, _):
        pass
    with programs.fails_with("Session: the session is closed; expected an open one"):
        bnguard.snapshot(session)


def test_a_closed_monitored_session_is_reported():
    with tf.Graph().as_default():
        programs.layers()
        with tf.train.MonitoredSession() as session:
            pass
    with programs.fails_with("MonitoredSession: the session is closed"):
        bnguard.snapshot(session)


@pytest.mark.parametrize("thing", [None, 3, ["x"]])
def test_other_objects_are_refused(thing):
    with programs.fails_with("neither a session nor a checkpoint", "expected a tf.Session"):
        bnguard.snapshot(thing)


@pytest.mark.parametrize("tolerance", [-1, float("nan"), "x", None])
def test_a_tolerance_that_is_not_a_number_of_at_least_0_is_refused(tolerance):
    with programs.fails_with(f"tolerance: got {tolerance!r}; expected a number of at least 0"):
        bnguard.diff("a", "b", tolerance=tolerance)
