"""The evaluator of a cluster, as a separate program: python evaluator.py SPEC.

For each input line `train|infer frozen|hook` it builds its network in that mode, evaluates a batch
under that guard, and prints a JSON list of the variables that the guard reports.
"""

import json
import sys

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


def main():
    spec = json.loads(sys.argv[1])
    server = tf.distribute.Server(spec, "evaluator")
    print("serving", flush=True)
    for line in sys.stdin:
        moved = []
        try:
            evaluate(spec, server.target, *line.split())
        except bnguard.StatisticsChanged as error:
            moved = [statistic.variable for statistic in error.moved]
        print(json.dumps(moved), flush=True)


if __name__ == "__main__":
    main()
