"""A train op that runs the update ops of its own network.

Symptom
    The first training step asks for the inputs of another network: "You must feed a value for
    placeholder tensor ..."

Cause
    UPDATE_OPS belongs to the graph, not to a network. A second network in training mode (another
    tower, an actor, a teacher) has added its updates, and they need its inputs. The loss does
    not; the train op, which depends on the whole collection, does.

Fix
    Depend on the updates of the network that is trained: get_collection takes a scope. Or give
    the layers of each network a collection of their own.

How to see it in your own program
    `bnguard audit`, rule BN204 updates-pull-other-inputs.

Reports
    ray-project/ray#2023 (the observation placeholder of another tower is not set)
    tensorpack/tensorpack#439 (batch norm messes up the input)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import regression_loss
from bnguard.harness.claims import ProgramRuns
from bnguard.layers import batch_norm

CLAIM = ProgramRuns(
    says=("You must feed a value for placeholder tensor 'teacher/x'",), fails_in="train"
)
CASE = Case(CLAIM, mean=(10.0, -5.0), deviation=3.0)


def build(fused):
    """A student to be trained, and a teacher that is run at other times."""
    x, normalized = network("student", fused)
    network("teacher", fused)
    loss = regression_loss(normalized, x[:, 0])
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope="student/")
    with tf.control_dependencies(updates):
        train_op = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    output = batch_norm(
        x, decay=0.9, scale=True, is_training=False, reuse=True, fused=fused, scope="student/bn"
    )
    return Model(x, [Training(train_op)], Inference(output), layers={"student/bn": {"batch": x}})


def network(name, fused):
    """The inputs of a network in training mode, and its features."""
    with tf.variable_scope(name):
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        return x, batch_norm(x, decay=0.9, scale=True, fused=fused, scope="bn")
