"""The compiled reader of nodes gives what reading.py itself reads, or gives up; nothing else."""

from contextlib import contextmanager
import gc
import glob
import lzma
import os
import shlex
import shutil
import sys
import sysconfig
import tracemalloc

from audit.hostile import NETWORKS
from bnguard.audit import AuditError, reading, schema
from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

EXAMPLES = settings(max_examples=500, derandomize=True, deadline=None, database=None)
FIELDS = ["a", "b", "b:1", "b:01", ":1", "^a", "^b:1", "^", "", "a:", "a:-1", "\xff", "\u0661"]

built = pytest.mark.skipif(
    reading._nodes is None, reason="bnguard.audit._nodes is not built: no C compiler was there"
)


def a_compiler_is_here():
    command = shlex.split(sysconfig.get_config_var("CC") or "")
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    return bool(command and shutil.which(command[0]) and os.path.exists(header))


@contextmanager
def without_compiled():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_nodes", None)
        yield


def read_by_python(nodes):
    """What `read_nodes` gives, by reading.py alone; the reason if that cannot read them."""
    raw = schema.message("RawGraphDef")(node=nodes)
    draft = reading.Draft(raw.node)
    try:
        with without_compiled():
            reading._read_nodes(draft, raw)
    except AuditError as error:
        return str(error)
    names, index = draft.names.encoded, draft.names.index
    return names, index, draft.types, draft.sources, draft.ports, sorted(draft.early)


def node(name, kind, *inputs):
    return schema.message("NodeDef")(name=name, op=kind, input=inputs).SerializeToString()


@st.composite
def ordinary(draw):
    """Nodes in bytes, each name once, each input there: earlier, later, or the node itself."""
    names = draw(st.lists(st.sampled_from("abcdefgh") | st.text(min_size=1), unique=True))
    names = [name for name in names if ":" not in name and "^" not in name]
    port = st.sampled_from(["", "", ":0", ":1", ":12345"])
    nodes = []
    for name in names:
        data = draw(st.lists(st.sampled_from(names), max_size=12))
        control = draw(st.lists(st.sampled_from(names), max_size=2))
        inputs = [one + draw(port) for one in data] + [f"^{one}" for one in control]
        one = schema.message("NodeDef")(name=name, op=draw(st.sampled_from(["Add", "É"])))
        one.input.extend(inputs)
        one.attr["T"].type = draw(st.integers(0, 200))
        nodes.append(one.SerializeToString())
    return nodes


