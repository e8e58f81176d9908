"""Batch norm restored by a map of the trainable variables' names.

Symptom
    The restored or warm-started model loses all predictive power at its first step, and no
    error says why: beta and gamma are right, moving_mean is 0 and moving_variance 1.

Cause
    The checkpoint has the statistics, but the program that restores names its variables
    otherwise, and its map from old names to new ones is made from trainable_variables, as
    warm-starting by default is. Statistics are not trainable: nothing restores them, and the
    initializer has already given them a value.

Fix
    Make the map from all variables of the scope, and let one that it leaves out be an error.

How to see it in your own program
    `bnguard audit --checkpoint PATH`, rule BN301 statistics-not-saved.

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
    """The program that trains: a convolution, the layer, and a regression."""
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
    """The program that restores: the same network in a scope of its own."""
    with tf.variable_scope("serving"):
        images, features, normalized = network(False, fused)
    variables = tf.trainable_variables("serving/")
    names = {variable.op.name[len("serving/") :]: variable for variable in variables}
    return Model(
        images,
        [],
        Inference(normalized, inputs=features),
        layers={"serving/bn": {"batch": features}},
        saver=tf.train.Saver(names),
    )


def network(is_training, fused):
    """What both programs are made of: the images, the layer's inputs and its outputs."""
    images = tf.placeholder(tf.float32, [None, 6, 6, 1], name="images")
    features = convolution(images)
    normalized = batch_norm(
        features, decay=0.9, scale=True, is_training=is_training, fused=fused, scope="bn"
    )
    return images, features, normalized
