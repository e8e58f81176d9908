"""The compiled reader of nodes gives what reading.py itself reads, or gives up; nothing else."""

from contextlib import nullcontext
import gc
import glob
import importlib.util
import json
import lzma
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tracemalloc

from audit.hostile import NETWORKS, without_compiled
from bnguard.audit import AuditError, reading, schema
from commands import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

EXAMPLES = settings(max_examples=500, derandomize=True, deadline=None, database=None)
FIELDS = ["a", "b", "b:1", "b:01", ":1", "^a", "^b:1", "^", "", "a:", "a:-1", "\xff", "\u0661"]

SOURCE = os.path.join(ROOT, "bnguard", "audit", "_nodes.c")
INCLUDE = sysconfig.get_path("include")
LINK = shlex.split(sysconfig.get_config_var("LDSHARED") or "")
needs_compiler = pytest.mark.skipif(
    not LINK or not shutil.which(LINK[0]) or not os.path.exists(os.path.join(INCLUDE, "Python.h")),
    reason="no C compiler or no Python.h, without which the module is left out",
)


@pytest.fixture(scope="module")
def read_nodes(tmp_path_factory):
    """That of the source as it is now, whatever was installed."""
    target = str(tmp_path_factory.mktemp("built") / "_nodes.so")
    options = shlex.split(sysconfig.get_config_var("CCSHARED") or "")
    subprocess.check_call([*LINK, *options, "-O1", f"-I{INCLUDE}", SOURCE, "-o", target])
    spec = importlib.util.spec_from_file_location("_nodes", target)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.read_nodes


def installed_from_here():
    """Whether `pip install` had this very tree, and so its compiler, if there is one."""
    from importlib.metadata import distributions

    records = (one.read_text("direct_url.json") for one in distributions(name="bnguard"))
    return any(json.loads(one)["url"] == pathlib.Path(ROOT).as_uri() for one in records if one)


def read_by_python(nodes):
    """What `read_nodes` gives, by reading.py alone; the reason if that cannot read them."""
    draft = reading.Draft(nodes)
    try:
        with without_compiled():
            reading._read_nodes(draft, nodes)
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


@needs_compiler
@pytest.mark.skipif(sys.version_info < (3, 8), reason="nothing tells what was installed from where")
def test_it_is_installed():
    assert reading._nodes is not None or not installed_from_here()


