"""Test batch_norm in slim programs: as a normalizer_fn, and in an arg_scope."""

import numpy as np
import pytest
from support import originals
from support.layers.layer_session import LayerSession, batches
from support.layers.numpy_layer import NumpyLayer
import tensorflow.compat.v1 as tf

from bnguard import batch_norm, create_train_op

slim = originals.slim(__name__)
IMAGES = (4, 6, 6, 3)


def convolution(x, kernel):
    """Compute a 1x1 convolution in NumPy."""
    return np.einsum("nhwc,cd->nhwd", x.astype(np.float64), kernel[0, 0])


@pytest.mark.parametrize("is_training", [True, False])
def test_conv2d_accepts_the_layer_as_normalizer_fn(is_training):
    x = tf.placeholder(tf.float32, IMAGES)
    y = slim.conv2d(
        x,
        5,
        [1, 1],
        activation_fn=None,
        normalizer_fn=batch_norm,
        normalizer_params={"decay": 0.9, "is_training": is_training},
    )
    layer, batch, expected = LayerSession(x, y), batches(IMAGES)[0], NumpyLayer([5], (0, 1, 2))
    convolved = convolution(batch, layer.variables()["weights"])
    compute = expected.train if is_training else expected.infer
    np.testing.assert_allclose(layer.train(batch), compute(convolved), atol=1e-4)
    assert [variable.op.name for variable in slim.get_model_variables()] == [
        "Conv/weights",
        "Conv/BatchNorm/beta",
        "Conv/BatchNorm/moving_mean",
        "Conv/BatchNorm/moving_variance",
    ]


def test_reused_fully_connected_layers_share_the_statistics():
    x = tf.placeholder(tf.float32, [6, 3])
    with slim.arg_scope([slim.fully_connected], normalizer_fn=batch_norm, scope="fc"):
        slim.fully_connected(x, 4)
        slim.fully_connected(x, 4, reuse=True)
    assert len(slim.get_variables("fc/BatchNorm")) == 3
    assert len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == 4


def test_arg_scope_sets_the_arguments():
    scoped = slim.add_arg_scope(batch_norm)
    x = tf.placeholder(tf.float32, [6, 3])
    outer = slim.arg_scope([scoped], decay=0.5, updates_collections=None, fused=False)
    with outer, slim.arg_scope([scoped], epsilon=0.1):
        layer = LayerSession(x, scoped(x))
    expected = NumpyLayer([3], decay=0.5, epsilon=0.1)
    for batch in batches((6, 3)):
        np.testing.assert_allclose(layer.train(batch), expected.train(batch), atol=1e-5)
    np.testing.assert_allclose(layer.variables()["moving_mean"], expected.moving_mean, rtol=1e-5)


def test_end_points_are_named_by_the_scope():
    x = tf.placeholder(tf.float32, [6, 3])
    y = batch_norm(x, outputs_collections="end_points", scope="net/bn")
    assert slim.utils.convert_collection_to_dict("end_points") == {"net/bn": y}


def test_a_network_learns_with_slims_losses():
    x = tf.placeholder(tf.float32, [16, 4])
    labels = tf.placeholder(tf.float32, [16, 1])
    hidden = slim.fully_connected(x, 8, normalizer_fn=batch_norm)
    logits = slim.fully_connected(hidden, 1, activation_fn=None)
    tf.losses.sigmoid_cross_entropy(labels, logits)
    optimizer = tf.train.GradientDescentOptimizer(1.0)
    train_op = create_train_op(tf.losses.get_total_loss(), optimizer)
    random = np.random.RandomState(0)
    points = random.randn(16, 4).astype(np.float32)
    feed = {x: points, labels: (points[:, :1] > 0).astype(np.float32)}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses = [session.run(train_op, feed) for _ in range(200)]
        (mean,) = session.run(slim.get_variables_by_suffix("moving_mean"))
    assert losses[-1] < 0.1 < losses[0]
    assert (mean != 0).all()
