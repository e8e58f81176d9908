"""BN201 where no gradient reaches a layer: left out by mistake, or frozen on purpose."""

import pytest
from support.analysis.networks import dense, fresh_graph, inputs, layer, loss_of, optimizer
import tensorflow.compat.v1 as tf

import bnguard

ENCODER = ["encoder/bn/moving_mean", "encoder/bn/moving_variance"]
DECODER = ["decoder/bn/moving_mean", "decoder/bn/moving_variance"]
BUILDS = [("ref", "v1"), ("resource", "v2")]


def unpool(h):
    """As SegNet does it: a scatter into a variable."""
    pixels = tf.get_variable("pixels", [8, 4], trainable=False, use_resource=False)
    return tf.scatter_nd_update(pixels, [[row] for row in range(8)], h)


def above_zero(h):
    return tf.cast(h > 0.0, tf.float32)


def one_hot(h):
    return tf.one_hot(tf.argmax(h, axis=1), 4)


def never_updated(between, trainable=True, trained=None, build=("ref", "v1"), as_graph_def=False):
    """The statistics of BN201 in a network of two layers, with `between` between them.

    Args:
      between: makes the second layer's input from the first layer's output.
      trainable: whether the first layer adds its variables to TRAINABLE_VARIABLES.
      trained: the scope of the variables that are trained, or None for all.
      build: the class of variables and the form of control flow.
      as_graph_def: whether to audit the graph without its collections.
    """
    with fresh_graph(*build) as graph:
        x = tf.placeholder(tf.float32, [8, 4], "x")
        with tf.variable_scope("encoder"):
            h = layer(dense(x), True)
        if not trainable:
            del tf.get_collection_ref(tf.GraphKeys.TRAINABLE_VARIABLES)[:]
        with tf.variable_scope("decoder"):
            y = layer(dense(between(h)), True)
        optimizer().minimize(loss_of(y), var_list=trained and tf.trainable_variables(trained))
        assert between in (tf.identity, tf.stop_gradient) or tf.gradients(y, h) == [None]
    report = bnguard.audit(graph.as_graph_def() if as_graph_def else graph)
    frozen = {finding.variable for finding in report.findings if finding.rule == "BN207"}
    found = [finding.variable for finding in report.findings if finding.rule == "BN201"]
    assert frozen.isdisjoint(found)  # a layer is either frozen or meant to move
    return found


@pytest.mark.sampled
@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("between", [unpool, above_zero, one_hot, tf.round])
def test_a_layer_behind_an_op_without_gradient_is_not_frozen(between, build):
    assert never_updated(between, build=build) == ENCODER + DECODER


def test_nor_is_it_in_a_graph_without_collections():
    assert never_updated(tf.round, as_graph_def=True) == ENCODER + DECODER


@pytest.mark.sampled
@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize(
    "options",
    [
        {"between": tf.stop_gradient},
        {"between": tf.identity, "trained": "decoder"},
        {"between": tf.round, "trainable": False},
    ],
    ids=["stopped gradient", "list of variables", "not trainable"],
)
def test_a_layer_that_is_frozen_on_purpose_is_left_out(options, build):
    assert never_updated(**options, build=build) == DECODER


def test_a_layer_that_only_a_metric_uses_is_frozen():
    """The step runs it, but its loss does not depend on it."""
    with fresh_graph() as graph:
        with tf.variable_scope("judge"):
            hit = tf.argmax(layer(dense(inputs("image")), True), axis=1)
        _, counted = tf.metrics.mean(hit)
        y = layer(dense(inputs()), True)
        with tf.control_dependencies([counted, *tf.get_collection(tf.GraphKeys.UPDATE_OPS, "bn")]):
            optimizer().minimize(loss_of(y))
    assert bnguard.audit(graph, select=["BN201"]).findings == ()


def test_several_train_ops_run_none():
    with fresh_graph() as graph:
        loss = loss_of(layer(dense(inputs()), True))
        optimizer().minimize(loss, name="fast")
        optimizer().minimize(0.1 * loss, name="slow")
    (problem,) = {finding.problem for finding in bnguard.audit(graph, select=["BN201"]).findings}
    assert (
        problem
        == "is never updated: slow, fast run none of the 2 update ops (all are in UPDATE_OPS)"
    )


@pytest.mark.parametrize(
    ("collection", "where"),
    [(tf.GraphKeys.UPDATE_OPS, "it is in UPDATE_OPS"), ("other", "it is not in UPDATE_OPS")],
)
def test_a_single_update_op_is_not_counted(collection, where):
    with fresh_graph() as graph:
        x = dense(inputs())
        mean = tf.get_variable("bn/moving_mean", [4], trainable=False)
        moments = tf.nn.moments(x, [0])
        tf.add_to_collection(collection, tf.assign_sub(mean, 0.1 * (mean - moments[0])))
        y = tf.nn.batch_normalization(x, *moments, tf.get_variable("beta", [4]), None, 1e-3)
        optimizer().minimize(loss_of(y))
    (finding,) = bnguard.audit(graph, select=["BN201"]).findings
    assert finding.problem == f"is never updated: Momentum does not run its update op ({where})"
