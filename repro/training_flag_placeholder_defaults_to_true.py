"""Batch norm whose training flag is True for whoever does not feed it.

Symptom
    The exported model trains on its users: whoever feeds only the images gets answers that
    depend on the batch, and every request changes the answers to later ones.

Cause
    is_training is a placeholder_with_default(True): convenient in the training loop, which then
    need not feed it. A caller who does not know of it runs the training side of the tf.cond,
    with its updates in place.

Fix
    Let the default be False, and feed True in the training loop: what is forgotten then shows
    in training, where somebody looks.

How to see it in your own program
    `bnguard audit`, rule BN104 training-flag-defaults-to-true.

Reports
    none found of exactly this; of a Python argument that defaults to True, see
    training_flag_true_at_inference
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import convolution, regression_loss
from bnguard.harness.claims import StatisticsStillAtInference
from bnguard.layers import batch_norm

CASE = Case(StatisticsStillAtInference(), mean=(10.0,), deviation=3.0, spatial=(6, 6))


def build(fused):
    """A convolution, the layer, and a regression on one pixel of each image."""
    images = tf.placeholder(tf.float32, [None, 6, 6, 1], name="images")
    is_training = tf.placeholder_with_default(True, [], name="is_training")
    features = convolution(images)
    normalized = batch_norm(
        features,
        decay=0.9,
        scale=True,
        updates_collections=None,
        is_training=is_training,
        fused=fused,
        scope="bn",
    )
    loss = regression_loss(normalized, images[:, 0, 0, 0])
    train_op = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    return Model(
        images,
        [Training(train_op, {is_training: True})],
        Inference(normalized, inputs=features),
        layers={"bn": {"batch": features}},
    )
