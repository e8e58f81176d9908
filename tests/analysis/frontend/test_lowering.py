"""Functions in the graph, where they are called."""

import pytest
from support.analysis.graph_defs import message_of, read

from bnguard.analysis.ir.graph import CONTROL, Tensor
from bnguard.analysis.recognition.gradients import find_gradients

EFFECTS = [f"effect_{letter}" for letter in "abcdefgh"]


@pytest.mark.parametrize("name", ["ApplyAdam", "FusedBatchNormV3", "Switch", "MyGrad", "body"])
def test_a_function_may_be_called_as_an_op_is(name):
    """TensorFlow 1 calls a function by its name, as the type of a node."""
    message = message_of([("call", name), ("taker", "Identity", "call:1")])
    _add_function_of_two(message, name)
    graph = read(message)
    call = graph.find("call")
    assert graph.types[call] == "PartitionedCall"
    assert [graph.names[source] for source in graph.sources[call]] == ["call/first", "call/second"]
    assert not find_gradients(graph).nodes


def test_a_function_in_a_function_keeps_its_outputs_apart():
    message = message_of([("call", "outer")])
    outer = message.library.function.add()
    outer.signature.name = "outer"
    outer.signature.output_arg.add(name="result")
    outer.node_def.add(name="nested", op="inner")
    outer.ret["result"] = "nested:second:0"
    _add_function_of_two(message, "inner")
    graph = read(message)
    call = graph.find("call")
    assert graph.data_inputs(call) == [Tensor(graph.find("call/nested"), 1)]


def test_effects_are_in_one_order_whatever_that_of_protobufs_map():
    """Else the same file has other paths in its report each time: a map's order is random."""
    message = message_of([("call", "StatefulPartitionedCall")])
    message.node[0].attr["f"].func.name = "body"
    function = message.library.function.add()
    function.signature.name = "body"
    for name in EFFECTS:
        function.node_def.add(name=name, op="NoOp")
        function.control_ret[name] = name
    graph = read(message)
    call = graph.find("call")
    assert [graph.names[node] for node in graph.sources[call]] == [
        f"call/{effect}" for effect in EFFECTS
    ]
    assert set(graph.ports[call]) == {CONTROL}


def _add_function_of_two(message, name):
    """A function of two results, `first` and `second`."""
    function = message.library.function.add()
    function.signature.name = name
    for output in ("first", "second"):
        function.signature.output_arg.add(name=output)
        function.node_def.add(name=output, op="Const")
        function.ret[output] = f"{output}:output:0"
