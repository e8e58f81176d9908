"""A layer called on both inputs of a pair, each with its own updates.

Symptom
    The moving variance is negative in some channels, so inference gives NaN, while training looks
    fine. No batch has a negative variance.

Also said as
    moving_variance becomes negative with a small momentum, the network outputs NaN in validation
    moving_mean goes to infinity, then NaN, in a model that shares its layers
    Siamese network with batch norm, shared weights, two inputs: NaN at test time
    one layer called on two inputs, both branches update the same moving averages
    triplet loss, anchor positive and negative through the same network, statistics are wrong
    ranking pairs: pointwise model is trained on two items at once
    the same batch norm layer in every time step updates the average several times in one step
    Siamese network: the layer is called twice, on both inputs, with shared weights (reuse=True).
    Are the moving averages updated twice in each step if batch norm is reused?
    moving_variance becomes negative, although no optimizer trains it.
    The same layer on several inputs: anchor, positive and negative (triplet loss), left and right.
    Shared batch normalization at every time step, or for labeled and unlabeled batches.
    Two update ops of the same variable race; results differ from run to run with the same seed.
    The running mean is a mixture of two distributions and fits neither of the inputs.
    Should only the update ops of the first call run? Shared layers give NaN at inference.

Cause
    The program calls the layer on both inputs of a pair, with the same variables. Each call adds
    its own updates to UPDATE_OPS, and the step runs all of them. An update subtracts
    (1 - decay) * (average - new value), and nothing orders the two, so both may compute this
    difference from the same old average v. The result is v - (1 - decay) * (2 v - a - b): with a
    decay below 0.5, v has a negative factor, and the variance may become negative. With n calls,
    that happens as soon as n * (1 - decay) is above 1. In any order, the average forgets faster
    than its decay says.

Fix
    Call the layer once in a step, on both inputs concatenated, and split its output. The average
    is then of all rows. If both inputs come from the same data, it is enough to run the updates of
    one call.

Already trained
    Yes. `bnguard reestimate CHECKPOINT --data FILE.npz` measures both calls of the layer, each row
    once. Training reads no statistics, so the NaN of inference is not in the weights.

How to see it in your own program
    Look for channels of moving_variance below zero, or run the step twice on the same batch, from
    the same checkpoint, and compare the statistics. `bnguard audit` reports BN105
    statistics-updated-more-than-once.

Reports
    tensorflow/tensorflow#14353 (the variance goes negative with reuse=True)
    tensorflow/tensorflow#18334 (always get negative moving_variance)
    keras-team/keras#8794 (shared Siamese-style, moving_variance is calculated incorrectly)
    keras-team/keras#9646 (moving_variance of -1.9, then infinity and NaN)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import dense
from bnguard.harness.claims import StatisticsUpdatedOnce
from bnguard.layers import batch_norm

CASE = Case(StatisticsUpdatedOnce(), mean=(10.0, -5.0, 10.0, -5.0), deviation=3.0)


def build(fused):
    """Build a network that scores rows, and learns which row of a pair has the larger sum."""
    pairs = tf.placeholder(tf.float32, [None, 4], name="pairs")
    left, right = pairs[:, :2], pairs[:, 2:]
    both = tf.concat([left, right], axis=0)
    normalized = [layer(left, fused), layer(right, fused)]
    left_score, right_score = [dense(rows, 1, "score") for rows in normalized]
    order = tf.sign(tf.reduce_sum(left - right, axis=1, keepdims=True))
    loss = tf.reduce_mean(tf.nn.softplus(order * (right_score - left_score)))
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    return Model(
        pairs,
        [Training(train_op, updates={"bn": "both"})],
        Inference(layer(left, fused, is_training=False), inputs=left),
        layers={"bn": {"left": left, "right": right, "both": both}},
        decay=0.1,
    )


def layer(inputs, fused, is_training=True):
    """Build the layer on variables that all calls share."""
    return batch_norm(
        inputs,
        decay=0.1,
        scale=True,
        is_training=is_training,
        reuse=tf.AUTO_REUSE,
        fused=fused,
        scope="bn",
    )
