"""A Keras batch norm layer and a train op that runs UPDATE_OPS.

Symptom
    tf.get_collection(tf.GraphKeys.UPDATE_OPS) is empty although the network has batch norm layers.
    After training, their moving means are 0, and inference is far off.

Also said as
    tf.keras BatchNormalization in my own training loop: moving mean and variance are not updated
    with model.fit the statistics move, with session.run and my own optimizer they stay 0 and 1
    layer.updates or model.updates have to be run by hand
    no update ops in UPDATE_OPS from Keras layers
    set_learning_phase(1) in a custom loop, test phase is bad
    Keras BatchNormalization is not updated in a custom TensorFlow training loop with session.run.
    With model.fit or train_on_batch the averages move, with my own optimizer they do not.
    tf.layers adds its update ops to the collection, tf.keras.layers does not.
    The update_ops of a Keras layer are missing from the graph's collection; where are they?
    model.updates, layer.updates, get_updates_for and add_update, and who runs them?
    A Keras model in an Estimator's model_fn, or as part of a TensorFlow graph, evaluates badly.
    Keras layers in plain TensorFlow: K.learning_phase is fed, and batch norm is not trained.

Cause
    A tf.keras layer keeps its update ops in layer.updates, for Model.fit to run, and adds none to
    the collection. In a custom training loop, a control dependency on the collection therefore has
    no effect.

Fix
    Make the train op depend on layer.updates (or model.updates) instead of the collection.

Already trained
    Yes. `bnguard reestimate CHECKPOINT --data FILE.npz` finds the layers of Keras too. The graph
    must be the one of the session that trained; a file of `model.save` has none.

How to see it in your own program
    `bnguard audit` reports BN201 update-ops-never-run.

Reports
    tensorflow/tensorflow#19643 (update_ops not added)
    ray-project/ray#4831
    saforem2/l2hmc-qcd#2 (the same, fixed)

Needs
    TensorFlow 1.15 to 2.15, or a later version with tf_keras: pip install tf_keras
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import os

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import convolution, regression_loss
from bnguard.harness.claims import StatisticsFollowData

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # Keras 3 has no graph mode
BatchNormalization = tf.keras.layers.BatchNormalization

CLAIM = StatisticsFollowData(instead={"bn": "nothing"}, defective="stale")
CASE = Case(CLAIM, mean=(10.0,), deviation=3.0, spatial=(6, 6))


def build(fused):
    """Build a convolution, the layer, and a regression on one pixel of each image."""
    images = tf.placeholder(tf.float32, [None, 6, 6, 1], name="images")
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    features = convolution(images)
    layer = BatchNormalization(momentum=0.9, fused=fused, name="bn")
    normalized = layer(features, training=is_training)
    loss = regression_loss(normalized, images[:, 0, 0, 0])
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    return Model(
        images,
        [Training(train_op, {is_training: True})],
        Inference(normalized, {is_training: False}, inputs=features),
        layers={"bn": {"batch": features}},
    )
