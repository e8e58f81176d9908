"""An Estimator's loop by hand: train, save, evaluate from the checkpoint now and then, resume.

A program of its own, so that it can be killed: python estimator_loop.py FOLDER. It prints each
step that it took, and takes the next when it gets a line.
"""

import sys

import bnguard
import numpy as np
import tensorflow.compat.v1 as tf

LAYERS = 21
STEPS, SAVE_EVERY, EVALUATE_EVERY = 10, 4, 6


def run(folder, report):
    """Train up to STEPS, from where the checkpoint in the folder is, if there is one."""
    with tf.Graph().as_default():
        images, train_op = build(is_training=True)
        with tf.train.MonitoredTrainingSession(
            checkpoint_dir=folder,
            save_checkpoint_steps=SAVE_EVERY,
            save_summaries_steps=None,
            log_step_count_steps=None,
            config=one_thread(),
        ) as session:
            for step in range(session.run(tf.train.get_global_step()), STEPS):
                session.run(train_op, {images: batch(step)})
                if (step + 1) % EVALUATE_EVERY == 0:
                    evaluate(folder)
                report(step + 1)


def evaluate(folder):
    """Evaluate the last checkpoint, with the guard watching."""
    with tf.Graph().as_default():
        images, output = build(is_training=False)
        creator = tf.train.ChiefSessionCreator(checkpoint_dir=folder, config=one_thread())
        hook = bnguard.FrozenStatisticsHook("static+dynamic", every_n_steps=1)
        with tf.train.MonitoredSession(creator, hooks=[hook]) as session:
            for step in range(2):
                session.run(output, {images: batch(step)})


def build(is_training):
    """The images, and the train op or the output of a network of 21 layers."""
    tf.set_random_seed(7)
    images = tf.placeholder(tf.float32, [8, 8, 8, 3], name="images")
    net = images
    for number in range(LAYERS):
        kernel = tf.get_variable(f"kernel_{number}", [3, 3, net.shape[-1], 4])
        net = tf.nn.conv2d(net, kernel, [1, 1, 1, 1], "SAME")
        net = bnguard.batch_norm(net, decay=0.9, is_training=is_training, scope=f"bn_{number}")
        net = tf.nn.relu(net)
    step = tf.train.get_or_create_global_step()
    if not is_training:
        return images, net
    loss = tf.reduce_mean((tf.reduce_mean(net, 3) - tf.reduce_mean(images, 3)) ** 2)
    optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return images, optimizer.minimize(loss, step)


def batch(step):
    """The images of a step: the same whenever it is taken."""
    return np.random.RandomState(step).rand(8, 8, 8, 3)


def one_thread():
    """So that sums are taken in one order, and bits are the same in every run."""
    return tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)


def report_and_wait(step):
    print(step, flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    run(sys.argv[1], report_and_wait)
