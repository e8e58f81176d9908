"""A residual network as slim built it on TensorFlow 1.15, and its port to any TensorFlow.

    python3.7 tests/support/programs/residual_network.py

writes tests/data/port, with TensorFlow 1.15 and `.` and `tests` on PYTHONPATH.

The program has the defect of `repro/update_ops_never_run.py`: it trains by `minimize` alone.
"""

from functools import partial
import lzma
import os

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard import batch_norm
from support.paths import TESTS

FOLDER = os.path.join(TESTS, "data", "port")
CLASSES, SHAPE, WIDTHS = 10, (8, 8, 3), (16, 16, 32)
DECAY, WEIGHT_DECAY = 0.99, 1e-4


def draw(count, seed):
    """Return images, float32 [count, 8, 8, 3], and their classes: a pattern for each, and noise."""
    patterns = np.random.RandomState(0).normal(size=(CLASSES, *SHAPE))
    random = np.random.RandomState(seed)
    labels = random.randint(0, CLASSES, count)
    images = 20 + 8 * patterns[labels] + 15 * random.normal(size=(count, *SHAPE))
    return images.astype(np.float32), labels


def original(images, is_training):
    """Build the network with `tf.contrib.slim`; return the logits."""
    from tensorflow.contrib import slim

    normal = {"is_training": is_training, "decay": DECAY, "scale": True}
    with slim.arg_scope(
        [slim.conv2d],
        normalizer_fn=slim.batch_norm,
        normalizer_params=normal,
        weights_regularizer=slim.l2_regularizer(WEIGHT_DECAY),
    ):
        x = slim.conv2d(images, WIDTHS[0], 3, scope="stem")
        for number, width in enumerate(WIDTHS):
            stride = 1 if width == x.shape[-1] else 2
            with tf.variable_scope(f"unit_{number}"):
                shortcut = x
                if stride != 1:
                    shortcut = slim.conv2d(
                        x, width, 1, stride, activation_fn=None, scope="shortcut"
                    )
                y = slim.conv2d(x, width, 3, stride, scope="conv1")
                y = slim.conv2d(y, width, 3, activation_fn=None, scope="conv2")
                x = tf.nn.relu(y + shortcut)
        x = tf.reduce_mean(x, [1, 2])
        return slim.fully_connected(x, CLASSES, activation_fn=None, scope="logits")


def ported(images, is_training):
    """Build the network with tf.nn and bnguard, with the same variables; return the logits."""
    layer = partial(conv2d, is_training=is_training)
    x = layer(images, WIDTHS[0], 3, scope="stem")
    for number, width in enumerate(WIDTHS):
        stride = 1 if width == x.shape[-1] else 2
        with tf.variable_scope(f"unit_{number}"):
            shortcut = x
            if stride != 1:
                shortcut = layer(x, width, 1, stride, activation_fn=None, scope="shortcut")
            y = layer(x, width, 3, stride, scope="conv1")
            y = layer(y, width, 3, activation_fn=None, scope="conv2")
            x = tf.nn.relu(y + shortcut)
    return fully_connected(tf.reduce_mean(x, [1, 2]), CLASSES, scope="logits")


# port:begin
def conv2d(inputs, num_outputs, size, stride=1, activation_fn=tf.nn.relu, *, is_training, scope):
    """Build what slim.conv2d builds with slim.batch_norm as its normalizer_fn."""
    with tf.variable_scope(scope):
        weights = tf.get_variable(
            "weights",
            [size, size, int(inputs.shape[-1]), num_outputs],
            initializer=tf.glorot_uniform_initializer(),
            regularizer=lambda kernel: WEIGHT_DECAY * tf.nn.l2_loss(kernel),
        )
        outputs = tf.nn.conv2d(inputs, weights, stride, "SAME")
        outputs = batch_norm(
            outputs, decay=DECAY, scale=True, is_training=is_training, scope="BatchNorm"
        )
        return outputs if activation_fn is None else activation_fn(outputs)


def fully_connected(inputs, num_outputs, *, scope):
    """Build what slim.fully_connected builds without an activation_fn."""
    with tf.variable_scope(scope):
        shape = [int(inputs.shape[-1]), num_outputs]
        weights = tf.get_variable("weights", shape, initializer=tf.glorot_uniform_initializer())
        biases = tf.get_variable("biases", [num_outputs], initializer=tf.zeros_initializer())
        return tf.matmul(inputs, weights) + biases


# port:end


def build(network, trains=False):
    """Build the program around a network: placeholders, the logits, and a train op if it trains."""
    images = tf.placeholder(tf.float32, [None, *SHAPE], name="images")
    labels = tf.placeholder(tf.int64, [None], name="labels")
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    logits = tf.identity(network(images, is_training), name="output")
    step = tf.train.get_or_create_global_step()
    if trains:
        tf.losses.sparse_softmax_cross_entropy(labels, logits)
        optimizer = tf.train.MomentumOptimizer(0.01, 0.9)
        optimizer.minimize(tf.losses.get_total_loss(), step, name="train")


def main():
    """Train the original, and write its checkpoint, graph and logits."""
    build(original, trains=True)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in range(300):
            images, labels = draw(64, 1000 + step)
            session.run("train", {"images:0": images, "labels:0": labels, "is_training:0": True})
        weights = [v for v in tf.global_variables() if "Momentum" not in v.op.name]
        prefix = tf.train.Saver(weights).save(session, os.path.join(FOLDER, "model"))
        images, _ = draw(64, 1)
        logits = session.run("output:0", {"images:0": images, "is_training:0": False})
    np.savez_compressed(os.path.join(FOLDER, "logits.npz"), logits=logits)
    with open(f"{prefix}.meta", "rb") as graph, lzma.open(f"{prefix}.meta.xz", "wb") as compressed:
        compressed.write(graph.read())
    os.remove(f"{prefix}.meta")
    os.remove(os.path.join(FOLDER, "checkpoint"))


if __name__ == "__main__":
    main()
