"""`frozen`: it raises if statistics change, is silent if not, and names the cause."""

from concurrent.futures import ThreadPoolExecutor
import contextlib
import pickle
import warnings

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
from support.samples import combinations
import tensorflow.compat.v1 as tf

import bnguard


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_inference_in_the_two_branch_graph_is_detected(variables):
    with programs.session(variables, build=two_branches) as (session, layers), fires(
        session
    ) as caught:
        programs.infer(session, layers)
    error = caught.value
    assert [statistic.variable for statistic in error.moved] == MOVED
    mean, variance = programs.after_one_step()
    changes = [np.abs(mean).max(), np.abs(variance - 1).max()]
    np.testing.assert_allclose([statistic.change for statistic in error.moved], changes, rtol=1e-5)


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_the_error_names_the_fetch_the_op_and_the_path(variables):
    with programs.session(variables, build=two_branches) as (session, layers):
        with fires(session) as caught:
            programs.infer(session, layers)
        (finding,) = caught.value.moved[0].findings
        assert session.graph.get_operation_by_name(finding.op).type.startswith("AssignSub")
    assert (finding.rule, finding.certain) == ("BN101", True)
    assert finding.fetch == "y:0 with is_training:0=False"
    assert (finding.path[0].name, finding.path[-1].name) == ("y", finding.op)
    assert (
        finding.path[-1].type == {"ref": "AssignSub", "resource": "AssignSubVariableOp"}[variables]
    )
    path = f"       y [Identity]\n    <- {finding.path[1].name} ["
    built_at = f"    built at {finding.location}\n"
    assert "batch_norm" in finding.location.text
    shown = (
        "2 running statistics changed by up to 26.5",
        finding.op,
        path,
        built_at,
        "Expected: every",
    )
    for fragment in shown:
        assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "updates_collections"),
    combinations(VARIABLE_CLASSES, [None, tf.GraphKeys.UPDATE_OPS]),
)
def test_inference_in_the_fixed_graph_passes(variables, updates_collections):
    with programs.session(variables, updates_collections=updates_collections) as (session, layers):
        programs.train(session, layers)
        with bnguard.frozen(session) as before:
            programs.infer(session, layers)
        assert bnguard.snapshot(session) == before


@pytest.mark.parametrize(
    ("variables", "number"), combinations(VARIABLE_CLASSES, range(len(programs.COMPANIONS)))
)
def test_variables_of_renorm_and_zero_debiasing_are_guarded(variables, number):
    arguments, companions = programs.COMPANIONS[number]
    with programs.session(variables, **arguments) as (session, layers):
        programs.train(session, layers)
        auxiliary = [
            op
            for op in session.graph.get_operations()
            if "one/AssignAuxiliary" in f"/{op.name}" and op.type.startswith("Assign")
        ]
        feed = {layers.x: programs.BATCH + 1, layers.is_training: True}
        with bnguard.frozen(session, on_change="restore") as before:
            session.run(auxiliary, feed)
        assert bnguard.snapshot(session) == before
        with fires(session, scope="one") as caught:
            session.run(auxiliary, feed)
    assert [statistic.variable for statistic in caught.value.moved] == companions
    assert all("AssignAuxiliary" in statistic.findings[0].op for statistic in caught.value.moved)


def test_only_statistics_in_the_scope_are_guarded():
    with programs.session() as (session, layers):
        with bnguard.frozen(session, scope="two"):
            session.run(layers.updates[:2], {layers.x: programs.BATCH, layers.is_training: True})
        with fires(session, scope="one"):
            session.run(layers.updates[:2], {layers.x: programs.BATCH, layers.is_training: True})


def test_a_change_that_is_undone_passes():
    with programs.session(build=two_branches) as (session, layers), bnguard.frozen(session):
        programs.infer(session, layers)
        session.run([variable.initializer for variable in tf.global_variables()])


def test_warn_emits_the_message_as_a_warning():
    with programs.session(build=two_branches) as (
        session,
        layers,
    ), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with bnguard.frozen(session, on_change="warn"):
            programs.infer(session, layers)
    assert caught[0].category is RuntimeWarning
    assert "2 running statistics changed by up to" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_blocks_can_be_nested():
    with programs.session(build=two_branches) as (session, layers):
        with fires(session) as outer:
            with fires(session) as inner:
                programs.infer(session, layers)
            with bnguard.frozen(session):
                pass
        assert "run" not in vars(session)
    assert inner.value.moved == outer.value.moved


def test_a_guard_can_be_entered_again_inside_its_own_block():
    with programs.session(build=two_branches) as (session, layers):
        guard = bnguard.frozen(session)
        with guard, guard:
            pass
        with pytest.raises(bnguard.StatisticsChanged), guard, contextlib.suppress(
            AssertionError
        ), guard:
            programs.infer(session, layers)
        assert "run" not in vars(session)


def test_each_thread_restores_its_own_snapshot():
    """The first thread enters first and leaves first, around a step of training."""
    with programs.session() as (session, layers), ThreadPoolExecutor(1) as second:
        guard = bnguard.frozen(session, on_change="restore")
        with guard as before_first:
            programs.train(session, layers)
            before_second = second.submit(guard.__enter__).result()
            assert before_second != before_first
        assert bnguard.snapshot(session) == before_first
        second.submit(guard.__exit__, None, None, None).result()
        assert bnguard.snapshot(session) == before_second


