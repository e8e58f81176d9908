"""Tensors of a checkpoint are replaced and added; the keys of slices are TensorFlow's."""

from glob import glob

import numpy as np
import pytest
from support.layers.layer_kinds import SHAPES, contrib, flag, moments, rows
import tensorflow.compat.v1 as tf

from bnguard import checkpoint_reader
from bnguard.analysis.checkpoints.entries import slice_key
from bnguard.analysis.checkpoints.table import located_entries
from bnguard.reestimation.rescue import Job, rescue

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("sizes", [(5, 2), (300, 3), (20001,)])
def test_the_key_of_a_slice_is_tensorflows(sizes, tmp_path, graph):
    shape = list(sizes)
    with tf.variable_scope("", partitioner=tf.fixed_size_partitioner(2)):
        variable = tf.get_variable("a/v", shape, initializer=tf.ones_initializer())
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "model"))
    with open(f"{prefix}.index", "rb") as file:
        found = {entry.key for entry in located_entries(file.read())}
    first = shape[0] - shape[0] // 2
    for start, size in ((0, first), (first, shape[0] - first)):
        extents = [(start, size), *((0, length) for length in shape[1:])]
        assert slice_key("a/v", extents) in found
    assert len(list(variable)) == 2


def test_partitioned_statistics_are_replaced_slice_by_slice(tmp_path, graph):
    with tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(2)):
        contrib(SHAPES[2], fused=False)()
    data = rows(SHAPES[2], 40)
    np.savez(tmp_path / "data.npz", **{"net/x": data})
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "model"))
    rescue(Job(prefix, data=str(tmp_path / "data.npz")))
    values = checkpoint_reader.read(f"{prefix}-reestimated")
    np.testing.assert_allclose(values["net/bn/moving_mean"], moments(data)[0], 1e-6)
    np.testing.assert_allclose(values["net/bn/moving_variance"], moments(data)[1], 1e-6)


@pytest.mark.parametrize("left_out", ["moving_variance", "moving_"])
def test_statistics_that_the_checkpoint_lacks_are_added(left_out, tmp_path, graph):
    contrib(SHAPES[2], fused=False)()
    with tf.device("/cpu:0"):
        tf.get_variable("elsewhere", [5], initializer=tf.random_normal_initializer())
    data = rows(SHAPES[2], 40)
    np.savez(tmp_path / "data.npz", x=data)
    saved = [v for v in tf.global_variables() if left_out not in v.op.name]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver(saved, sharded=True).save(session, str(tmp_path / "model"))
    assert glob(f"{prefix}.data-*") != glob(f"{prefix}.data-00000-of-00001")  # two files
    difference = rescue(Job(prefix, data=str(tmp_path / "data.npz")))
    assert all(left_out in name for name in difference.added)
    assert difference.added
    before, values = map(checkpoint_reader.read, (prefix, f"{prefix}-reestimated"))
    np.testing.assert_allclose(values["bn/moving_mean"], moments(data)[0], 1e-6)
    np.testing.assert_allclose(values["bn/moving_variance"], moments(data)[1], 1e-6)
    for name in set(before) - {"bn/moving_mean"}:
        assert values[name].tobytes() == before[name].tobytes()


def test_weights_that_the_checkpoint_lacks_are_told(tmp_path, graph):
    contrib(SHAPES[2], fused=False)()
    np.savez(tmp_path / "data.npz", x=rows(SHAPES[2], 40))
    saved = [v for v in tf.global_variables() if "beta" not in v.op.name]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver(saved).save(session, str(tmp_path / "model"))
    with pytest.warns(RuntimeWarning, match="has no bn/beta; the graph is measured with initial"):
        rescue(Job(prefix, data=str(tmp_path / "data.npz")))


def test_statistics_of_any_name_are_compared(tmp_path, graph):
    """The graph tells which variables are statistics, not their names in the checkpoint."""
    x, training = tf.placeholder(tf.float32, [None, 3], name="x"), flag()
    average, spread = (
        tf.get_variable(name, [3], initializer=tf.ones_initializer(), trainable=False)
        for name in ("layer_average", "layer_spread")
    )
    mean, variance = tf.nn.moments(x, [0])
    for variable, moment in ((average, mean), (spread, variance)):
        tf.assign_sub(variable, (variable - moment) * 0.1)
    mean, variance = tf.cond(
        training, lambda: (mean, variance), lambda: (tf.identity(average), tf.identity(spread))
    )
    tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)
    data = rows([None, 3], 40)
    np.savez(tmp_path / "data.npz", x=data)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "model"))
    difference = rescue(Job(prefix, data=str(tmp_path / "data.npz")))
    assert [change.name for change in difference.changed] == ["layer_average", "layer_spread"]
    values = checkpoint_reader.read(f"{prefix}-reestimated")
    np.testing.assert_allclose(values["layer_average"], moments(data)[0], 1e-6)
