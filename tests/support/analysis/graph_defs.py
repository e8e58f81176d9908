"""Graphs made by hand, node by node."""

from bnguard.analysis.frontend.graph_builder import read_graph
from bnguard.analysis.ir import protos


def graph_of(nodes):
    """The Graph of nodes (name, type, *inputs)."""
    return read(message_of(nodes))


def read(message):
    """The Graph of a GraphDef."""
    return read_graph(protos.message("RawGraphDef").FromString(message.SerializeToString()))


def message_of(nodes):
    """The same as a GraphDef."""
    message = protos.message("GraphDef")()
    for name, op_type, *inputs in nodes:
        message.node.add(name=name, op=op_type, input=inputs)
    return message
