"""Batch norm inside a tf.cond, with its updates in a collection.

Symptom
    The train op silently does nothing on some steps. There is no error, but the weights and even
    global_step stand still. With a while loop there is an error: "inputs from different frames".

Also said as
    InvalidArgumentError: node has inputs from different frames
    batch normalization in dynamic_rnn, while_loop, map_fn or scan: update ops as control
        dependencies fail
    recurrent batch normalization, train op throws an error
    update ops inside tf.cond: the train op does nothing when the branch is not taken
    The tensor cannot be accessed here: it is defined in another function or code block
    global_step does not increase
    Batch norm inside tf.while_loop, dynamic_rnn, tf.map_fn, tf.scan or tf.cond.
    InvalidArgumentError: the node has inputs from different frames.
    Cannot use an update op as input, because it is in a while loop or in a cond branch.
    Batch normalization in an LSTM or RNN cell, or at every time step, cannot be trained.
    The train op does not run, and global_step does not increase, when the flag is False.
    Meta-learning (MAML) with map_fn: control dependencies on UPDATE_OPS raise an error.
    Retval does not have a value; the fetched train op is dead.
    Conditional batch norm: the gradient step is skipped without an error.

Cause
    The layer creates its update ops inside one branch of a tf.cond, and the train op outside has
    control dependencies on them. When the other branch runs, the update ops are dead. Deadness
    spreads along control edges, so the train op is dead too, and the session skips dead ops
    silently. Under control flow v2, an op outside a branch cannot refer to an op inside it, and
    TensorFlow rejects the graph.

Fix
    Inside control flow, update in place with updates_collections=None. The outputs of the branch
    then wait for the updates, and nothing outside refers to them.

Already trained
    Not needed. The statistics are those of the steps that ran. The steps that did nothing are lost
    for the weights, too: train on with the program that is fixed.

How to see it in your own program
    `bnguard audit` reports BN203 update-ops-dead-in-training.

Reports
    tensorflow/tensorflow#14699 (silent: a collected op in a cond stops all ops that need it)
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
    """Build a regression on normalized or raw features; a placeholder selects which."""
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    normalize = tf.placeholder(tf.bool, [], name="normalize")

    def normalized():
        return batch_norm(x, decay=0.9, scale=True, fused=fused, scope="bn")

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
