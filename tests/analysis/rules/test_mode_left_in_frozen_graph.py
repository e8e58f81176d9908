"""BN303: what TensorFlow refuses to import, because a constant is taken for a resource variable."""

import pytest
from support.analysis.networks import dense, flag, fresh_graph, inputs, layer
import tensorflow.compat.v1 as tf

import bnguard

pytestmark = pytest.mark.slow


def frozen(op_type):
    """A Keras layer's gamma, frozen by a tool that knows no resource variables."""
    graph = tf.GraphDef()
    gamma = graph.node.add(name="bn/gamma", op="Const")
    gamma.attr["dtype"].type = tf.float32.as_datatype_enum
    gamma.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([1.0, 1.0]))
    node = graph.node.add(name="bn/taker", op=op_type, input=["bn/gamma"])
    if op_type == "Switch":
        mode = graph.node.add(name="mode", op="Const")
        mode.attr["dtype"].type = tf.bool.as_datatype_enum
        mode.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(False))
        node.input.append("mode")
        node.attr["T"].type = tf.resource.as_datatype_enum
    else:
        node.attr["dtype"].type = tf.float32.as_datatype_enum
    return graph


@pytest.mark.parametrize("op_type", ["Switch", "ReadVariableOp"])
def test_what_tensorflow_refuses_is_found(op_type):
    with tf.Graph().as_default(), pytest.raises(ValueError, match="incompatible with expected"):
        tf.import_graph_def(frozen(op_type), name="")
    (finding,) = bnguard.audit(frozen(op_type)).findings
    assert (finding.rule, finding.severity) == ("BN303", "error")
    assert (finding.variable, finding.layer, finding.op) == ("bn/gamma", "bn", "bn/taker")


def test_a_branch_on_a_tensor_is_healthy():
    graph = frozen("Switch")
    graph.node[1].attr["T"].type = tf.float32.as_datatype_enum
    with tf.Graph().as_default():
        tf.import_graph_def(graph, name="")
    assert bnguard.audit(graph).findings == ()


def audit_of_frozen(build):
    with fresh_graph("resource", "v2"), tf.Session() as session:
        tf.nn.relu(build(), name="output")
        session.run(tf.global_variables_initializer())
        graph = tf.get_default_graph().as_graph_def()
        frozen_graph = tf.graph_util.convert_variables_to_constants(session, graph, ["output"])
    return bnguard.audit(frozen_graph)


def test_a_flag_that_was_a_variable_is_found():
    def build():
        mode = tf.get_variable("mode", initializer=False, trainable=False)
        return layer(dense(inputs()), mode, updates_collections="not run")

    # TensorFlow 1.15 also makes constants of what functions take for resource variables: errors.
    found = audit_of_frozen(build).findings
    (finding,) = [finding for finding in found if finding.severity == "warning"]
    assert (finding.rule, finding.op) == ("BN303", "mode")


@pytest.mark.parametrize("is_before", [False, True])
def test_a_flag_of_dropout_alone_is_no_mode_of_a_normalization(is_before):
    def dropout(x):
        return tf.cond(flag(), lambda: tf.nn.dropout(x, rate=0.5), lambda: tf.identity(x))

    def build():
        if is_before:
            return layer(dropout(dense(inputs())), False)
        return dropout(layer(dense(inputs()), False))

    assert audit_of_frozen(build).findings == ()


def test_a_constant_that_selects_something_else_is_healthy():
    def build():
        side = tf.get_variable("side", initializer=True, trainable=False)
        x = inputs()
        y = tf.cond(side, lambda: tf.reverse(x, [1]), lambda: tf.identity(x))
        return layer(dense(y), False)

    assert audit_of_frozen(build).findings == ()
