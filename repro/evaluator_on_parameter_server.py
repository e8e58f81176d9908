"""An evaluator that builds its network for training, on the trainer's variables.

Symptom
    Training in a cluster gets worse whenever the evaluator runs, and recovers when it does not.
    The trainer's moving_mean and moving_variance jump between two of its own steps, and its
    checkpoints contain statistics of the evaluation data. The trainer's program is correct.

Also said as
    the evaluation job in a distributed cluster corrupts training
    a separate evaluator process on the ps changes the model's variables
    training accuracy drops each time the eval worker runs
    ps and workers: another process writes moving_mean
    asynchronous evaluation shares variables with the trainer
    Distributed training: the evaluation worker changes the batch norm of the training workers.
    With a parameter server, the training loss jumps each time the eval job runs.
    Evaluation in a separate process disturbs training; chief, worker, ps, tf.train.Server.
    Another process or machine overwrites moving_mean of the shared variables.
    The saved averages are those of the test set, although my training program never evaluates.
    Asynchronous between-graph replication, and one replica that only validates.

Cause
    The variables are on the parameter server. The evaluator builds its network with the trainer's
    function and is_training=True, so both processes use the same variables. The output of the
    evaluator's network depends on its update ops, so each evaluation runs them, and they write the
    trainer's statistics.

Fix
    Build the evaluator's network with is_training=False, so that none of its ops writes the
    variables. Or evaluate a checkpoint, in a session with its own variables.

Already trained
    Yes. Training reads no statistics, so the evaluator has damaged nothing else. `bnguard
    reestimate CHECKPOINT --data FILE.npz`, with training data and no evaluation data.

How to see it in your own program
    Run the evaluation inside `with bnguard.frozen(session):`, which raises if a statistic changes.
    With `hooks=[bnguard.FrozenStatisticsHook()]`, the evaluator's session refuses the step before
    it runs. `bnguard audit` of the evaluator's graph reports BN101
    statistics-written-at-inference.

Reports
    none found of exactly this; for evaluation in one process, see updates_attached_to_loss
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
    """Build the trainer's network and the evaluator's; each has its own server in a cluster."""
    local = cluster.start()
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    with tf.device(local.on_parameter_server):
        loss = regression_loss(network(x, fused, is_training=True), x[:, 0])
        train_op = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
        evaluated = network(x, fused, is_training=True)
    return Model(
        x,
        [Training(train_op)],
        Inference(evaluated, target=local.evaluator.target),
        target=local.trainer.target,
    )


def network(x, fused, is_training):
    """Build the layer on the variables that trainer and evaluator share."""
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
