"""The evaluator of a cluster, in a process of its own."""

import tensorflow.compat.v1 as tf

import bnguard
from support.programs import tf1_programs as programs


def evaluate(spec, target, mode, guard):
    with tf.Graph().as_default():
        x, y = network(spec, is_training=mode == "train")
        if guard == "frozen":
            with tf.Session(target) as session, bnguard.frozen(session):
                session.run(y, {x: programs.BATCH})
        else:
            creator = tf.train.WorkerSessionCreator(master=target)  # the trainer initializes
            hooks = [bnguard.FrozenStatisticsHook()]
            with tf.train.MonitoredSession(creator, hooks) as session:
                session.run(y, {x: programs.BATCH})


def network(spec, is_training):
    """Build one layer with its variables on the parameter server."""
    with tf.device(tf.train.replica_device_setter(cluster=spec, worker_device="")):
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        arguments = {"updates_collections": None, "fused": False, "scope": "bn"}
        y = bnguard.batch_norm(x, decay=programs.DECAY, is_training=is_training, **arguments)
    return x, y


def serve(spec, connection):
    """Evaluate for each pair `train|infer`, `frozen|hook` that is received, until it is killed.

    It builds its network in that mode, evaluates a batch under that guard, and sends a list of the
    variables that the guard reports. The first thing that it sends is "serving".
    """
    server = tf.distribute.Server(spec, "evaluator")
    connection.send("serving")
    while True:
        mode, guard = connection.recv()
        moved = []
        try:
            evaluate(spec, server.target, mode, guard)
        except bnguard.StatisticsChanged as error:
            moved = [statistic.variable for statistic in error.moved]
        connection.send(moved)
