"""From bytes to a Graph: inputs are found wherever they stand, and nodes put in order."""

import gc

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
from support.analysis.graph_defs import graph_of, message_of, read

import bnguard
from bnguard.analysis.errors import AuditError
from bnguard.analysis.ir.graph import CONTROL, Graph
from bnguard.analysis.ir.tensor_values import uniform_value

EXAMPLES = settings(max_examples=200, derandomize=True, deadline=None, database=None)


@st.composite
def shuffled(draw):
    """Nodes (name, type, *inputs) without a cycle, in any order, and far from each other."""
    nodes = []
    for number in range(draw(st.integers(1, 12))):
        inputs = draw(st.lists(st.integers(0, max(0, number - 1)), max_size=3 if number else 0))
        nodes.append((f"n{number}", "AddN", *(f"n{source}" for source in inputs)))
    spread = []
    for node in draw(st.permutations(nodes)):
        spread.append(node)
        spread += [(f"after_{node[0]}_{number}", "NoOp") for number in range(20)]
    return spread


class TestInputs:
    @pytest.mark.parametrize("position", [0, 1], ids=["inputs first", "inputs last"])
    def test_every_way_to_write_one(self, position):
        inputs = [("a", "IteratorGetNext"), ("b:1", "NoOp")]
        taker = ("taker", "AddN", "a", "a:0", "a:7", "a:12", "b:1", "b:1:2", "^a", "^b:1")
        nodes = [*inputs, taker] if position == 0 else [taker, *inputs]
        graph = graph_of(nodes)
        a, b, node = (graph.find(name) for name in ("a", "b:1", "taker"))
        assert list(zip(graph.sources[node], graph.ports[node])) == [
            (a, 0),
            (a, 0),
            (a, 7),
            (a, 12),
            (b, 0),
            (b, 2),
            (a, CONTROL),
            (b, CONTROL),
        ]

    @pytest.mark.parametrize("text", ["c", "c:0", "^c", "a:", "a:x", "a:-1", ":1", "^", "", "^^a"])
    def test_one_that_is_not_there(self, text):
        with pytest.raises(AuditError, match="but there is no such node"):
            graph_of([("a", "NoOp"), ("b", "AddN", text)])

    @pytest.mark.parametrize(
        ("op_type", "least"),
        [("ApplyAdam", 3), ("Assign", 2), ("FusedBatchNormV3", 5), ("Select", 3), ("Switch", 2)],
    )
    def test_fewer_than_an_op_takes(self, op_type, least):
        graph_of([("a", "Const"), ("b", op_type, *["a"] * least)])
        for inputs in (["a"] * (least - 1), ["a"] * (least - 1) + ["^a"]):
            with pytest.raises(AuditError, match=f"has too few inputs; it takes {least}"):
                graph_of([("a", "Const"), ("b", op_type, *inputs)])

    @pytest.mark.parametrize("text", ["a", "a:0", "a:3"])
    def test_data_after_control(self, text):
        with pytest.raises(AuditError, match="after control inputs"):
            graph_of([("a", "AddN"), ("b", "AddN", "a", "^a", text)])

    def test_a_large_constant_is_not_looked_at(self):
        message = message_of([("a", "Const"), ("b", "Const")])
        for node, size in zip(message.node, (1 << 10, 1 << 20)):
            node.attr["value"].tensor.tensor_content = bytes(size)
        graph = read(message)
        assert len(graph.constant(0).tensor_content) == 1 << 10
        assert graph.constant(1) is None
        assert len(graph.attributes(1)["value"].tensor.tensor_content) == 1 << 20

    def test_a_constant_without_attributes_is_the_default(self):
        assert uniform_value(graph_of([("a", "Const")]).constant(0)) == 0

    def test_attributes_are_kept(self):
        message = message_of([("a", "Const")])
        (node,) = message.node
        node.attr["value"].tensor.int_val.append(3)
        graph = read(message)
        assert list(graph.constant(0).int_val) == [3]
        assert graph.attributes(0) == node.attr


class TestOrder:
    @EXAMPLES
    @given(nodes=shuffled())
    def test_a_node_ranks_above_its_inputs(self, nodes):
        graph = graph_of(nodes)
        assert len({graph.ranks[node] for node in range(len(graph))}) == len(graph)
        for node, sources in enumerate(graph.sources):
            assert all(graph.ranks[source] < graph.ranks[node] for source in sources)

    @EXAMPLES
    @given(nodes=shuffled(), data=st.data())
    def test_a_cycle_is_refused_however_long(self, nodes, data):
        names = [name for name, op_type, *_ in nodes if op_type == "AddN"]
        members = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        ring = dict(zip(members, members[1:] + members[:1]))
        nodes = [(*node, ring[node[0]]) if node[0] in ring else node for node in nodes]
        with pytest.raises(AuditError, match="is in a cycle of inputs that is no loop"):
            graph_of(nodes)

    @EXAMPLES
    @given(order=st.permutations(["start", "merge", "more", "again"]))
    def test_a_loop_closes_at_its_merge(self, order):
        loop = {
            "start": ("Enter", "x"),
            "merge": ("Merge", "start", "again"),
            "more": ("AddN", "merge", "x"),
            "again": ("NextIteration", "more"),
        }
        graph = graph_of([("x", "Placeholder"), *((name, *loop[name]) for name in order)])
        rank = {name: graph.ranks[graph.find(name)] for name in ["x", *loop]}
        assert rank["x"] < rank["start"] < rank["merge"] < rank["more"] < rank["again"]


def test_a_graph_is_freed_without_the_garbage_collector():
    """For an audit switches it off, and a search for garbage among so many objects is dear."""
    message = message_of(
        [("x", "Placeholder"), ("flag", "Placeholder"), ("switch", "Switch", "x", "flag")]
    )
    gc.collect()
    before = {id(found) for found in gc.get_objects() if isinstance(found, Graph)}
    gc.disable()
    try:
        bnguard.audit(message, fetches=["switch:0", "switch:1"], feeds={"flag": False})
        assert before.issuperset(
            id(found) for found in gc.get_objects() if isinstance(found, Graph)
        )
    finally:
        gc.enable()
