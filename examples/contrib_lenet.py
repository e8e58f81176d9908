"""A small network of tf.contrib.slim, as it was written for TensorFlow 1; contrib_port.py ports it.

    python examples/contrib_lenet.py FOLDER   # TensorFlow 1.15

Prints the loss of each step, and saves a checkpoint in the folder.
"""

import argparse
import os

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.contrib import slim

STEPS = 40


def batch(step):
    """Return the images and labels of a step, float32 [16, 12, 12, 1] and int64 [16]."""
    random = np.random.RandomState(step)
    images = random.normal(1.0, 2.0, [16, 12, 12, 1]).astype(np.float32)
    return images, (images.mean((1, 2, 3)) > 1.0).astype(np.int64)


def weights(seed):
    """Return an initializer that draws the same numbers in every TensorFlow."""
    return tf.truncated_normal_initializer(stddev=0.1, seed=seed)


def lenet(images, is_training):
    """Return the logits."""
    normalizer = {"is_training": is_training, "decay": 0.9, "scale": True}
    with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, normalizer_params=normalizer):
        net = slim.conv2d(images, 8, 3, weights_initializer=weights(1), scope="conv1")
        net = slim.max_pool2d(net, 2, scope="pool1")
        net = slim.conv2d(net, 16, 3, weights_initializer=weights(2), scope="conv2")
        net = slim.max_pool2d(net, 2, scope="pool2")
    net = slim.flatten(net)
    return slim.fully_connected(
        net, 2, activation_fn=None, weights_initializer=weights(3), scope="logits"
    )


def main():
    """Train, and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    folder = parser.parse_args().folder
    tf.set_random_seed(1)
    images = tf.placeholder(tf.float32, [None, 12, 12, 1], name="images")
    labels = tf.placeholder(tf.int64, [None], name="labels")
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    logits = lenet(images, is_training)
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    optimizer = tf.train.GradientDescentOptimizer(0.01)
    train_op = slim.learning.create_train_op(loss, optimizer)
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in range(STEPS):
            values = dict(zip((images, labels, is_training), (*batch(step), True)))
            print(session.run(train_op, values))
        saver.save(session, os.path.join(folder, "model"))


if __name__ == "__main__":
    main()
