"""A frozen training graph, which assigns to constants.

Symptom
    The frozen graph cannot be imported: "Input 0 of node .../AssignMovingAvg was passed float from
    .../moving_mean:0 incompatible with expected float_ref".

Also said as
    convert_variables_to_constants, then import_graph_def fails with incompatible with expected
        float_ref
    ValueError: Input 0 of node was passed float from gamma:0 incompatible with expected resource
    error when loading the frozen pb of a network with batch normalization
    freeze_graph keeps cond, Switch and AssignMovingAvg, the TFLite or TOCO converter fails
    converter: batch normalization requires that mean, variance, multiplier and offset are
        constant
    phase_train placeholder is left in the frozen graph, conversion to ONNX, OpenVINO or TensorRT
        fails
    optimize_for_inference cannot fold batch norm, how to export the graph for mobile
    training ops are left in the exported graph
    freeze_graph.py or convert_variables_to_constants with batch norm: error when the .pb is loaded.
    import_graph_def: graph_def is invalid at node .../AssignMovingAvg/Switch.
    Cannot convert a tensor of type float32 to an input of type float32_ref.
    A node was passed float from .../gamma:0 incompatible with expected resource.
    I cannot load the frozen model of my Keras network with BatchNormalization, learning phase.
    Conversion to TFLite (TOCO), TensorRT, Core ML, OpenVINO, ONNX or OpenCV fails.
    Unsupported ops in the exported graph: Switch, Merge, RefSwitch, AssignSub, cond.
    The converter cannot fold or resolve the layer, because its mean and variance are no constants.
    How do I remove the training ops from the exported graph, and keep an inference graph only?
    The protobuf runs in Python and cannot be loaded in C++, on Android or on mobile.

Cause
    Freezing replaces the variables with constants and keeps the ops that the output needs. If the
    layer updates in place and is_training is a tensor, the output needs a tf.cond whose training
    branch assigns to the statistics. In the frozen graph, this branch assigns to constants. A
    widely copied workaround rewrites the RefSwitch and AssignSub nodes of the frozen graph, but it
    only works for ref variables.

Fix
    Build the graph again with is_training=False, restore the checkpoint into it, and freeze that
    graph. It contains no tf.cond and no assignment.

Already trained
    Not needed. The checkpoint is right, and only the frozen graph is wrong: freeze again from the
    checkpoint. A frozen graph alone has no variables any more, so nothing estimates its statistics.

How to see it in your own program
    `bnguard audit frozen.pb` reports BN302 assign-left-in-frozen-graph and BN303
    mode-left-in-frozen-graph.

Reports
    tensorflow/tensorflow#3628 (unable to import a frozen graph with batch norm; the workaround)
    tensorflow/tensorflow#17729
    davidsandberg/facenet#161
    onnx/tensorflow-onnx#77
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import convolution, regression_loss
from bnguard.harness.claims import ProgramRuns
from bnguard.layers import batch_norm

VARIABLES = ("bn/beta", "bn/gamma", "bn/moving_mean", "bn/moving_variance")
SAYS = (
    "incompatible with expected float_ref",  # ref variables
    "incompatible with expected resource",  # resource variables, control flow v1
    "expected type resource != float",  # resource variables, control flow v2
)
CASE = Case(ProgramRuns(SAYS, fails_in="serve"), mean=(10.0,), deviation=3.0, spatial=(6, 6))


def build(fused):
    """Build the training program: a convolution, the layer, and a regression."""
    is_training = tf.placeholder_with_default(False, [], name="is_training")
    images, features, normalized = network(is_training, fused)
    loss = regression_loss(normalized, images[:, 0, 0, 0])
    train_op = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    return Model(
        images,
        [Training(train_op, {is_training: True})],
        Inference(normalized, inputs=features),
        layers={"bn": {"batch": features}},
    )


def serve(fused, checkpoint):
    """Build the serving program, which imports the frozen graph."""
    names = ["images", "features", "output", *VARIABLES]
    images, features, output, *variables = tf.import_graph_def(
        freeze(fused, checkpoint), return_elements=[f"{name}:0" for name in names], name=""
    )
    return Model(
        images,
        [],
        Inference(output, inputs=features),
        layers={"bn": {"batch": features}},
        variables=dict(zip(VARIABLES, variables)),
    )


def freeze(fused, checkpoint):
    """Return the GraphDef of the network, with constants in place of the variables."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        network(tf.placeholder_with_default(False, [], name="is_training"), fused)
        tf.train.Saver().restore(session, checkpoint)
        return tf.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["output"]
        )


def network(is_training, fused):
    """Build the network; return the images, and the layer's inputs and outputs."""
    images = tf.placeholder(tf.float32, [None, 6, 6, 1], name="images")
    features = convolution(images)
    normalized = batch_norm(
        features,
        decay=0.9,
        scale=True,
        updates_collections=None,
        is_training=is_training,
        fused=fused,
        scope="bn",
    )
    return images, features, tf.identity(normalized, name="output")
