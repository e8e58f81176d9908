"""A cluster: a trainer and an evaluator that share the variables of a parameter server.

    python examples/parameter_server.py ps CLUSTER FOLDER &
    python examples/parameter_server.py trainer CLUSTER FOLDER
    python examples/parameter_server.py evaluator CLUSTER FOLDER --broken  # in training mode

CLUSTER is `ps=HOST:PORT,trainer=HOST:PORT,evaluator=HOST:PORT`.

Found: the evaluator's hook raises StatisticsChanged, and names the step and the op. Without the
hook the trainer's statistics would change, although nothing in the trainer's program is wrong.
Fixed: without `--broken`, the evaluator builds its network with `is_training=False`.
Guarded: `FrozenStatisticsHook` in the evaluator, `MustMoveStatisticsHook` in the trainer.
"""

import argparse
import os

import numpy as np
import tensorflow.compat.v1 as tf

import bnguard

STEPS, DECAY = 40, 0.9


def batch(step):
    """Return the images of a step, float32 [32, 4]."""
    return np.random.RandomState(step).normal(3.0, 2.0, [32, 4]).astype(np.float32)


def network(cluster, job, is_training):
    """Build an autoencoder with its variables on the parameter server; return images and loss."""
    with tf.device(tf.train.replica_device_setter(cluster=cluster, worker_device=f"/job:{job}")):
        images = tf.placeholder(tf.float32, [None, 4], name="images")
        net = bnguard.batch_norm(
            images, decay=DECAY, is_training=is_training, updates_collections=None, scope="bn"
        )
        weights = tf.get_variable("weights", [4, 4])
        return images, tf.losses.mean_squared_error(images, tf.matmul(net, weights))


def connection(cluster, job):
    """Return the arguments of a session of a job, which waits for the parameter server alone."""
    config = tf.ConfigProto(device_filters=["/job:ps", f"/job:{job}"])
    return {"master": tf.train.Server(cluster, job, config=config).target, "config": config}


def train(cluster, folder):
    """Train for STEPS steps, and save a checkpoint."""
    images, loss = network(cluster, "trainer", is_training=True)
    train_op = tf.train.GradientDescentOptimizer(0.05).minimize(loss)
    saver = tf.train.Saver()

    def save(step_context):
        saver.save(step_context.session, os.path.join(folder, "model"))

    hooks = [bnguard.MustMoveStatisticsHook()]
    creator = tf.train.ChiefSessionCreator(**connection(cluster, "trainer"))
    with tf.train.MonitoredSession(creator, hooks=hooks) as session:
        for step in range(STEPS):
            session.run(train_op, {images: batch(step)})
        session.run_step_fn(save)


def evaluate(cluster, is_broken):
    """Return the loss with the present values of the variables."""
    images, loss = network(cluster, "evaluator", is_training=is_broken)
    hooks = [bnguard.FrozenStatisticsHook()]
    creator = tf.train.WorkerSessionCreator(**connection(cluster, "evaluator"))
    with tf.train.MonitoredSession(creator, hooks=hooks) as session:
        return session.run(loss, {images: batch(step=100)})


def main():
    """Run one job of the cluster."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", choices=["ps", "trainer", "evaluator"])
    parser.add_argument("cluster")
    parser.add_argument("folder")
    parser.add_argument("--broken", action="store_true")
    given = parser.parse_args()
    tf.disable_v2_behavior()
    addresses = dict(part.split("=") for part in given.cluster.split(","))
    cluster = {job: [address] for job, address in addresses.items()}
    if given.job == "ps":
        tf.train.Server(cluster, "ps").join()
    elif given.job == "trainer":
        train(cluster, given.folder)
    else:
        print(evaluate(cluster, given.broken))


if __name__ == "__main__":
    main()