@st.composite
def strange(draw):
    """Nodes whose names, inputs and bytes are anything, though often right in part."""
    text = st.sampled_from(FIELDS)
    nodes = [
        bytearray(node(draw(text), draw(text), *draw(st.lists(text, max_size=3))))
        for _ in range(draw(st.integers(1, 4)))
    ]
    for data in nodes:
        for _ in range(draw(st.integers(0, 2))):
            place = draw(st.integers(0, len(data)))
            data[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return [bytes(data) for data in nodes]


def test_it_is_built_where_a_compiler_is():
    assert reading._nodes is not None or not a_compiler_is_here()


@built
class TestReadNodes:
    @EXAMPLES
    @given(nodes=ordinary())
    def test_ordinary_nodes(self, nodes):
        found = reading._nodes.read_nodes(nodes)
        assert found is not None
        assert found == read_by_python(nodes)

    @settings(EXAMPLES, max_examples=1000)
    @given(nodes=strange())
    def test_strange_nodes(self, nodes):
        found = reading._nodes.read_nodes(nodes)
        assert found is None or found == read_by_python(nodes)

    @pytest.mark.parametrize("path", glob.glob(os.path.join(NETWORKS, "*.meta.xz")))
    def test_networks(self, path):
        with lzma.open(path) as file:
            raw = schema.message("RawMetaGraphDef").FromString(file.read()).graph_def
        found = reading._nodes.read_nodes(raw.node)
        assert len(found[0]) == len(raw.node) > 1000
        assert found == read_by_python(raw.node)

    @pytest.mark.parametrize(
        "nodes",
        [
            [node("a", "NoOp", "b")],
            [node("a", "NoOp"), node("a", "NoOp")],
            [node("", "NoOp")],
            [node("a", "")],
            [node("a", "NoOp"), node("b", "Add", "^a", "a")],
            [b"\x0a"],
            [b"\x0a\x05abc"],
            [node("a", "NoOp") + b"\x33\x34"],  # a group
            [node("a", "NoOp") + b"\x08\x01"],  # a name that is a number
            [node("a", "NoOp") + b"\x80\x80\x80\x80\x80\x01\x01"],  # a tag of 36 bits
            [node("a", "NoOp") + b"\x32" + b"\xff" * 9 + b"\x01"],  # as long as 2^64 - 1 bytes
        ],
        ids=str,
    )
    def test_it_gives_up(self, nodes):
        assert reading._nodes.read_nodes(nodes) is None

    @pytest.mark.parametrize(
        "text",
        ["c", "^c", "c:0", "a:", "a:x", "a:-1", "a1", "ab1", ":1", "^", "", "^^a", "a:1234567890"],
    )
    def test_an_input_that_is_not_there(self, text):
        nodes = [node("a", "NoOp"), node("b", "Add", text)]
        assert reading._nodes.read_nodes(nodes) is None
        assert "there is no such node" in read_by_python(nodes)

    @pytest.mark.parametrize(
        "more",
        [
            b"\x28\x96\x01",  # field 5: a number
            b"\x31" + bytes(8),  # field 6: eight bytes
            b"\x35" + bytes(4),  # field 6: four bytes
            b"\x0a\x01c",  # the name once more: the last counts
            b"\x12\x03\xffOp",  # the type once more, not in UTF-8
        ],
        ids=str,
    )
    def test_fields_of_every_wire_type(self, more):
        nodes = [node("a", "NoOp") + more]
        assert reading._nodes.read_nodes(nodes) == read_by_python(nodes)

    @pytest.mark.parametrize("count", [*range(20), 5000])
    def test_many_inputs(self, count):
        nodes = [node("a", "Const"), node("b", "AddN", *["a"] * count)]
        nodes += [node("c", "AddN", *["d"] * count), node("d", "AddN", *["b:3"] * count)]
        assert reading._nodes.read_nodes(nodes) == read_by_python(nodes)

    @pytest.mark.parametrize("nodes", [5, None, ["a"], [node("a", "NoOp"), 5]], ids=repr)
    def test_what_is_no_list_of_bytes(self, nodes):
        with pytest.raises(TypeError):
            reading._nodes.read_nodes(nodes)

    @pytest.mark.parametrize(
        "last",
        [
            [node("a", "Add", "n7"), node("b", "Add", "a", "c:1"), node("c", *["n5"] * 13)],
            [node("a", "Const"), node("b", "Add", "a", "c")],
            [node("a", "Const"), node("b", "Add", "a", "c"), node("c", "Add", "^a", "a")],
            [node("a", "Const"), node("a", "Const")],
            [node("a", "Const"), b"\x0a"],
        ],
        ids=["read", "missing", "order", "twice", "damaged"],
    )
    def test_nothing_is_kept(self, last):
        # Python keeps small numbers anyway, so let there be larger ones.
        few = [node(f"n{one}", "Identity", *[f"n{one - 1}"][:one]) for one in range(300)]
        # A message's nodes are bytes made anew each time.
        nodes = schema.message("RawGraphDef")(node=[*few, *last]).node
        gc.collect()  # and with it what Python keeps of freed tuples,
        reading._nodes.read_nodes(nodes)  # but what it keeps of these
        nones = sys.getrefcount(None)
        tracemalloc.start()
        try:
            for _ in range(100):
                reading._nodes.read_nodes(nodes)
            assert tracemalloc.get_traced_memory()[0] < 1000
        finally:
            tracemalloc.stop()
        assert sys.getrefcount(None) < nones + 50


def test_without_it_an_audit_reads_the_same():
    nodes = [node("a", "Const"), node("b", "Add", "a", "c:1"), node("c", "Split", "a")]
    raw = schema.message("RawGraphDef")(node=nodes)
    graphs = [reading.read_graph(raw)]
    with without_compiled():
        graphs.append(reading.read_graph(raw))
    assert [list(graph.names) for graph in graphs] == [["a", "b", "c"]] * 2
    assert graphs[0].sources == graphs[1].sources == [(), (0, 2), (0,)]
    assert graphs[0].ports == graphs[1].ports == [(), (0, 1), (0,)]
    assert list(graphs[0].ranks) == list(graphs[1].ranks)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "Python"])
def test_a_damaged_node_is_named_by_its_number(compiled):
    nodes = [node("a", "NoOp"), node("b", "NoOp")[:-1], node("c", "NoOp")]
    raw = schema.message("RawGraphDef")(node=nodes)
    if compiled:
        with pytest.raises(AuditError, match="node number 1 is damaged"):
            reading.read_graph(raw)
    else:
        with without_compiled(), pytest.raises(AuditError, match="node number 1 is damaged"):
            reading.read_graph(raw)
