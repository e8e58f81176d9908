"""Batch norm whose training flag defaults to True.

Symptom
    The exported model trains on its users. A caller who feeds only the images gets answers that
    depend on the batch, and every request changes later answers.

Also said as
    placeholder_with_default(True): the served model keeps learning
    forgot to feed is_training at test time and the model changes
    predictions drift with each request to TensorFlow Serving
    exported signature without the training flag runs in training mode
    placeholder_with_default(True) for is_training, phase or training.
    TensorFlow Serving or SavedModel: a client that feeds no is_training gets training mode.
    The same request gets a different answer each time from the exported model.
    The deployed model becomes worse with use, after many predictions in production.
    The serving signature has no input for the training flag; which default does it have?
    Forgot to feed is_training=False, and no error is raised.

Cause
    is_training is a placeholder_with_default(True), so that the training loop need not feed it. A
    caller who does not know the flag runs the training branch of the tf.cond, which updates the
    statistics in place.

Fix
    Make False the default, and feed True in the training loop. A forgotten feed then shows in
    training, where somebody notices it.

Already trained
    Yes. `bnguard reestimate CHECKPOINT --data FILE.npz`, with training data: the exported model's
    weights have not changed, only its statistics.

How to see it in your own program
    `bnguard audit` reports BN104 training-flag-defaults-to-true.

Reports
    none found of exactly this; for a Python default, see training_flag_true_at_inference
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
    """Build a convolution, the layer, and a regression on one pixel of each image."""
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
