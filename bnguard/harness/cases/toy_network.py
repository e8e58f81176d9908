"""Parts of a case's network that have nothing to do with its defect."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

PRETRAINED = {
    "moving_mean": tf.constant_initializer([20.0, 10.0]),
    "moving_variance": tf.constant_initializer([25.0, 4.0]),
}
"""Initializers of the statistics of two channels, as if a different program had trained them."""


def convolution(images: tf.Tensor) -> tf.Tensor:
    """Return two features of every pixel's 3x3 neighbourhood: [batch, height, width, 2].

    Args:
      images: float32 [batch, height, width, 1].
    """
    with tf.variable_scope("convolution", reuse=tf.AUTO_REUSE):
        weights = np.linspace(-0.5, 1.0, 18, dtype=np.float32).reshape(3, 3, 1, 2)
        kernel = tf.get_variable("kernel", initializer=weights)
    return tf.nn.conv2d(images, kernel, strides=[1, 1, 1, 1], padding="SAME", name="features")


def dense(inputs: tf.Tensor, units: int, scope: str) -> tf.Tensor:
    """Return the output of a linear layer: [batch, units]. All calls share its variables.

    Args:
      inputs: float32 [batch, ...]; every dimension but the batch is known.
      units: the number of outputs.
      scope: the scope of the two variables.
    """
    size = inputs.shape[1:].num_elements()
    start = np.linspace(-1.0, 1.0, size * units, dtype=np.float32).reshape(size, units)
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
        weights = tf.get_variable("weights", initializer=start / size)
        bias = tf.get_variable("bias", [units], initializer=tf.zeros_initializer())
    return tf.matmul(tf.reshape(inputs, [-1, size]), weights) + bias


def regression_loss(features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return the mean squared error of a linear regression.

    The targets must depend on the input. If a constant could predict them, gamma would go to zero
    and hide the effect of the statistics.

    Args:
      features: float32 [batch, ...].
      targets: float32 [batch].
    """
    predictions = tf.squeeze(dense(features, 1, "regression"), axis=1)
    return tf.losses.mean_squared_error(targets, predictions)
