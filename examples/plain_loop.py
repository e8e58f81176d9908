"""A plain loop: train for an epoch, evaluate, and guard both.

    python examples/plain_loop.py FOLDER --broken        # minimize(loss) runs no update op

Found: `bnguard run examples/plain_loop.py FOLDER --broken` reports BN201, with the line.
Fixed: without `--broken`, `bnguard.create_train_op` runs the update ops.
Guarded: `must_move` around each epoch, and `frozen` around each evaluation.
"""

import argparse
import os

import numpy as np
import tensorflow.compat.v1 as tf

import bnguard

EPOCHS, STEPS, DECAY = 2, 20, 0.9


def batches(epoch):
    """Yield the images and labels of an epoch, float32 [32, 4] and int64 [32]."""
    random = np.random.RandomState(epoch)
    for _ in range(STEPS):
        images = random.normal(3.0, 2.0, [32, 4]).astype(np.float32)
        yield images, (images.sum(1) > 12).astype(np.int64)


def build(is_broken):
    """Build the network; return its placeholders, the train op and the accuracy."""
    images = tf.placeholder(tf.float32, [None, 4], name="images")
    labels = tf.placeholder(tf.int64, [None], name="labels")
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    net = bnguard.batch_norm(images, decay=DECAY, is_training=is_training, scope="bn")
    logits = tf.matmul(net, tf.get_variable("weights", [4, 2]))
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    optimizer = tf.train.GradientDescentOptimizer(0.5)
    if is_broken:
        train_op = optimizer.minimize(loss, name="train_op")
    else:
        train_op = bnguard.create_train_op(loss, optimizer)
    is_right = tf.equal(tf.argmax(logits, 1), labels)
    return (images, labels, is_training), train_op, tf.reduce_mean(tf.cast(is_right, tf.float32))


def main():
    """Train, evaluate, and save a checkpoint in the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--broken", action="store_true")
    given = parser.parse_args()
    tf.disable_v2_behavior()
    placeholders, train_op, accuracy = build(given.broken)
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for epoch in range(EPOCHS):
            with bnguard.must_move(session):
                for images, labels in batches(epoch):
                    session.run(train_op, dict(zip(placeholders, (images, labels, True))))
            with bnguard.frozen(session):
                images, labels = next(batches(epoch=100))
                print(session.run(accuracy, dict(zip(placeholders, (images, labels, False)))))
        saver.save(session, os.path.join(given.folder, "model"))


if __name__ == "__main__":
    main()
