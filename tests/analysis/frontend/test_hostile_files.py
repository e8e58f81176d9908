"""No file makes the audit fail otherwise than by saying, in one line, why it cannot be read.

The default run tries 2,000 files; BNGUARD_FILES=100000 tries so many. tools/fuzz has programs that
try more.
"""

from collections import Counter
import os

from fuzz.graphs import TARGETS, try_one
from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
from support.analysis.graph_defs import message_of
from support.analysis.hostile_files import damaged_file, survives
from support.analysis.small_limits import small_limit

import bnguard
from bnguard.analysis.errors import AuditError
from bnguard.analysis.ir import protos

pytestmark = pytest.mark.slow

FILES = int(os.environ.get("BNGUARD_FILES", "0"))


def graph(*nodes):
    """A GraphDef of nodes (name, type, *inputs)."""
    return message_of(nodes)


def refusal(message):
    with pytest.raises(AuditError) as error:
        bnguard.audit(message)
    return str(error.value)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return str(tmp_path_factory.mktemp("hostile") / "graph.meta")


class TestAnyFile:
    @pytest.mark.parametrize(("target", "inputs"), [("evaluate", 1700), ("audit", 300)])
    def test_mutated_graphs(self, path, target, inputs):
        """The inputs of tools/fuzz/graphs.py; BNGUARD_FILES=100000 tries so many."""
        counts = Counter()
        for number in range(FILES or inputs):
            outcome, details = try_one(TARGETS[target], path, 0, number)
            assert not details, f"tools/fuzz/graphs.py {target} --seed 0 --only {number}: {details}"
            counts[outcome] += 1
        assert counts["report"] > 0.2 * inputs
        assert counts["refusal"] > 0.2 * inputs

    @settings(max_examples=FILES // 20 or 30, derandomize=not FILES, deadline=None, database=None)
    @given(random=st.randoms(use_true_random=True))
    def test_damaged_networks(self, path, random):
        self.write(path, damaged_file(random.randrange))
        survives(path)

    def write(self, path, data):
        with open(path, "wb") as file:
            file.write(data)


class TestImpossibleGraphs:
    def test_text_without_a_node(self, tmp_path):
        path = tmp_path / "graph.pbtxt"
        path.write_text("library { }")
        with pytest.raises(
            AuditError, match=r"the text form of a GraphDef, but damaged \(it has no nodes\)"
        ):
            bnguard.audit(path)

    @pytest.mark.parametrize("message_type", ["GraphDef", "MetaGraphDef", "SavedModel"])
    def test_an_empty_message(self, message_type):
        assert f"<{message_type}>: " in refusal(protos.message(message_type)())

    def test_a_cycle(self):
        message = refusal(graph(("a", "Add", "b", "b"), ("b", "Add", "a", "a")))
        assert "node a is in a cycle of inputs that is no loop" in message

    def test_a_missing_input(self):
        message = refusal(graph(("a", "Identity", "nowhere:1")))
        assert "node a has the input 'nowhere:1', but there is no such node" in message

    def test_a_name_twice(self):
        assert "two nodes are named a" in refusal(graph(("a", "NoOp"), ("a", "NoOp")))

    def test_no_name_and_no_type(self):
        assert "expected a name and a type" in refusal(graph(("x", "NoOp"), ("", "NoOp")))

    def test_too_few_inputs(self):
        message = refusal(graph(("x", "Placeholder"), ("s", "Switch", "x")))
        assert "node s (Switch) has too few inputs; it takes 2" in message

    def test_data_after_control(self):
        message = refusal(graph(("x", "NoOp"), ("y", "Identity", "^x", "x")))
        assert "after control inputs" in message

    def test_functions_that_call_each_other_in_a_circle(self):
        message = graph(("x", "Placeholder"), ("y", "odd", "x"))
        for name, other in (("odd", "even"), ("even", "odd")):
            function = message.library.function.add()
            function.signature.name = name
            function.signature.input_arg.add().name = "x"
            function.node_def.add(name="call", op=other, input=["x"])
        assert "function odd calls itself, at y/call/call" in refusal(message)

    def test_functions_that_call_two_each(self):
        message = graph(("x", "Placeholder"), ("y", "f0", "x"))
        for level in range(50):
            function = message.library.function.add()
            function.signature.name = f"f{level}"
            function.signature.input_arg.add().name = "x"
            for call in ("a", "b"):
                function.node_def.add(name=call, op=f"f{level + 1}", input=["x"])
        with small_limit("LOWERED_NODES", 10000):
            assert "its functions expand to more than 10000 nodes" in refusal(message)

    def test_functions_nested_too_deep(self):
        message = graph(("x", "Placeholder"), ("y", "f0", "x"))
        for level in range(200):
            function = message.library.function.add()
            function.signature.name = f"f{level}"
            function.signature.input_arg.add().name = "x"
            function.node_def.add(name="a", op=f"f{level + 1}", input=["x"])
        assert "functions are nested more than 100 deep" in refusal(message)


NODE = 'node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }\n'


class TestTexts:
    def audited(self, tmp_path, text):
        path = tmp_path / "graph.pbtxt"
        path.write_text(text)
        return bnguard.audit(path)

    @pytest.mark.parametrize(
        "value",
        [
            "type: 99999999999",
            "list { type: -99999999999 }",
            "i: 99999999999999999999",
            "tensor { int_val: 99999999999 }",
        ],
    )
    def test_a_number_out_of_range(self, value, tmp_path):
        with pytest.raises(AuditError, match="not the text form of a GraphDef"):
            self.audited(tmp_path, NODE.replace("type: DT_FLOAT", value))

    def test_a_message_is_short_whatever_the_line_is(self, tmp_path):
        with pytest.raises(AuditError) as refusal:
            self.audited(tmp_path, NODE + 'node { name: "' + "a" * 2000000 + " }")
        assert len(str(refusal.value)) < 1001
        assert "graph.pbtxt: not the text form of a GraphDef (2:" in str(refusal.value)

    def test_a_message_is_one_line_whatever_the_names_are(self):
        message = refusal(graph(("a\nb\x1b", "NoOp"), ("a\nb\x1b", "NoOp")))
        assert message == "<GraphDef>: two nodes are named a\\nb\\x1b; expected every name once"

    @pytest.mark.parametrize(
        "comments", ["# c\n" * 50000, "# " + "\u1234" * 100000 + "\n", "\n \t\n" * 50000 + "#\n"]
    )
    def test_long_comments_before_the_first_field(self, comments, tmp_path):
        assert self.audited(tmp_path, comments + NODE).nodes == 1

    def test_nothing_but_comments(self, tmp_path):
        with pytest.raises(AuditError, match="a text file of another kind"):
            self.audited(tmp_path, "# no graph\n" * 10000)


class TestStrangeGraphs:
    def test_a_loop_that_nothing_enters(self):
        """What it hands on comes from nowhere, and may be divided by a deviation."""
        loop = [("again", "Merge", "next", "more")]
        loop += [(name, "NextIteration", "again") for name in ("next", "more")]
        layer = [("v", "VariableV2"), ("root", "Sqrt", "v"), ("y", "RealDiv", "again", "root")]
        assert bnguard.audit(graph(*loop, *layer)).findings == ()


class TestLargeGraphs:
    """Sizes at which anything quadratic, or recursive, would not end or not fit."""

    def test_a_chain_in_reverse_order(self):
        nodes = [(f"n{i}", "Identity", f"n{i + 1}") for i in range(50000)]
        assert bnguard.audit(graph(*nodes, ("n50000", "Placeholder"))).findings == ()

    def test_a_loop_within_a_loop_within_a_loop(self):
        nodes = [("n0", "Placeholder")]
        for i in range(3000):
            nodes += [
                (f"e{i}", "Enter", f"n{i}"),
                (f"m{i}", "Merge", f"e{i}", f"b{i}"),
                (f"b{i}", "NextIteration", f"m{i}"),
                (f"n{i + 1}", "Identity", f"m{i}"),
            ]
        assert bnguard.audit(graph(*nodes)).findings == ()

    def test_predicates_that_nobody_knows(self):
        nodes = [("v/moving_mean", "VariableV2"), ("n0", "Placeholder")]
        for i in range(2000):
            nodes += [(f"p{i}", "Placeholder"), (f"s{i}", "Switch", f"n{i}", f"p{i}")]
            nodes.append((f"n{i + 1}", "Identity", f"s{i}:{i % 2}"))
        nodes.append(("w", "AssignAdd", "v/moving_mean", "n2000"))
        (finding,) = bnguard.audit(graph(*nodes), fetches="w", select=["BN101"]).findings
        assert not finding.certain

    def test_thousands_of_updates(self):
        nodes = [("n0", "Placeholder")]
        for i in range(4000):
            mean = f"v{i}/moving_mean"
            nodes += [
                (mean, "VariableV2"),
                (f"f{i}", "FusedBatchNormV3", f"n{i}", "n0", "n0", mean, mean),
                (f"w{i}", "AssignSub", mean, f"f{i}:1"),
                (f"n{i + 1}", "Identity", f"f{i}", f"^w{i}"),
            ]
        report = bnguard.audit(graph(*nodes), fetches="n4000", select=["BN101"])
        assert len(report.findings) == len(report.statistics) == 4000
