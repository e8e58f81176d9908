"""A train op that runs only the update ops of its own network.

Symptom
    The first training step asks for the inputs of another network: "You must feed a value for
    placeholder tensor ...".

Also said as
    InvalidArgumentError: You must feed a value for placeholder tensor input_1
    control_dependencies on model.updates asks for the Keras input
    running the train op needs the validation placeholder
    update ops of the target or teacher network need its inputs
    training reads a batch from the validation queue or iterator
    InvalidArgumentError: you must feed a value for a placeholder that this step does not use.
    After adding control_dependencies(UPDATE_OPS), training needs the inputs of another network.
    UPDATE_OPS has the updates of all models in the graph: actor, critic, target, teacher, student.
    model.updates needs the placeholder input_1 of the Keras Input; the model runs on my own tensor.
    Training one network also updates the batch norm of the validation network or of other towers.
    The train op takes elements from another queue or iterator, such as the validation data.
    Training ends early with OutOfRange, because the updates read other data.

Cause
    UPDATE_OPS belongs to the graph, not to a network. A second network in training mode (another
    tower, an actor, a teacher) has added its updates, and they need its inputs. The loss does not
    need these inputs, but the train op depends on the whole collection.

Fix
    Make the train op depend only on the updates of the network that it trains: pass a scope to
    get_collection. Or give the layers of each network their own collection.

Already trained
    Yes. If the program fed the other network something to get past the error, its statistics are of
    that: `bnguard reestimate CHECKPOINT --data FILE.npz --scope teacher`, with the teacher's own
    inputs. Without such a feed, training wrote no checkpoint.

How to see it in your own program
    `bnguard audit` reports BN204 updates-pull-other-inputs.

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
    """Build a student to train, and a teacher that runs at other times."""
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
    """Build a network in training mode; return its inputs and its features."""
    with tf.variable_scope(name):
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        return x, batch_norm(x, decay=0.9, scale=True, fused=fused, scope="bn")
