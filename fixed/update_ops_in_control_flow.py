"""Batch norm inside a tf.cond, its updates in place.

Symptom
    The train op silently does nothing on some steps: no error, but the weights and even
    global_step stand still. Around a while loop it is an error: "inputs from different frames".

Cause
    The update ops are created inside one branch of a tf.cond, and are control dependencies of
    the train op outside of it. When the other branch runs they are dead, and deadness spreads
    along control edges: the whole train op is dead, and the session skips dead ops without a
    word. Under control flow v2, ops inside a branch cannot be referred to from outside:
    TensorFlow refuses the graph.

Fix
    Inside control flow update in place, updates_collections=None: the outputs of the branch then
    wait for the updates, and nothing outside refers to them.

How to see it in your own program
    `bnguard audit`, rule BN203 update-ops-dead-in-training.

Reports
    tensorflow/tensorflow#14699 (silent: a collected op in a cond stops whatever depends on it)
    tensorflow/tensorflow#6087 (inputs from different frames)
    tensorflow/tensorflow#18795 (a layer in a while loop cannot be trained)
    tensorflow/tensorflow#24795 (the same in a recurrent network)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import regression_loss
from bnguard.harness.claims import EveryRunTrains
from bnguard.layers import batch_norm

CASE = Case(EveryRunTrains(), mean=(10.0, -5.0), deviation=3.0)


def build(fused):
    """A regression on normalized or on raw features, as the program is told."""
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    normalize = tf.placeholder(tf.bool, [], name="normalize")

    def normalized():
        return batch_norm(
            x, decay=0.9, scale=True, updates_collections=None, fused=fused, scope="bn"
        )

    features = tf.cond(normalize, normalized, lambda: tf.identity(x))
    loss = regression_loss(features, x[:, 0])
    global_step = tf.train.get_or_create_global_step()
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = tf.train.GradientDescentOptimizer(0.001).minimize(loss, global_step)
    output = batch_norm(
        x, decay=0.9, scale=True, is_training=False, reuse=True, fused=fused, scope="bn"
    )
    return Model(
        x,
        [Training(train_op, {normalize: True}), Training(train_op, {normalize: False}, updates={})],
        Inference(output),
    )