def test_a_change_by_eval_in_an_interactive_session_is_explained():
    with tf.Graph().as_default():
        layers = two_branches()
        session = tf.InteractiveSession()
        try:
            session.run(tf.global_variables_initializer())
            with fires(session) as caught:
                layers.y.eval({layers.x: programs.BATCH, layers.is_training: False})
        finally:
            session.close()
    assert caught.value.moved[0].findings[0].fetch == "y:0 with is_training:0=False"


def test_a_change_that_no_recorded_run_explains_is_reported():
    def build():
        return tf.get_variable("bn/moving_mean", initializer=[1.0]).assign([3.0])

    with programs.session(build=build) as (session, move):
        unrecorded = session.make_callable(move.op)
        with fires(session) as caught:
            unrecorded()
    (moved,) = caught.value.moved
    assert (moved.variable, moved.change, moved.findings) == ("bn/moving_mean", 2.0, ())


def test_a_variable_with_a_new_shape_has_changed():
    def build():
        mean = tf.get_variable("bn/moving_mean", initializer=[1.0, 2.0], validate_shape=False)
        return tf.assign(mean, [1.0, 2.0, 3.0], validate_shape=False)

    with programs.session(build=build) as (session, move), fires(session) as caught:
        session.run(move)
    (moved,) = caught.value.moved
    assert (moved.variable, moved.change) == ("bn/moving_mean", np.inf)
    assert moved.findings[0].op == "Assign"
    assert "bn/moving_mean changed: float32 [2] became float32 [3]" in str(caught.value)


def test_every_fetch_that_writes_a_statistic_is_a_cause():
    with programs.session(build=two_branches) as (session, layers), fires(session) as caught:
        programs.infer(session, layers)
        session.run("one/AssignMovingAvg", {layers.x: programs.BATCH})
    mean, variance = caught.value.moved
    assert {finding.op for finding in mean.findings} == {"one/AssignMovingAvg"}
    assert [finding.fetch for finding in mean.findings] == [
        "y:0 with is_training:0=False",
        "one/AssignMovingAvg",
    ]
    assert len(variance.findings) == 1


def test_runs_that_differ_in_a_fed_counter_are_one_cause():
    def build():
        layers = two_branches()
        return layers, tf.placeholder_with_default(0, [], name="count")

    with programs.session(build=build) as (session, (layers, _)), fires(session) as caught:
        for count in range(30):
            feed = {layers.x: programs.BATCH, layers.is_training: False, "count:0": count}
            session.run(layers.y, feed)
    assert [len(statistic.findings) for statistic in caught.value.moved] == [1, 1]


def test_the_exception_survives_pickling():
    with programs.session(build=two_branches) as (session, layers), fires(session) as caught:
        programs.infer(session, layers)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is bnguard.StatisticsChanged
    assert again.moved == caught.value.moved
    assert str(again) == str(caught.value)


def test_no_warning_is_emitted_if_nothing_changed():
    with programs.session() as (session, layers), warnings.catch_warnings():
        warnings.simplefilter("error")
        with bnguard.frozen(session, on_change="warn"):
            programs.infer(session, layers)


@pytest.mark.parametrize(
    ("given", "fragments"),
    [
        ({"on_change": "explode"}, ["on_change: got 'explode'", "raise, warn, restore"]),
        ({"scope": "three"}, ["no running statistics found in scope 'three'", "one, two"]),
    ],
)
def test_invalid_arguments_are_reported(given, fragments):
    with programs.session() as (session, _), programs.fails_with(*fragments):
        bnguard.frozen(session, **given).__enter__()


@pytest.mark.parametrize("thing", [None, "a/checkpoint", 3])
def test_an_object_that_is_not_a_session_is_refused(thing):
    entering_fails_with(bnguard.frozen(thing), ": not a session; expected a tf.Session")


def test_a_session_whose_graph_is_not_the_default_is_mentioned():
    with tf.Graph().as_default():
        programs.layers()
        with tf.Session(graph=tf.Graph()) as session, tf.Graph().as_default():
            entering_fails_with(
                bnguard.frozen(session),
                "the session's graph, which is not the default graph: no running statistics",
            )


def test_uninitialized_and_closed_sessions_are_reported():
    with programs.session(initialize=False) as (session, _):
        entering_fails_with(
            bnguard.frozen(session), "not initialized; expected variables with values"
        )
    entering_fails_with(bnguard.frozen(session), "the session is closed; expected an open one")


@pytest.mark.parametrize("guard", [bnguard.frozen, bnguard.must_move])
def test_a_thread_that_leaves_what_another_entered_is_told(guard):
    with programs.session("ref", build=two_branches) as (session, _):
        entered = guard(session)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(entered.__enter__).result()
            with pytest.raises(bnguard.BnguardError, match="has not entered; expected `with`"):
                entered.__exit__(None, None, None)
            with contextlib.suppress(AssertionError):  # nothing was trained in the block
                pool.submit(entered.__exit__, None, None, None).result()
