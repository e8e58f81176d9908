"""Test what each training mode computes and writes, and in which order."""

from conftest import COMBINATIONS
import numpy as np
import pytest
from support.graphs import build_with
from support.layers.layer_session import LayerSession, batches
from support.layers.numpy_layer import NumpyLayer
from support.samples import combinations
import tensorflow.compat.v1 as tf

from bnguard import batch_norm

pytestmark = pytest.mark.slow

UPDATE_OPS = tf.GraphKeys.UPDATE_OPS
SHAPE = (6, 3)
BESSEL = {True: True, None: True, False: False}


def build(is_training="tensor", shape=SHAPE, **options):
    """Build a layer with decay 0.9 on a placeholder, in a session."""
    x = tf.placeholder(tf.float32, [None, *shape[1:]])
    mode = tf.placeholder(tf.bool) if is_training == "tensor" else is_training
    y = batch_norm(x, decay=0.9, scale=True, is_training=mode, **options)
    return LayerSession(x, y, mode if is_training == "tensor" else None)


def assert_statistics(layer, expected):
    variables = layer.variables()
    np.testing.assert_allclose(variables["moving_mean"], expected.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(variables["moving_variance"], expected.moving_variance, rtol=1e-5)


@pytest.mark.parametrize(
    ("variables", "control_flow", "fused", "updates_collections"),
    [
        (*build, *options)
        for build, *options in combinations(COMBINATIONS, [None, False], [None, UPDATE_OPS])
    ],
)
def test_training_moves_the_statistics_and_inference_does_not(
    variables, control_flow, fused, updates_collections
):
    with build_with(variables, control_flow):
        layer = build(fused=fused, updates_collections=updates_collections)
    expected = NumpyLayer([3], bessel=BESSEL[fused])
    for batch in batches(SHAPE):
        np.testing.assert_allclose(layer.train(batch), expected.train(batch), atol=1e-5)
        assert_statistics(layer, expected)
    trained = layer.variables()
    for row in batches((1, 3)):
        np.testing.assert_allclose(layer.infer(row), expected.infer(row), atol=1e-5)
    for name, value in layer.variables().items():
        assert value.tobytes() == trained[name].tobytes(), name


@pytest.mark.parametrize(
    ("variables", "fused", "updates_collections"),
    combinations(["ref", "resource"], [None, False], [None, UPDATE_OPS]),
)
def test_a_known_mode_builds_no_branches(variables, fused, updates_collections):
    with build_with(variables, "v1"):
        options = {"fused": fused, "updates_collections": updates_collections, "scope": "bn"}
        trains = build(True, **options)
        infers = build(False, reuse=True, **options)
    expected = NumpyLayer([3], bessel=BESSEL[fused])
    assert not [op for op in trains.y.graph.get_operations() if op.type in ("Switch", "Merge")]
    infers.session.close()
    infers.session, infers.updates = trains.session, []
    for batch in batches(SHAPE):
        np.testing.assert_allclose(trains.train(batch), expected.train(batch), atol=1e-5)
        np.testing.assert_allclose(infers.infer(batch), expected.infer(batch), atol=1e-5)
    assert_statistics(infers, expected)


@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 3), (2, 4, 5, 3), (2, 2, 3, 2, 3)])
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_every_rank_and_data_format_matches_the_closed_form(shape, data_format):
    channel = 1 if data_format == "NCHW" else len(shape) - 1
    # TensorFlow 1.15 has no fused NCHW kernel for a CPU.
    fused = None if data_format == "NHWC" or tf.__version__ > "2" else False
    layer = build(shape=shape, data_format=data_format, fused=fused)
    axes = [axis for axis in range(len(shape)) if axis != channel]
    is_fused = fused is None and len(shape) in (2, 4)
    expected = NumpyLayer([shape[channel]], axes, bessel=is_fused)
    for batch in batches(shape):
        np.testing.assert_allclose(layer.train(batch), expected.train(batch), atol=2e-5)
        np.testing.assert_allclose(layer.infer(batch), expected.infer(batch), atol=2e-5)
    assert_statistics(layer, expected)


@pytest.mark.parametrize("fused", [None, False])
def test_only_rank_and_channels_must_be_known(fused):
    shape = (2, 4, 5, 3)
    x = tf.placeholder(tf.float32, [None, None, None, 3])
    layer = LayerSession(x, batch_norm(x, fused=fused, decay=0.9))
    assert layer.y.shape.as_list() == [None, None, None, 3]
    expected = NumpyLayer([3], (0, 1, 2), bessel=BESSEL[fused])
    for batch in batches(shape):
        np.testing.assert_allclose(layer.train(batch), expected.train(batch), atol=1e-5)
    assert_statistics(layer, expected)


@pytest.mark.parametrize("fused", [None, False])
def test_gradients_pass_through_the_branch_that_ran(fused):
    layer = build(fused=fused)
    loss = tf.reduce_sum(tf.sin(layer.y))
    gradient = tf.gradients(loss, layer.x)[0]
    batch, step = batches(SHAPE)[0], 1e-4
    for training in (True, False):
        compute = NumpyLayer([3]).train if training else NumpyLayer([3]).infer
        numeric = np.zeros(SHAPE)
        for index in np.ndindex(*SHAPE):
            moved = np.zeros(SHAPE)
            moved[index] = step
            high, low = (np.sin(compute(batch + sign * moved)).sum() for sign in (1, -1))
            numeric[index] = (high - low) / (2 * step)
        np.testing.assert_allclose(layer.run(gradient, batch, training), numeric, atol=2e-4)


