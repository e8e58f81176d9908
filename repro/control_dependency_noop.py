"""Control dependencies around a call that creates no op.

Symptom
    moving_mean stays 0 although the program contains the documented lines with UPDATE_OPS and
    control_dependencies.

Also said as
    I call get_collection(UPDATE_OPS) and control_dependencies, and still nothing is updated
    update_ops is collected but has no effect on the train op
    with tf.control_dependencies(update_ops): loss = tf.identity(loss), moving averages do not
        move
    train_op = total_loss inside of control_dependencies does not run the updates
    the optimizer is created under control dependencies, minimize is outside
    I followed the documentation with control_dependencies(update_ops), and nothing is updated.
    The update ops are collected and passed to tf.control_dependencies, without any effect.
    Should minimize or apply_gradients be called inside or outside the with block?
    Only the optimizer is created inside the block; the train op is created before or after it.
    with tf.control_dependencies(update_ops): train_op = existing_op does not wait for them.
    Does tf.group(train_op, update_ops) do the same as control dependencies? Is the order missing?
    Loss wrapped in tf.identity under control_dependencies, and the averages are not updated.
    Wrong indentation of the train step below control_dependencies.
    UPDATE_OPS is collected outside the graph, or before the layers are built, and is empty.

Cause
    tf.control_dependencies affects only the ops that are created inside its block. The constructor
    of an optimizer creates no op; minimize, called after the block, creates all of them. Two
    variants fail in the same way: naming an existing op or tensor inside the block (`train_op =
    total_loss`), and wrapping the loss there in tf.identity, whose value the gradients do not
    need.

Fix
    Call minimize (or apply_gradients) inside the block. The difference is one level of
    indentation.

Already trained
    Yes. The weights are right, because training reads no statistics. `bnguard reestimate CHECKPOINT
    --data FILE.npz`, with training data, estimates the statistics that the update ops would have
    given.

How to see it in your own program
    `bnguard audit` reports BN201 update-ops-never-run.

Reports
    yd8534976/conGAN#1 (the block creates only the optimizer)
    tensorflow/models#1487 (review: an existing tensor in the block "probably won't work")
    tflearn/tflearn#7
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import convolution, regression_loss
from bnguard.harness.claims import StatisticsFollowData
from bnguard.layers import batch_norm

CLAIM = StatisticsFollowData(instead={"bn": "nothing"}, defective="stale")
CASE = Case(CLAIM, mean=(10.0,), deviation=3.0, spatial=(6, 6))


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
        optimizer = tf.train.GradientDescentOptimizer(0.01)
    train_op = optimizer.minimize(loss)
    return Model(
        images,
        [Training(train_op, {is_training: True})],
        Inference(normalized, {is_training: False}, inputs=features),
        layers={"bn": {"batch": features}},
    )
