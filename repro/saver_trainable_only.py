"""Batch norm saved by a Saver of the trainable variables only.

Symptom
    The model was good when it was saved, and is useless after it is restored: "weird values", or
    "Attempting to use uninitialized value .../moving_mean".

Also said as
    saver = tf.train.Saver(tf.trainable_variables()): restored model is useless
    moving_mean and moving_variance are not in the checkpoint
    NotFoundError: Key moving_variance not found in checkpoint
    failing to restore the network, strange outputs after loading
    which variables should be saved for batch normalization
    The results after restoring differ from those of the session that trained and saved.
    FailedPreconditionError: uninitialized value BatchNorm/moving_variance.
    moving_mean and moving_variance are not saved in the checkpoint; they are missing in the file.
    tf.train.Saver(tf.trainable_variables()), or a var_list of weights, with batch normalization.
    saver.restore raises no error, but the loaded model predicts nonsense, or one class for all.
    Which variables do I have to save and load for batch norm? All, not the trainable ones only.
    It works in the same session, and fails after I save the model and load it in a new process.

Cause
    moving_mean and moving_variance are not trainable, because gradients do not move them. A Saver
    of trainable_variables therefore leaves them out of the checkpoint. A program that runs the
    initializer before it restores silently keeps 0 and 1. A program that does not run the
    initializer fails.

Fix
    Save all variables with tf.train.Saver(). To leave out the optimizer's slots, filter
    tf.global_variables() and keep the variables in the scopes of your layers.

Already trained
    Yes. `bnguard reestimate CHECKPOINT --data FILE.npz` adds the statistics that the checkpoint
    lacks to the new one. The .meta file that the Saver wrote has their layers.

How to see it in your own program
    `bnguard audit` reports BN301 statistics-not-saved.

Reports
    tinghuiz/SfMLearner#17 (uninitialized value moving_mean; the saver had only the trainable)
    tensorflow/skflow#117 (a Saver of the trainable variables loses the moving averages)
    zhengyang-wang/Unet_3D#5 (weird output in test mode)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import convolution, regression_loss
from bnguard.harness.claims import StatisticsSurviveRestore
from bnguard.layers import batch_norm
from bnguard.layers.training import create_train_op

CASE = Case(StatisticsSurviveRestore(), mean=(10.0,), deviation=3.0, spatial=(6, 6))


def build(fused):
    """Build a convolution, the layer, and a regression on one pixel of each image."""
    images = tf.placeholder(tf.float32, [None, 6, 6, 1], name="images")
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    features = convolution(images)
    normalized = batch_norm(
        features, decay=0.9, scale=True, is_training=is_training, fused=fused, scope="bn"
    )
    loss = regression_loss(normalized, images[:, 0, 0, 0])
    train_op = create_train_op(loss, tf.train.GradientDescentOptimizer(0.01))
    return Model(
        images,
        [Training(train_op, {is_training: True})],
        Inference(normalized, {is_training: False}, inputs=features),
        layers={"bn": {"batch": features}},
        saver=tf.train.Saver(tf.trainable_variables()),
    )
