"""Does a batch norm of TensorFlow's own work here? Print `works`, or end with its error.

    python tools/version_matrix/probe.py contrib|tf.layers|tf_slim

A layer works if it builds on a placeholder, an update moves its mean by a tenth of the way to the
batch's, and inference is normalized by that mean.
"""

import sys

import numpy as np
import tensorflow as tensorflow_itself
import tensorflow.compat.v1 as tf


def main(name):
    layer, momentum, training = LAYERS[name]()
    tf.disable_v2_behavior()
    x, is_training = tf.placeholder(tf.float32, [None, 2]), tf.placeholder(tf.bool, [])
    y = layer(x, **{momentum: 0.9, training: is_training})
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    (mean,) = [
        variable for variable in tf.global_variables() if variable.op.name.endswith("moving_mean")
    ]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run([y, updates], {x: [[1, 10], [3, 30]], is_training: True})
        np.testing.assert_allclose(session.run(mean), [0.2, 2], rtol=1e-5)
        at_mean = session.run(y, {x: [[0.2, 2]], is_training: False})
        np.testing.assert_allclose(at_mean, [[0, 0]], atol=1e-5)
    print("works")


def contrib():
    return tensorflow_itself.contrib.layers.batch_norm, "decay", "is_training"


def tf_layers():
    return tf.layers.batch_normalization, "momentum", "training"


def tf_slim():
    import tf_slim

    return tf_slim.batch_norm, "decay", "is_training"


LAYERS = {"contrib": contrib, "tf.layers": tf_layers, "tf_slim": tf_slim}

if __name__ == "__main__":
    main(sys.argv[1])
