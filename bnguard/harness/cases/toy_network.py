"""The parts of a case's network that its defect does not concern."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

PRETRAINED = {
    "moving_mean": tf.constant_initializer([20.0, 10.0]),
    "moving_variance": tf.constant_initializer([25.0, 4.0]),
}
"""Statistics of two channels that another program has trained, as initial values."""


def convolution(images: tf.Tensor) -> tf.Tensor:
    """Two features of every pixel's 3x3 neighbourhood: [batch, height, width, 2].

    Args:
      images: float32 [batch, height, width, 1].
    """
    with tf.variable_scope("convolution", reuse=tf.AUTO_REUSE):
        weights = np.linspace(-0.5, 1.0, 18, dtype=np.float32).reshape(3, 3, 1, 2)
        kernel = tf.get_variable("kernel", initializer=weights)
    return tf.nn.conv2d(images, kernel, strides=[1, 1, 1, 1], padding="SAME", name="features")


def dense(inputs: tf.Tensor, units: int, scope: str) -> tf.Tensor:
    """A linear layer, its variables shared by all its uses: [batch, units].

    Args:
      inputs: float32 [batch, ...], known beyond the batch.
      units: the number of outputs.
      scope: of the two variables.
    """
    size = inputs.shape[1:].num_elements()
    start = np.linspace(-1.0, 1.0, size * units, dtype=np.float32).reshape(size, units)
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
        weights = tf.get_variable("weights", initializer=start / size)
        bias = tf.get_variable("bias", [units], initializer=tf.zeros_initializer())
    return tf.matmul(tf.reshape(inputs, [-1, size]), weights) + bias


def regression_loss(features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Mean squared error of a linear regression.

    The targets are to need the input: what a constant can meet lets gamma go to zero, and
    hides what the statistics do.

    Args:
      features: float32 [batch, ...].
      targets: float32 [batch].
    """
    predictions = tf.squeeze(dense(features, 1, "regression"), axis=1)
    return tf.losses.mean_squared_error(targets, predictions)
