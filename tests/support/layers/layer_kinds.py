"""Networks with one layer of each kind, for the tests of re-estimation.

Each builder creates a layer called `bn` on the placeholder `x` in the default graph. CHANNELS is
the number of its channels.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard import batch_norm, batch_normalization

CHANNELS = 3
SHAPES = {
    2: [None, CHANNELS],
    3: [None, 5, CHANNELS],
    4: [None, 4, 5, CHANNELS],
    5: [None, 3, 2, 4, CHANNELS],
}
FIRST = [None, CHANNELS, 4, 5]  # channels first


def rows(shape, count=41, seed=0):
    """Return float32 rows whose channels have the means 3, -1, 100 and deviations 1, 2, 0.5."""
    axis = 1 if shape == FIRST else -1
    normal = np.random.RandomState(seed).randn(count, *shape[1:])
    normal = np.moveaxis(normal, axis, -1) * [1, 2, 0.5] + [3, -1, 100]
    return np.ascontiguousarray(np.moveaxis(normal, -1, axis)).astype(np.float32)


def moments(x, axis=-1):
    """Return the mean and variance of each channel in float64, by NumPy."""
    flat = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis]).astype(np.float64)
    return flat.mean(0), flat.var(0)


def inputs(shape):
    return tf.placeholder(tf.float32, shape, name="x")


def flag():
    return tf.placeholder(tf.bool, [], name="is_training")


def contrib(shape, training=flag, **options):
    def build():
        x = inputs(shape)
        mode = training() if callable(training) else training
        batch_norm(x, is_training=mode, scope="bn", **options)

    return build


def tf_layers(shape, **options):
    return lambda: batch_normalization(inputs(shape), training=flag(), name="bn", **options)


def keras(fused):
    def build():
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        if sys.version_info >= (3, 8):
            import tf_keras
        else:
            from tensorflow import keras as tf_keras
        layer = tf_keras.layers.BatchNormalization(fused=fused, name="bn")
        layer(inputs(SHAPES[4]), training=tf_keras.backend.learning_phase())

    return build


def _statistics():
    with tf.variable_scope("bn"):
        mean = tf.get_variable(
            "moving_mean", [CHANNELS], initializer=tf.zeros_initializer(), trainable=False
        )
        variance = tf.get_variable(
            "moving_variance", [CHANNELS], initializer=tf.ones_initializer(), trainable=False
        )
    return mean, variance


def by_hand(moments_of):
    """A layer written out, with a tf.cond that chooses the moments that `moments_of` returns."""

    def build():
        x, training, (mean, variance) = inputs(SHAPES[4]), flag(), _statistics()
        batch = moments_of(x)
        for variable, moment in zip((mean, variance), batch):
            update = tf.assign_sub(variable, (variable - moment) * 0.1)
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        used = tf.cond(training, lambda: batch, lambda: (tf.identity(mean), tf.identity(variance)))
        tf.nn.batch_normalization(x, *used, tf.Variable(tf.ones([CHANNELS])), None, 1e-3)

    return build


def difference_of_squares(x):
    mean = tf.reduce_mean(x, [0, 1, 2])
    return mean, tf.reduce_mean(x * x, [0, 1, 2]) - mean * mean


def sums(x):
    count = tf.cast(tf.size(x) / CHANNELS, tf.float32)
    mean = tf.reduce_sum(x, [0, 1, 2]) / count
    return mean, tf.reduce_sum(tf.square(x - mean), [0, 1, 2]) / count


def sufficient_statistics(x):
    return tf.nn.normalize_moments(
        *tf.nn.sufficient_statistics(x, [0, 1, 2], shift=tf.constant([2.0, -2, 90]))
    )


def exponential_moving_average():
    x, training = inputs(SHAPES[4]), flag()
    averages = tf.train.ExponentialMovingAverage(0.9)
    batch = tf.nn.moments(x, [0, 1, 2], name="moments")
    with tf.control_dependencies([averages.apply(batch)]):
        updated = [tf.identity(moment) for moment in batch]
    used = tf.cond(training, lambda: updated, lambda: [averages.average(m) for m in batch])
    tf.nn.batch_normalization(x, *used, tf.Variable(tf.ones([CHANNELS])), None, 1e-3)


def partitioned():
    with tf.variable_scope("", partitioner=tf.fixed_size_partitioner(2)):
        contrib(SHAPES[2], fused=False)()


def in_a_branch(**options):
    """The layer is inside a tf.cond, once for each mode, on the same variables."""

    def build():
        x, training = inputs(SHAPES[2]), flag()
        shared = {"scope": "bn", "fused": False, "reuse": tf.AUTO_REUSE, **options}
        batch_norm(x, is_training=False, **shared)  # creates the variables
        tf.cond(
            training,
            lambda: batch_norm(x, is_training=True, **shared),
            lambda: batch_norm(x, is_training=False, **shared),
        )

    return build


def in_a_function():
    """The layer of training is inside a tf.function, on the variables of that of inference."""
    x, shared = inputs(SHAPES[2]), {"scope": "bn", "fused": False, "reuse": tf.AUTO_REUSE}
    batch_norm(x, is_training=False, **shared)  # creates the variables
    tf.function(lambda x: batch_norm(x, is_training=True, updates_collections=None, **shared))(x)


def towers():
    """Two towers on the halves of a batch, with shared variables."""
    x, training = inputs(SHAPES[2]), flag()
    for half in (x[: tf.shape(x)[0] // 3], x[tf.shape(x)[0] // 3 :]):
        batch_norm(half, is_training=training, scope="bn", fused=False, reuse=tf.AUTO_REUSE)


KINDS = {
    **{f"rank {rank}": contrib(shape, fused=False) for rank, shape in SHAPES.items()},
    "fused, rank 2": contrib(SHAPES[2], fused=True),
    "fused, rank 4": contrib(SHAPES[4], fused=True),
    "fused, channels first": contrib(FIRST, fused=True, data_format="NCHW"),
    "channels first": contrib(FIRST, fused=False, data_format="NCHW"),
    "in place": contrib(SHAPES[4], fused=False, updates_collections=None),
    "fused, in place": contrib(SHAPES[4], fused=True, updates_collections=None),
    "always training": contrib(SHAPES[4], True, fused=True),
    "inference": contrib(SHAPES[2], False, fused=False),
    "inference, fused": contrib(SHAPES[4], False, fused=True),
    "inference, channels first": contrib(FIRST, False, fused=False, data_format="NCHW"),
    "zero debiasing": contrib(SHAPES[2], fused=False, zero_debias_moving_mean=True),
    "renormalization": contrib(SHAPES[2], fused=False, renorm=True),
    "tf.layers": tf_layers(SHAPES[4], fused=False),
    "tf.layers, fused": tf_layers(SHAPES[4], fused=True),
    "tf.layers, renormalization": tf_layers(SHAPES[4], fused=False, renorm=True),
    "Keras": keras(False),
    "Keras, fused": keras(True),
    "by hand": by_hand(lambda x: tf.nn.moments(x, [0, 1, 2])),
    "by hand, E[x^2] - E[x]^2": by_hand(difference_of_squares),
    "by hand, sums": by_hand(sums),
    "by hand, sufficient statistics": by_hand(sufficient_statistics),
    "ExponentialMovingAverage": exponential_moving_average,
    "partitioned": partitioned,
    "in a branch": in_a_branch(updates_collections=None),
    "towers": towers,
    "in a function": in_a_function,
}
