"""Batch norm from tf.layers with its training argument.

Symptom
    Batch norm does nothing, and training is as slow and as unstable as without it. UPDATE_OPS is
    empty, moving_mean stays 0, and moving_variance stays 1.

Also said as
    tf.layers.batch_normalization has no effect, forgot training=True
    batch norm layers are not enabled during training, essentially a no-op
    loss is the same with and without batch normalization
    moving average never changes because training is False by default
    tflearn is_training is not set, batch normalization is never in training mode
    tf.layers.batch_normalization without training=True, or with the default training=False.
    The training parameter was forgotten, is not passed, is not set correctly, or is never True.
    Batch norm layers have no effect: no-ops, not enabled, the same as without them.
    No update op is created, and the collection of update ops is empty.
    The loss does not go down, or becomes NaN, as if there were no normalization.
    The layer normalizes with mean 0 and variance 1 in training.
    is_training, learning phase or mode stays False in training (tflearn, tf.layers).

Cause
    The training argument of tf.layers.batch_normalization defaults to False, unlike is_training in
    contrib and slim, which defaults to True. Without it, the layer normalizes by its initial
    statistics in training too, so it only divides by sqrt(1 + epsilon). It computes no moments and
    creates no update op, so the program's control dependency on UPDATE_OPS has no effect.

Fix
    Pass training=is_training.

Already trained
    No. The layer normalized with the initial statistics in training too, so the weights fit mean 0
    and variance 1, and inference equals training as it is. Other statistics change what the network
    computes. Serve it as it is, or train again.

How to see it in your own program
    `bnguard audit` reports BN202 statistics-never-written.

Reports
    mouna99/dien#36 (the training argument is never passed)
    dmzou/RSRAE#2 (the layers do not work; training=False is the default)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import convolution, regression_loss
from bnguard.harness.claims import TrainingNormalizesAsDue
from bnguard.harness.results.terms import Reads
from bnguard.layers import batch_normalization

CLAIM = TrainingNormalizesAsDue(instead=Reads.BEFORE, defective="inert")
CASE = Case(CLAIM, mean=(10.0,), deviation=3.0, spatial=(6, 6))


def build(fused):
    """Build a convolution, the layer, and a regression on one pixel of each image."""
    images = tf.placeholder(tf.float32, [None, 6, 6, 1], name="images")
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    features = convolution(images)
    normalized = batch_normalization(
        features, momentum=0.9, training=is_training, fused=fused, name="bn"
    )
    loss = regression_loss(normalized, images[:, 0, 0, 0])
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = tf.train.GradientDescentOptimizer(0.00001).minimize(loss)
    return Model(
        images,
        [Training(train_op, {is_training: True}, outputs=normalized)],
        Inference(normalized, {is_training: False}, inputs=features),
        layers={"bn": {"batch": features}},
    )