@needs_compiler
class TestReadNodes:
    @EXAMPLES
    @given(nodes=ordinary())
    def test_ordinary_nodes(self, read_nodes, nodes):
        found = read_nodes(nodes)
        assert found is not None
        assert found == read_by_python(nodes)

    @settings(EXAMPLES, max_examples=1000)
    @given(nodes=strange())
    def test_strange_nodes(self, read_nodes, nodes):
        found = read_nodes(nodes)
        assert found is None or found == read_by_python(nodes)

    def test_networks(self, read_nodes):
        paths = glob.glob(os.path.join(NETWORKS, "*.meta.xz"))
        assert len(paths) > 10
        for path in paths:
            with lzma.open(path) as file:
                raw = schema.message("RawMetaGraphDef").FromString(file.read()).graph_def
            found = read_nodes(raw.node)
            assert found is not None
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
            [node("a", "NoOp") + b"\x80\x80\x80\x80\x10\x01"],  # one of 33
            [node("a", "NoOp") + b"\x32" + b"\xff" * 9 + b"\x01"],  # as long as 2^64 - 1 bytes
            [node("a", "NoOp") + b"\xb2\x80\x80\x80\x80\x00\x00"],  # a tag in six bytes
            [node("a", "NoOp") + b"\x32\x80\x80\x80\x80\x80\x00"],  # a length in six bytes
            [node("a", "NoOp") + b"\x28" + b"\xff" * 9 + b"\x01"],  # a negative number
            [node("a", "NoOp") + b"\x02\x00"],  # field 0
        ],
        ids=str,
    )
    def test_it_gives_up(self, read_nodes, nodes):
        assert read_nodes(nodes) is None

    @pytest.mark.parametrize(
        "text",
        ["c", "^c", "c:0", "a:", "a:x", "a:-1", "a1", "ab1", ":1", "^", "", "^^a", "a:1234567890"],
    )
    def test_an_input_that_is_not_there(self, read_nodes, text):
        nodes = [node("a", "NoOp"), node("b", "Add", text)]
        assert read_nodes(nodes) is None
        assert "there is no such node" in read_by_python(nodes)

    @pytest.mark.parametrize(
        "more",
        [
            b"\x28\x96\x01",  # field 5: a number
            b"\x28" + b"\xff" * 8 + b"\x7f",  # the longest
            b"\xb2\x80\x80\x80\x00\x80\x80\x80\x80\x00",  # tag and length in five bytes
            b"\x31" + bytes(8),  # field 6: eight bytes
            b"\x35" + bytes(4),  # field 6: four bytes
            b"\x0a\x01c",  # the name once more: the last counts
            b"\x12\x03\xffOp",  # the type once more, not in UTF-8
        ],
        ids=str,
    )
    def test_fields_of_every_wire_type(self, read_nodes, more):
        nodes = [node("a", "NoOp") + more]
        assert read_nodes(nodes) == read_by_python(nodes)

    @pytest.mark.parametrize("count", [*range(20), 5000])
    def test_many_inputs(self, read_nodes, count):
        nodes = [node("a", "Const"), node("b", "AddN", *["a"] * count)]
        nodes += [node("c", "AddN", *["d"] * count), node("d", "AddN", *["b:3"] * count)]
        assert read_nodes(nodes) == read_by_python(nodes)

    @pytest.mark.parametrize("nodes", [5, None, ["a"], [node("a", "NoOp"), 5]], ids=repr)
    def test_what_is_no_list_of_bytes(self, read_nodes, nodes):
        with pytest.raises(TypeError):
            read_nodes(nodes)

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
    def test_nothing_is_kept(self, read_nodes, last):
        # Python keeps small numbers anyway, so let there be larger ones.
        few = [node(f"n{one}", "Identity", *[f"n{one - 1}"][:one]) for one in range(300)]
        # A message's nodes are bytes made anew each time.
        nodes = schema.message("RawGraphDef")(node=[*few, *last]).node
        gc.collect()  # and with it what Python keeps of freed tuples,
        read_nodes(nodes)  # but what it keeps of these
        nones = sys.getrefcount(None)
        tracemalloc.start()
        try:
            for _ in range(100):
                read_nodes(nodes)
            assert tracemalloc.get_traced_memory()[0] < 1000
        finally:
            tracemalloc.stop()
        assert abs(sys.getrefcount(None) - nones) < 50


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


@pytest.mark.parametrize("reader", [nullcontext, without_compiled])
class TestDamage:
    def test_a_node_is_named_by_its_number(self, reader):
        nodes = [node("a", "NoOp"), node("b", "NoOp")[:-1], node("c", "NoOp")]
        with reader(), pytest.raises(AuditError, match="node number 1 is damaged"):
            reading.read_graph(schema.message("RawGraphDef")(node=nodes))

    @pytest.mark.parametrize("depth", range(98, 103))
    def test_groups_as_deep_as_protobuf_goes(self, reader, depth):
        groups = b"\x33" * depth + b"\x34" * depth
        raw = schema.message("RawGraphDef")(node=[node("a", "NoOp"), node("b", "NoOp") + groups])
        outcome = nullcontext()
        if depth > 100:
            outcome = pytest.raises(AuditError, match="node number 1 is damaged")
        with reader(), outcome:
            assert list(reading.read_graph(raw).names) == ["a", "b"]

    def test_attributes(self, reader):
        nodes = [node("a", "NoOp"), node("b", "Const") + b"\x2a\x01\x0a"]
        with reader():
            graph = reading.read_graph(schema.message("RawGraphDef")(node=nodes))
            with pytest.raises(AuditError, match="node b: its attributes are damaged"):
                graph.attributes(1)
