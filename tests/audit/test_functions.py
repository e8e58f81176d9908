"""Functions in the graph, where they are called."""

from audit.protobuf import message_of
from bnguard.audit import schema
from bnguard.audit.graph import CONTROL
from bnguard.audit.reading import read_graph

EFFECTS = [f"effect_{letter}" for letter in "abcdefgh"]


def test_effects_are_in_one_order_whatever_that_of_protobufs_map():
    """Else the same file has other paths in its report each time: a map's order is random."""
    message = message_of([("call", "StatefulPartitionedCall")])
    message.node[0].attr["f"].func.name = "body"
    function = message.library.function.add()
    function.signature.name = "body"
    for name in EFFECTS:
        function.node_def.add(name=name, op="NoOp")
        function.control_ret[name] = name
    graph = read_graph(schema.message("RawGraphDef").FromString(message.SerializeToString()))
    call = graph.find("call")
    assert [graph.names[node] for node in graph.sources[call]] == [f"call/{one}" for one in EFFECTS]
    assert set(graph.ports[call]) == {CONTROL}
