"""The port of contrib_lenet.py to any TensorFlow: it computes the same.

    python examples/contrib_port.py FOLDER --broken  # minimize(loss), as in much advice

Found: `import tensorflow.contrib` fails from TensorFlow 2.0 on. With `--broken` the port calls
`minimize` instead of slim's `create_train_op`: `must_move` raises StatisticsDidNotMove, and
`bnguard run examples/contrib_port.py FOLDER --broken` reports BN201.
Fixed: without `--broken`. The layers, the variables' names and the train op are those of slim, so
the port reads the old checkpoint, and trains on as the original does.
Guarded: `must_move` around the steps; `bnguard diff OLD NEW` compares the checkpoints of both.
"""

import argparse
import os

import numpy as np
import tensorflow.compat.v1 as tf

import bnguard

STEPS = 40


def batch(step):
    """Return the images and labels of a step, float32 [16, 12, 12, 1] and int64 [16]."""
    random = np.random.RandomState(step)
    images = random.normal(1.0, 2.0, [16, 12, 12, 1]).astype(np.float32)
    return images, (images.mean((1, 2, 3)) > 1.0).astype(np.int64)


def weights(shape, seed):
    """Return the variable `weights` of a layer."""
    initializer = tf.truncated_normal_initializer(stddev=0.1, seed=seed)
    return tf.get_variable("weights", shape, initializer=initializer)


def conv2d(net, channels, seed, is_training, scope):
    """Return what slim.conv2d with slim.batch_norm does: a 3x3 convolution, and ReLU."""
    with tf.variable_scope(scope):
        net = tf.nn.conv2d(net, weights([3, 3, int(net.shape[-1]), channels], seed), 1, "SAME")
        net = bnguard.batch_norm(
            net, is_training=is_training, decay=0.9, scale=True, scope="BatchNorm"
        )
    return tf.nn.relu(net)


def lenet(images, is_training):
    """Return the logits."""
    net = conv2d(images, 8, 1, is_training, scope="conv1")
    net = tf.nn.max_pool2d(net, 2, 2, "VALID")
    net = conv2d(net, 16, 2, is_training, scope="conv2")
    net = tf.nn.max_pool2d(net, 2, 2, "VALID")
    net = tf.reshape(net, [-1, 3 * 3 * 16])
    with tf.variable_scope("logits"):
        biases = tf.get_variable("biases", [2], initializer=tf.zeros_initializer())
        return tf.matmul(net, weights([3 * 3 * 16, 2], seed=3)) + biases


def main():
    """Train, and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--broken", action="store_true")
    given = parser.parse_args()
    tf.disable_v2_behavior()
    tf.set_random_seed(1)
    images = tf.placeholder(tf.float32, [None, 12, 12, 1], name="images")
    labels = tf.placeholder(tf.int64, [None], name="labels")
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    logits = lenet(images, is_training)
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    optimizer = tf.train.GradientDescentOptimizer(0.01)
    if given.broken:
        step = tf.train.get_or_create_global_step()
        with tf.control_dependencies([optimizer.minimize(loss, step)]):
            train_op = tf.identity(loss, name="train_op")
    else:
        train_op = bnguard.create_train_op(loss, optimizer)
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        with bnguard.must_move(session):
            for step in range(STEPS):
                values = dict(zip((images, labels, is_training), (*batch(step), True)))
                print(session.run(train_op, values))
        saver.save(session, os.path.join(given.folder, "model"))


if __name__ == "__main__":
    main()
