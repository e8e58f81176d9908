"""The loop of an Estimator, written by hand: train, save, evaluate from the checkpoint, resume.

A test can run it in a process of its own, in lockstep, and kill that.
"""

import numpy as np
import tensorflow.compat.v1 as tf

import bnguard

LAYERS = 5
STEPS, SAVE_EVERY, EVALUATE_EVERY = 10, 4, 6


def run(folder, report):
    """Resume from the checkpoint in the folder, train up to STEPS, and return the evaluations."""
    evaluated = []
    with tf.Graph().as_default():
        images, train_op = build(trains=True)
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
                    evaluated.append(evaluate(folder))
                report(step + 1)
    return evaluated


def evaluate(folder, **arguments):
    """Return the outputs of two steps on the last checkpoint, with the hook added."""
    with tf.Graph().as_default():
        images, output = build(trains=False, **arguments)
        creator = tf.train.ChiefSessionCreator(checkpoint_dir=folder, config=one_thread())
        hook = bnguard.FrozenStatisticsHook("static+dynamic", every_n_steps=1)
        with tf.train.MonitoredSession(creator, hooks=[hook]) as session:
            return [session.run(output, {images: batch(step)}) for step in range(2)]


def build(trains, **arguments):
    """Return the images, and the train op or the output of a network."""
    arguments = {"is_training": trains, "decay": 0.9, **arguments}
    tf.set_random_seed(7)
    images = tf.placeholder(tf.float32, [8, 8, 8, 3], name="images")
    net = images
    for number in range(LAYERS):
        kernel = tf.get_variable(f"kernel_{number}", [3, 3, net.shape[-1], 4])
        net = tf.nn.conv2d(net, kernel, [1, 1, 1, 1], "SAME")
        net = bnguard.batch_norm(net, scope=f"bn_{number}", **arguments)
        net = tf.nn.relu(net)
    step = tf.train.get_or_create_global_step()
    if not trains:
        return images, net
    loss = tf.reduce_mean((tf.reduce_mean(net, 3) - tf.reduce_mean(images, 3)) ** 2)
    optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return images, optimizer.minimize(loss, step)


def batch(step):
    """Return the images of a step, which depend on its number only."""
    return np.random.RandomState(step).rand(8, 8, 8, 3)


def one_thread():
    """Return a config that fixes the order of sums, so that every run gives the same bits."""
    return tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)


def run_in_lockstep(folder, connection):
    """Send the number of each step after running it, and wait for an answer before the next."""

    def report_and_wait(step):
        connection.send(step)
        connection.recv()

    run(folder, report_and_wait)
