"""Batch norm whose statistics are not in the collection of trainable variables.

Symptom
    Fine-tuning with is_training=False changes moving_mean and moving_variance. They take values
    that occur in no batch, until the variance is negative and the loss is NaN.

Also said as
    moving_variance becomes negative, sqrt gives NaN
    moving mean and variance are trained by the optimizer, gradients flow into them
    L2 regularization over all trainable variables pulls the statistics to zero
    moving averages are in tf.trainable_variables()
    moving_variance is negative, and then everything is NaN.
    tf.trainable_variables() contains moving_mean and moving_variance.
    The optimizer computes gradients of the running averages and trains them like weights.
    Invalid argument: NaN in the summary histogram of moving_variance.
    The validation output is NaN (square root of a negative variance), while training is fine.
    The moving averages have impossible values, unlike any mean or variance of the data.
    variables_collections, TRAINABLE_VARIABLES and batch norm.

Cause
    variables_collections adds the statistics to TRAINABLE_VARIABLES, here so that a Saver of the
    trainable variables includes them. In inference mode the loss depends on the statistics, so
    they have gradients, and minimize changes them like weights. (A fused layer in inference mode
    computes no gradient for its statistics; the layer in this case is not fused.)

Fix
    Keep the statistics out of TRAINABLE_VARIABLES, and save all variables.

Already trained
    No. Gamma, beta and the layers behind were trained with these statistics, which are weights now:
    other values, even the right moments, change what the network computes. Train again from the
    pretrained checkpoint.

How to see it in your own program
    `bnguard audit` reports BN205 statistics-trainable.

Reports
    davidsandberg/facenet#424 (statistics in the trainable collection, so that they are saved)
    keras-team/keras#6818 (tf.trainable_variables() contains them)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import PRETRAINED, regression_loss
from bnguard.harness.claims import StatisticsNotTrained
from bnguard.layers import batch_norm

CASE = Case(StatisticsNotTrained(), mean=(10.0, -5.0), deviation=3.0)


def build(fused):
    """Build a pretrained layer in inference mode, and a regression to train."""
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    normalized = batch_norm(
        x,
        decay=0.9,
        scale=True,
        param_initializers=PRETRAINED,
        is_training=False,
        fused=False,  # the fused kernel has no gradient for the statistics
        scope="bn",
    )
    loss = regression_loss(normalized, x[:, 0] * x[:, 1] / 5)
    train_op = tf.train.GradientDescentOptimizer(0.005).minimize(loss)
    return Model(
        x,
        [Training(train_op, updates={})],
        Inference(normalized),
        saver=tf.train.Saver(),
    )
