"""BN207, with what a Session makes of a frozen layer in training and at inference."""

import numpy as np
import pytest
from support.analysis.networks import dense, flag, fresh_graph, inputs, layer, loss_of
import tensorflow.compat.v1 as tf

import bnguard

pytestmark = pytest.mark.slow

BUILDS = pytest.mark.parametrize(
    ("variables", "control_flow"), [("ref", "v1"), ("resource", "v1"), ("resource", "v2")]
)
STATISTICS = {"bn/moving_mean", "bn/moving_variance"}
ROWS = np.arange(8.0).reshape(2, 4)


def found(report, rule="BN207"):
    return {(f.variable, f.severity) for f in report.findings if f.rule == rule}


def warnings():
    return {(name, "warning") for name in STATISTICS}


def minimize(loss, variables, name="train"):
    return tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=variables, name=name)


def frozen(training, **options):
    return layer(dense(inputs()), training, **{"updates_collections": "not_run", **options})


@BUILDS
@pytest.mark.sampled
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_the_features_of_a_frozen_layer(variables, control_flow, training, fused):
    """What the head is trained on differs from what it is given at inference."""
    with fresh_graph(variables, control_flow) as graph:
        mode = flag()
        features = tf.identity(frozen(mode if training else False, fused=fused), "features")
        minimize(loss_of(dense(features, "head")), tf.trainable_variables("head"))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            moved = {v.op.name: v for v in tf.global_variables("bn/moving")}
            before = session.run(moved)
            values = [session.run(features, {"x:0": ROWS, mode: fed}) for fed in (True, False)]
            session.run("train", {"x:0": ROWS, "label:0": ROWS, mode: True})
            after = session.run(moved)
    assert before.keys() == STATISTICS
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert np.allclose(*values) is not training
    report = bnguard.audit(graph)
    assert found(report) == (warnings() if training else set())
    assert {finding.rule for finding in report.findings} <= {"BN207"}


@BUILDS
def test_a_graph_that_only_trains_keeps_the_statistics(variables, control_flow):
    """Inference is in another graph: the checkpoint has statistics that training did not use."""
    with fresh_graph(variables, control_flow) as graph:
        minimize(loss_of(dense(frozen(True), "head")), tf.trainable_variables("head"))
    assert found(bnguard.audit(graph)) == warnings()


def test_a_layer_that_infers_with_its_batch_is_not_this_defect():
    """It uses no running statistic in either mode, and the output is that of BN103."""
    with fresh_graph() as graph:
        y = dense(frozen(True), "head")
        minimize(loss_of(y), tf.trainable_variables("head"))
    report = bnguard.audit(graph, y.op.name)
    assert found(report) == set()
    assert {finding.rule for finding in report.findings} == {"BN103"}


def test_a_layer_that_another_step_trains_is_healthy():
    with fresh_graph() as graph:
        loss = loss_of(dense(frozen(flag(), updates_collections="updates"), "head"))
        minimize(loss, tf.trainable_variables("head"), "train_head")
        with tf.control_dependencies(tf.get_collection("updates")):
            minimize(loss, None, "train_all")
    assert found(bnguard.audit(graph)) == set()


def test_a_layer_without_parameters_cannot_be_frozen():
    with fresh_graph() as graph:
        y = dense(frozen(flag(), center=False, scale=False), "head")
        minimize(loss_of(y), tf.trainable_variables("head"))
    assert found(bnguard.audit(graph)) == set()


def test_statistics_that_move_are_left_to_bn206():
    with fresh_graph() as graph:
        y = dense(frozen(flag(), updates_collections=None), "head")
        minimize(loss_of(y), tf.trainable_variables("head"))
    report = bnguard.audit(graph)
    assert found(report) == set()
    assert found(report, "BN206") == warnings()
