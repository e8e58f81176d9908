"""Batch norm restored by a name map of all variables.

Symptom
    The restored or warm-started model loses all predictive power at its first step, and no error
    says why. beta and gamma are right, but moving_mean is 0 and moving_variance is 1.

Also said as
    after restoring the checkpoint the accuracy is random, moving mean is zero again
    warm start or fine-tune from a checkpoint ignores moving_mean and moving_variance
    Key ExponentialMovingAverage not found in checkpoint
    variables_to_restore leaves out the batch norm statistics
    assign_from_checkpoint_fn, ignore_missing_vars, renamed scope
    loaded model gives different results than before it was saved
    Fine-tuning starts from a checkpoint, and the moving averages are not loaded.
    init_from_checkpoint, assignment_map, warm_start_from: the map lacks moving_mean.
    NotFoundError: Key .../moving_variance not found in checkpoint.
    Key .../ExponentialMovingAverage not found, with ema.variables_to_restore().
    Weights copied or converted into the same network under other names give a different output.
    The pretrained model has low accuracy right after it is loaded, before any training.
    ignore_missing_vars, strict=False or a name map hides what is not in the checkpoint.
    Loading pretrained weights: batch norm parameters do not match, or are not assigned.

Cause
    The checkpoint contains the statistics, but the program that restores it uses other variable
    names. Its map from checkpoint names to variables comes from trainable_variables, as it does by
    default in warm-starting. Statistics are not trainable, so nothing restores them, and they keep
    the values from the initializer.

Fix
    Make the map from all variables of the scope, and raise an error if it lacks one.

Already trained
    Not needed. The checkpoint has the right statistics, and only the program that restores it
    leaves them out.

How to see it in your own program
    `bnguard audit --checkpoint PATH` reports BN301 statistics-not-saved.

Reports
    tensorflow/tensorflow#19903 (warm-starting moving averages is not possible)
    google/deepvariant#185 (predictive power lost in the first steps of fine-tuning)
    tensorpack/tensorpack#880 (beta and gamma restored, statistics under other names)
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
    """Build the training program: a convolution, the layer, and a regression."""
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    images, features, normalized = network(is_training, fused)
    loss = regression_loss(normalized, images[:, 0, 0, 0])
    train_op = create_train_op(loss, tf.train.GradientDescentOptimizer(0.01))
    return Model(
        images,
        [Training(train_op, {is_training: True})],
        Inference(normalized, {is_training: False}, inputs=features),
        layers={"bn": {"batch": features}},
    )


def serve(fused, checkpoint):
    """Build the serving program, which restores the same network in its own scope."""
    with tf.variable_scope("serving"):
        images, features, normalized = network(False, fused)
    variables = tf.global_variables("serving/")
    names = {variable.op.name[len("serving/") :]: variable for variable in variables}
    return Model(
        images,
        [],
        Inference(normalized, inputs=features),
        layers={"serving/bn": {"batch": features}},
        saver=tf.train.Saver(names),
    )


def network(is_training, fused):
    """Build the network; return the images, and the layer's inputs and outputs."""
    images = tf.placeholder(tf.float32, [None, 6, 6, 1], name="images")
    features = convolution(images)
    normalized = batch_norm(
        features, decay=0.9, scale=True, is_training=is_training, fused=fused, scope="bn"
    )
    return images, features, normalized
