"""An evaluator whose network is built for inference, on the trainer's variables.

Symptom
    Training in a cluster gets worse whenever the evaluator runs, and recovers when it does not.
    The trainer's moving_mean and moving_variance jump between two of its own steps, and its
    checkpoints hold statistics of evaluation data. The trainer's program is right.

Cause
    The variables live on the parameter server, so the evaluator's network, built by the
    trainer's function with is_training=True, has the trainer's very variables. The update ops
    that its output waits for run in the evaluator's process and write them all the same.

Fix
    Build the evaluator's network with is_training=False: it reads the variables and no op of it
    writes them. Or evaluate a checkpoint, on variables of the evaluator's own.

How to see it in your own program
    In the evaluator: `with bnguard.frozen(session):` around the evaluation, or
    `hooks=[bnguard.FrozenStatisticsHook()]`, which refuses the step before it runs. Or
    `bnguard audit` on the evaluator's graph, rule BN101 statistics-written-at-inference.

Reports
    none found of exactly this; of evaluation that moves the averages in one process, see
    updates_attached_to_loss
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases import cluster
from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import regression_loss
from bnguard.harness.claims import StatisticsStillAtInference
from bnguard.layers import batch_norm

CASE = Case(StatisticsStillAtInference(), mean=(10.0, -5.0), deviation=3.0)


def build(fused):
    """The trainer's network and the evaluator's, each run by its own server of a cluster."""
    local = cluster.start()
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    with tf.device(local.on_parameter_server):
        loss = regression_loss(network(x, fused, is_training=True), x[:, 0])
        train_op = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
        evaluated = network(x, fused, is_training=False)
    return Model(
        x,
        [Training(train_op)],
        Inference(evaluated, target=local.evaluator.target),
        target=local.trainer.target,
    )


def network(x, fused, is_training):
    """What trainer and evaluator share: the function, and by their names the variables."""
    return batch_norm(
        x,
        decay=0.9,
        scale=True,
        updates_collections=None,
        is_training=is_training,
        reuse=tf.AUTO_REUSE,
        fused=fused,
        scope="bn",
    )
