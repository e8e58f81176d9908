"""MonitoredTrainingSession: hooks that guard the training and the evaluation of its checkpoint.

    python examples/monitored_training_session.py FOLDER --broken  # evaluates in training mode

Found: the hook of the evaluation raises StatisticsChanged before the step runs, and names the op
and its line. Without the hook, `bnguard run` reports BN101 and BN103.
Fixed: without `--broken`, the network of the evaluation is built with `is_training=False`.
Guarded: `MustMoveStatisticsHook` in training, `FrozenStatisticsHook` in the evaluation.
"""

import argparse

import numpy as np
import tensorflow.compat.v1 as tf

import bnguard

STEPS, DECAY = 40, 0.9


def batch(step):
    """Return the images of a step, float32 [32, 4]."""
    return np.random.RandomState(step).normal(3.0, 2.0, [32, 4]).astype(np.float32)


def network(images, is_training):
    """Return the output of an autoencoder whose layer updates its statistics in place."""
    net = bnguard.batch_norm(
        images, decay=DECAY, is_training=is_training, updates_collections=None, scope="bn"
    )
    return tf.matmul(net, tf.get_variable("weights", [4, 4]))


def train(folder):
    """Train for STEPS steps, and save a checkpoint."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 4], name="images")
        loss = tf.losses.mean_squared_error(images, network(images, is_training=True))
        step = tf.train.get_or_create_global_step()
        train_op = tf.train.GradientDescentOptimizer(0.05).minimize(loss, step)
        hooks = [bnguard.MustMoveStatisticsHook(), tf.train.StopAtStepHook(STEPS)]
        with tf.train.MonitoredTrainingSession(checkpoint_dir=folder, hooks=hooks) as session:
            while not session.should_stop():
                session.run(train_op, {images: batch(session.run_step_fn(current_step))})


def current_step(step_context):
    """Return the number of the next step, without running the hooks."""
    return step_context.session.run(tf.train.get_global_step())


def evaluate(folder, is_broken):
    """Return the mean squared error of the last checkpoint."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 4], name="images")
        error = tf.losses.mean_squared_error(images, network(images, is_training=is_broken))
        tf.train.get_or_create_global_step()
        creator = tf.train.ChiefSessionCreator(checkpoint_dir=folder)
        hooks = [bnguard.FrozenStatisticsHook()]
        with tf.train.MonitoredSession(creator, hooks=hooks) as session:
            return session.run(error, {images: batch(step=100)})


def main():
    """Train, and evaluate the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--broken", action="store_true")
    given = parser.parse_args()
    tf.disable_v2_behavior()
    train(given.folder)
    print(evaluate(given.folder, given.broken))


if __name__ == "__main__":
    main()
