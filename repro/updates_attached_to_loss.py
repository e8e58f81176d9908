"""Batch norm whose update ops are attached to every loss, even the validation loss.

Symptom
    Evaluating the validation loss changes the model. moving_mean and moving_variance move with
    every validation batch, although nothing is trained and the layer is built with
    is_training=False.

Also said as
    computing the loss on validation data changes the moving averages
    with_dependencies(updates, loss): evaluating the loss updates batch norm
    fetching the cost runs the update ops
    minimize(loss) does not run updates although the loss depends on them
    Fetching or printing the loss on validation data updates the moving averages.
    with_dependencies(update_ops, total_loss): computing the loss has side effects.
    Computing the accuracy or the loss on test data modifies the model, without any train op.
    sess.run(loss) without train_op changes the network.
    The update ops hang on the loss, on the summary or on the metric.
    Validation or test data leak into the statistics during training.
    Should the updates depend on the loss or on the train op? Does minimize run identity(loss)?

Cause
    One function builds both losses, under control dependencies on UPDATE_OPS, as the documentation
    of contrib's layer once recommended. Computing either loss therefore runs the training layer's
    assignments on the fed batch. The opposite defect has the same origin: the gradients do not
    need the value of the loss, so minimize without a fetch of the loss runs no update.

Fix
    Make the train op, not the loss, depend on the update ops, with create_train_op or with
    minimize under control dependencies. Computing a loss then has no side effects.

Already trained
    Yes. `bnguard reestimate CHECKPOINT --data FILE.npz`, with training data and no validation data.
    The weights are right; the validation has only moved the statistics.

How to see it in your own program
    `bnguard audit --fetch VALIDATION_LOSS` reports BN101 statistics-written-at-inference.

Reports
    tensorflow/tensorflow#7577 (the documented form updates even if only the loss is evaluated)
    tensorflow/tensorflow#8292 (the documentation, corrected)
    tensorflow/tensorflow#9179 (the opposite: train does not depend on the identity of the cost)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import regression_loss
from bnguard.harness.claims import StatisticsStillAtInference
from bnguard.layers import batch_norm

CASE = Case(StatisticsStillAtInference(), mean=(10.0, -5.0), deviation=3.0)


def build(fused):
    """Build one layer in two networks, for training and for validation, each with its loss."""
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    training = batch_norm(x, decay=0.9, scale=True, fused=fused, scope="bn")
    inference = batch_norm(
        x, decay=0.9, scale=True, is_training=False, reuse=True, fused=fused, scope="bn"
    )
    loss, validation_loss = loss_of(training, x[:, 0]), loss_of(inference, x[:, 0])
    optimizer = tf.train.GradientDescentOptimizer(0.01)
    train_op = optimizer.minimize(loss)
    return Model(
        x,
        [Training([train_op, loss])],
        Inference(inference, beside=[validation_loss]),
    )


def loss_of(features, targets):
    """Build the loss of one of the networks."""
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return regression_loss(features, targets)
