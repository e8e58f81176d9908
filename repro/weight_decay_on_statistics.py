"""Decoupled weight decay of all variables, running statistics with them.

Symptom
    With decoupled weight decay (AdamW) the model is good in training and bad at inference. Both
    moving_mean and moving_variance are too small, by the same factor.

Also said as
    AdamW breaks tf.layers.batch_norm during inference, when training=False
    decoupled weight decay shrinks the moving averages of batch normalization
    weight decay applied to all variables, tf.global_variables, also to moving_mean and variance
    moving_variance is far below the variance of the data since I added weight decay
    exclude batch norm from weight decay
    lars or adamw optimizer assigns to every variable after the step
    AdamW, decoupled weight decay or L2 over all variables shrinks moving_mean and moving_variance.
    The regularization loss or the decay op includes the batch norm statistics.
    Weight decay is applied to tf.global_variables(), not to the trainable ones.
    The moving averages are too small by a factor, and inference is worse than training.
    Clipping, rounding or swapping all variables after the step also changes the running statistics.
    An exponential moving average over all variables is assigned back, and batch norm breaks.

Cause
    The program multiplies variables by 1 - rate after each step, and takes them from
    tf.global_variables(). Each step then updates a statistic with the batch and shrinks it. With
    decay d and rate r, an average of data with mean m ends at m (1 - r) (1 - d) / (1 - (1 - r) d)
    instead of m: at two thirds of it for d = 0.9 and r = 0.05, and at a sixth for d = 0.99.

Fix
    Decay the trainable variables only, or only the weights: gamma and beta need no decay either.

Already trained
    Yes. `bnguard reestimate CHECKPOINT --data FILE.npz`: gamma, beta and the weights are decayed as
    the optimizer was told to, and the new statistics are not.

How to see it in your own program
    Compare moving_mean with the mean of the data at the layer. `bnguard audit` reports BN205
    statistics-trainable.

Reports
    tensorflow/tensorflow#17438 (in the comments: it breaks tf.layers.batch_norm at inference)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import convolution, regression_loss
from bnguard.harness.claims import StatisticsNotDecayed
from bnguard.layers import batch_norm

CASE = Case(StatisticsNotDecayed(rate=0.05), mean=(10.0,), deviation=3.0, spatial=(6, 6))


def build(fused):
    """Build a convolution, the layer, and a regression on one pixel of each image."""
    images = tf.placeholder(tf.float32, [None, 6, 6, 1], name="images")
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    features = convolution(images)
    normalized = batch_norm(
        features, decay=0.9, scale=True, is_training=is_training, fused=fused, scope="bn"
    )
    loss = regression_loss(normalized, images[:, 0, 0, 0])
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        descent = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    variables = tf.global_variables()
    with tf.control_dependencies([descent]):
        train_op = tf.group(*[tf.assign(each, 0.95 * each.read_value()) for each in variables])
    return Model(
        images,
        [Training(train_op, {is_training: True})],
        Inference(normalized, {is_training: False}, inputs=features),
        layers={"bn": {"batch": features}},
    )