@pytest.mark.parametrize("fused", [None, False])
def test_in_place_inference_runs_no_write_and_no_moments(fused):
    layer = build(fused=fused, updates_collections=None)
    batch = batches(SHAPE)[0]
    training, inference = (operation_types(layer, batch, mode) for mode in (True, False))
    assert "AssignSub" in training  # so the check can fail
    assert "AssignSub" not in inference
    if fused is False:
        assert "Mean" in training
    assert "Mean" not in inference


def operation_types(layer, batch, training):
    """Return the types of the operations that a step ran."""
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    metadata = tf.RunMetadata()
    feed = {layer.x: batch, layer.training: training}
    config = tf.ConfigProto()
    # Grappler would merge and rename operations.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.Session(graph=layer.y.graph, config=config) as session:
        session.run(layer.y.graph.get_operation_by_name("init"))
        session.run(layer.y, feed, options=options, run_metadata=metadata)
    names = {
        stats.node_name.split(":")[0]
        for device in metadata.step_stats.dev_stats
        for stats in device.node_stats
    }
    return {op.type for op in layer.y.graph.get_operations() if op.name in names}


RULES = {"averages": {}, "debiased": {"zero_debias_moving_mean": True}, "renorm": {"renorm": True}}


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("fused", [None, False])
@pytest.mark.parametrize("mode", ["tensor", True])
@pytest.mark.parametrize("rule", list(RULES))
def test_every_read_is_ordered_with_every_write(graph, rule, mode, fused, in_place):
    if rule == "renorm" and in_place:
        return  # refused, as test_contrib.py shows
    updates_collections = None if in_place else UPDATE_OPS
    build(mode, fused=fused, updates_collections=updates_collections, **RULES[rule])
    for variable in tf.global_variables():
        if variable.trainable:
            continue
        reads, writes = accesses(graph, variable)
        assert writes, variable.op.name
        for write in writes:
            for read in reads - {write}:
                assert read in ancestors(write) or exclusive(read, write), (read.name, write.name)


def accesses(graph, variable):
    """Return the operations that use a ref variable's value, and those that write it."""
    uses, waiting, seen = set(), [variable.op], set()
    while waiting:
        op = waiting.pop()
        consumers = [consumer for output in op.outputs for consumer in output.consumers()]
        for consumer in consumers:
            if consumer.type in ("Identity", "Switch", "RefSwitch"):
                if consumer not in seen:
                    seen.add(consumer)
                    waiting.append(consumer)
            else:
                uses.add(consumer)
    initial = variable.initializer
    writes = {op for op in uses if op.type in ("Assign", "AssignSub")} - {initial}
    return uses - writes - {initial}, writes


def ancestors(op):
    found, waiting = set(), [op]
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting.extend([tensor.op for tensor in op.inputs] + list(op.control_inputs))
    return found


def exclusive(first, second):
    """Return whether two operations are in different branches of a tf.cond of control flow v1."""
    sides = branches(second)
    return any((predicate, not side) in sides for predicate, side in branches(first))


def branches(op):
    """Return the pairs (predicate, side) under which the operation runs."""
    if op.type == "Merge":
        return set()
    found, waiting, seen = set(), [op], set()
    while waiting:
        source = waiting.pop()
        if source in seen or source.type == "Merge":
            continue
        seen.add(source)
        for tensor in source.inputs:
            if tensor.op.type in ("Switch", "RefSwitch"):
                found.add((tensor.op.inputs[1].op, tensor.value_index == 1))
            waiting.append(tensor.op)
        waiting.extend(source.control_inputs)
    return found


def test_the_ordering_check_can_fail(graph):
    variable = tf.get_variable("v", [2], trainable=False)
    read = tf.exp(variable)
    write = variable.assign_sub([1.0, 1.0])
    assert accesses(graph, variable) == ({read.op}, {write.op})
    assert read.op not in ancestors(write.op)
    assert not exclusive(read.op, write.op)


@pytest.mark.parametrize(
    ("fused", "updates_collections"), combinations([None, False], [None, UPDATE_OPS])
)
def test_inference_outputs_are_the_same_in_every_session(fused, updates_collections):
    """Run several sessions: an unordered read fails mostly in the first runs of a session."""
    layer = build(shape=(4, 64), fused=fused, updates_collections=updates_collections)
    rows, seen = batches((1, 64), count=20), set()
    for _ in range(5):
        with tf.Session(graph=layer.y.graph) as layer.session:
            layer.session.run(layer.y.graph.get_operation_by_name("init"))
            seen.add(b"".join(layer.infer(row).tobytes() for row in rows))
    assert len(seen) == 1


def test_float16_inputs_keep_float32_variables():
    for fused in (None, False):
        with tf.variable_scope(str(fused)):
            x = tf.placeholder(tf.float16, [6, 3])
            layer = LayerSession(x, batch_norm(x, fused=fused, decay=0.9, scale=True))
        assert layer.y.dtype == tf.float16
        assert {variable.dtype.base_dtype for variable in tf.global_variables()} == {tf.float32}
        batch = batches(SHAPE)[0].astype(np.float16)
        expected = NumpyLayer([3]).train(batch)
        np.testing.assert_allclose(layer.run(layer.y, batch), expected, atol=5e-3)


def test_float64_inputs_have_float64_variables():
    x = tf.placeholder(tf.float64, [6, 3])
    layer = LayerSession(x, batch_norm(x, decay=0.9))
    expected = NumpyLayer([3])
    batch = batches(SHAPE)[0].astype(np.float64)
    np.testing.assert_allclose(layer.train(batch), expected.train(batch), rtol=1e-12)
    np.testing.assert_allclose(
        layer.variables()["moving_variance"], expected.moving_variance, rtol=1e-12
    )
