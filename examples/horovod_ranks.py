"""Data-parallel ranks as of Horovod: gradients are averaged over the ranks, statistics are not.

    python examples/horovod_ranks.py 0 FOLDER --broken &
    python examples/horovod_ranks.py 1 FOLDER --broken

Found: `bnguard diff FOLDER/rank-0/model FOLDER/rank-1/model` lists the statistics, which differ,
where the weights agree. The checkpoint of rank 0, which a program keeps, has seen half of the data.
Fixed: without `--broken`, each rank gets the average of all ranks' statistics before it saves. For
checkpoints already saved, `bnguard.average([...])` is that average, and `bnguard reestimate
CHECKPOINT --data FILE.npz` needs one of them and data of all ranks.
Guarded: `bnguard diff`, as above, in the job that trains; its exit status is 0.

Here there are two ranks, and a socket in the folder stands for Horovod: `exchange(value)` returns
the value of each rank, as `hvd.allgather_object(value)` does.
"""

import argparse
from multiprocessing.connection import Client, Listener
import os
import time

import numpy as np
import tensorflow.compat.v1 as tf

import bnguard

STEPS, DECAY = 40, 0.9


def batch(rank, step):
    """Return the images of a step, float32 [32, 4]; each rank reads other data."""
    random = np.random.RandomState(100 * rank + step)
    return random.normal(3.0 + 4.0 * rank, 2.0, [32, 4]).astype(np.float32)


def network(images):
    """Return the loss of an autoencoder whose layer updates its statistics in place."""
    net = bnguard.batch_norm(images, decay=DECAY, updates_collections=None, scope="bn")
    weights = tf.get_variable("weights", [4, 4], initializer=tf.ones_initializer())
    return tf.losses.mean_squared_error(images, tf.matmul(net, weights))


def minimize(loss, exchange):
    """Return a train op that applies the average of all ranks' gradients."""
    optimizer = tf.train.GradientDescentOptimizer(0.05)
    gradients, variables = zip(*optimizer.compute_gradients(loss))

    def averaged(*own):
        return [np.mean(each, axis=0) for each in zip(*exchange(own))]

    averages = tf.numpy_function(averaged, gradients, [each.dtype for each in gradients])
    return optimizer.apply_gradients(zip(averages, variables))


def train(rank, exchange, folder, is_broken):
    """Train one rank, and save its checkpoint."""
    images = tf.placeholder(tf.float32, [None, 4], name="images")
    train_op = minimize(network(images), exchange)
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        with bnguard.must_move(session):
            for step in range(STEPS):
                session.run(train_op, {images: batch(rank, step)})
        if not is_broken:
            everyone = exchange(bnguard.snapshot(session))
            bnguard.assign_statistics(session, bnguard.average(everyone))
        os.makedirs(os.path.join(folder, f"rank-{rank}"), exist_ok=True)
        saver.save(session, os.path.join(folder, f"rank-{rank}", "model"))


def connect(rank, address):
    """Return the connection to the other rank."""
    if rank == 0:
        with Listener(address) as listener:
            return listener.accept()
    while not os.path.exists(address):
        time.sleep(0.1)
    return Client(address)


def main():
    """Train one rank."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rank", type=int, choices=[0, 1])
    parser.add_argument("folder")
    parser.add_argument("--broken", action="store_true")
    given = parser.parse_args()
    tf.disable_v2_behavior()
    os.makedirs(given.folder, exist_ok=True)
    connection = connect(given.rank, os.path.join(given.folder, "exchange"))

    def exchange(value):
        connection.send(value)
        other = connection.recv()
        return [value, other] if given.rank == 0 else [other, value]

    train(given.rank, exchange, given.folder, given.broken)


if __name__ == "__main__":
    main()
