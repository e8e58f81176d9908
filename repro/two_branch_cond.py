"""Batch norm built twice, for training and for inference, outside tf.cond.

Symptom
    moving_mean and moving_variance keep changing with is_training=False. Each evaluation changes
    the model, so a checkpoint saved after it is not the trained model. In a fresh process, the
    same checkpoint may answer the same input differently.

Also said as
    moving averages are updated although is_training is False
    tf.cond(is_training, lambda: bn_train, lambda: bn_test) runs both
    running mean changes during evaluation
    batch norm in tf.cond updates at test time
    eval changes my model
    tf.cond(is_training, lambda: bn_train, lambda: bn_test) executes both branches.
    The moving averages are updated at test time, when is_training (phase_train) is False.
    Testing twice gives different results; every evaluation of the same data changes the accuracy.
    Ops are executed regardless of the condition; tf.cond is not lazy.
    Two batch norm layers, one with reuse=None for training and one with reuse=True for testing.
    The mean is updated in inference mode, although updates belong to training only.
    A batch norm wrapper with tf.cond and the updates outside the branch.
    Weights stay the same in evaluation, but the output of the network drifts.

Cause
    tf.cond runs conditionally only the ops that are created inside its two functions. bn_train
    exists before the tf.cond and is one of its inputs, so every step computes it, whatever the
    predicate is. With updates_collections=None, the updates of moving_mean and moving_variance are
    control dependencies of bn_train, so computing bn_train runs them. bn_inference reads the same
    variables. Nothing orders these reads and the updates, so its output may use the old values,
    the new values, or one of each.

Fix
    Build one layer and pass it the boolean tensor, is_training=is_training. The layer selects the
    mode itself, and a step with False runs no update.

Already trained
    Yes. `bnguard reestimate CHECKPOINT --data FILE.npz`, with training data. The weights are right;
    each inference has only moved the statistics.

How to see it in your own program
    `bnguard audit` reports BN101 statistics-written-at-inference and BN102
    unordered-statistics-read.

Reports
    https://habr.com/ru/post/1667048/ (this construction, this experiment, and the fix)
    tensorflow/tensorflow#16652 (two branches outside tf.cond)
    tensorflow/tensorflow#1724 (an average moves whatever the predicate is)
    tensorflow/tensorflow#2104 (only update batch norm averages during training)
    pkmital/tensorflow_tutorials#25 (averages move while phase_train is False)
    OlavHN/bnlstm#13 (assignments made outside the branch always run)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.claims import StatisticsStillAtInference
from bnguard.layers import batch_norm

CASE = Case(claim=StatisticsStillAtInference())


def build(fused):
    """Build the source's graph: two features and one layer, which gets `fused`."""
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    y = bn(x, is_training, "bn", fused)
    return Model(x, [Training(y, {is_training: True})], Inference(y, {is_training: False}))


def bn(x, is_training, name, fused):
    """Normalize `x` by the layer in scope `name`; `is_training` is a 0-D bool tensor."""
    bn_train = batch_norm(
        x,
        decay=0.9,
        center=True,
        scale=True,
        updates_collections=None,
        is_training=True,
        reuse=None,
        trainable=True,
        fused=fused,
        scope=name,
    )
    bn_inference = batch_norm(
        x,
        decay=1.00,
        center=True,
        scale=True,
        updates_collections=None,
        is_training=False,
        reuse=True,
        trainable=False,
        fused=fused,
        scope=name,
    )
    return tf.cond(is_training, lambda: bn_train, lambda: bn_inference)
