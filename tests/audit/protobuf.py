"""Graphs made by hand, node by node."""

from bnguard.audit import schema
from bnguard.audit.reading import read_graph


def graph_of(nodes):
    """The Graph of nodes (name, type, *inputs)."""
    return read(message_of(nodes))


def read(message):
    """The Graph of a GraphDef."""
    return read_graph(schema.message("RawGraphDef").FromString(message.SerializeToString()))


def message_of(nodes):
    """The same as a GraphDef."""
    message = schema.message("GraphDef")()
    for name, kind, *inputs in nodes:
        message.node.add(name=name, op=kind, input=inputs)
    return message
