"""BN303: what TensorFlow refuses to import, because a constant is taken for a resource variable."""

import pytest
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
