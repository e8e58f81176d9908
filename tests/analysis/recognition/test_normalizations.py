"""Normalizations that are written out op by op, in graphs made by hand."""

import pytest
from support.analysis.graph_defs import message_of
from support.analysis.small_limits import small_limit

from bnguard.analysis.frontend.loader import load
from bnguard.analysis.recognition.recognized_graph import recognize


def read(nodes):
    """The RecognizedGraph of nodes, with the values that the layer's constants have."""
    message = message_of(nodes)
    for node in message.node:
        if node.name == "epsilon":
            node.attr["value"].tensor.dtype = 1
            node.attr["value"].tensor.float_val.append(1e-3)
        elif node.name == "axes":
            node.attr["value"].tensor.dtype = 3
            node.attr["value"].tensor.tensor_shape.dim.add().size = 1
            node.attr["value"].tensor.int_val.append(0)
    (loaded,) = load(message)
    return recognize(loaded)


def layer(between=0):
    """A layer by its batch's moments; `between` ops are between the mean and its use."""
    chain = [(f"m{number + 1}", "Square", f"m{number}") for number in range(between)]
    return [
        ("x", "Placeholder"),
        ("axes", "Const"),
        ("epsilon", "Const"),
        ("gamma", "VariableV2"),
        ("beta", "VariableV2"),
        ("m0", "Mean", "x", "axes"),
        *chain,
        ("square", "Square", "x"),
        ("variance", "Mean", "square", "axes"),
        ("sum", "AddV2", "variance", "epsilon"),
        ("inverse", "Rsqrt", "sum"),
        ("scaled", "Mul", "inverse", "gamma"),
        ("product", "Mul", "x", "scaled"),
        ("shift", "Mul", f"m{between}", "scaled"),
        ("offset", "Sub", "beta", "shift"),
        ("y", "AddV2", "product", "offset"),
    ]


def test_moments_gamma_and_beta_are_recognized():
    recognized = read(layer())
    (found,) = recognized.normalizations
    names = recognized.graph.names
    assert names[found.node] == "inverse"
    assert {names[moment.node] for moment in found.moments} == {"m0", "variance"}
    assert {names[node] for node in found.parameters} == {"gamma", "beta"}


def test_the_search_for_a_mean_ends_at_its_limit_and_says_so():
    nodes = layer(between=8)
    assert len(read(nodes).normalizations) == 1
    with small_limit("MOMENT_NODES", 8) as reached:
        assert read(nodes).normalizations == ()
    assert reached == ["MOMENT_NODES"]


def test_following_the_inverse_deviation_ends_at_its_limit_and_says_so():
    nodes = layer()
    uses = [(f"use{number}", "Identity", "inverse") for number in range(20)]
    at = [name for name, *_ in nodes].index("scaled")
    with small_limit("MOMENT_NODES", 12) as reached:
        read([*nodes[:at], *uses, *nodes[at:]])
    assert reached == ["MOMENT_NODES"]


@pytest.mark.parametrize("source", ["VariableV2", "Merge"])
def test_a_mean_of_weights_is_no_moment_of_a_batch(source):
    """Weight standardization; and a mean of what comes from nowhere, which may be anything."""
    nodes = [node for node in layer() if node[0] != "x"]
    if source == "VariableV2":
        nodes = [("x", "VariableV2"), *nodes]
    else:
        nodes = [("x", "Merge", "next"), ("next", "NextIteration", "x"), *nodes]
    assert len(read(nodes).normalizations) == (0 if source == "VariableV2" else 1)
