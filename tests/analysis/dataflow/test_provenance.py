"""Where a tensor's elements come from, and whether the answer is complete."""

import itertools

import pytest
from support.analysis.graph_defs import graph_of
from support.analysis.small_limits import small_limit

from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.dataflow.provenance import Provenance
from bnguard.analysis.ir.graph import Tensor


def names_of(provenance, tensors):
    return [provenance.graph.names[tensor.node] for tensor in tensors]


def tensor(graph, name):
    return Tensor(graph.find(name), 0)


class TestOrigins:
    def test_elements_are_followed_through_data_movement_and_merges(self):
        graph = graph_of(
            [
                ("v", "VariableV2"),
                ("c", "Const"),
                ("p", "Placeholder"),
                ("square", "Square", "v"),
                ("moved", "Transpose", "v", "c"),
                ("switch", "Switch", "square", "p"),
                ("merge", "Merge", "moved", "switch:1"),
                ("pack", "Pack", "merge", "c"),
            ]
        )
        provenance = Provenance(graph)
        origins = provenance.origins(tensor(graph, "pack"))
        assert sorted(names_of(provenance, origins.tensors)) == ["c", "square", "v"]
        assert origins.is_complete
        assert provenance.variables(tensor(graph, "pack")) == [graph.find("v")]

    @pytest.mark.parametrize("op_type", ["Pack", "ConcatV2", "Merge"])
    def test_an_answer_at_the_limit_is_complete_and_one_above_it_is_not(self, op_type):
        inputs = [f"n{number}" for number in range(7)]
        nodes = [("x", "Placeholder"), *((name, "Square", "x") for name in inputs)]
        axis = ["x"] if op_type == "ConcatV2" else []
        graph = graph_of([*nodes, ("all", op_type, *inputs, *axis)])
        for limit, is_complete in ((8, True), (7, False)):
            with small_limit("PROVENANCE_TENSORS", limit) as reached:
                origins = Provenance(graph).origins(tensor(graph, "all"))
            assert origins.is_complete is is_complete
            are_squares = origins.all_are(lambda origin: graph.types[origin.node] == "Square")
            assert are_squares is is_complete
            assert reached == ([] if is_complete else ["PROVENANCE_TENSORS"])

    def test_the_only_origin_is_unknown_where_the_answer_is_incomplete(self):
        nodes = [("x", "Placeholder"), ("a", "Square", "x"), ("b", "Identity", "a")]
        graph = graph_of([*nodes, ("c", "Pack", "a", "b"), ("d", "Pack", "a", "x")])
        assert Provenance(graph).origins(tensor(graph, "c")).only == tensor(graph, "a")
        assert Provenance(graph).origins(tensor(graph, "d")).only is None
        with small_limit("PROVENANCE_TENSORS", 2):
            origins = Provenance(graph).origins(tensor(graph, "d"))
        assert not origins.is_complete
        assert origins.only is None

    def test_a_loop_that_nothing_enters_has_no_origins(self):
        graph = graph_of([("merge", "Merge", "next"), ("next", "NextIteration", "merge")])
        provenance = Provenance(graph)
        for name in ("merge", "next"):
            origins = provenance.origins(tensor(graph, name))
            assert (list(origins.tensors), origins.is_complete) == ([], True)
            assert not origins.all_are(lambda origin: True)

    def test_a_step_passes_through_only_the_side_of_a_select_that_it_chooses(self):
        graph = graph_of(
            [
                ("flag", "Placeholder"),
                ("v", "VariableV2"),
                ("x", "Placeholder"),
                ("select", "Select", "flag", "x", "v"),
            ]
        )
        flag, select = tensor(graph, "flag"), tensor(graph, "select")
        for value, expected in ((True, ["x"]), (False, ["v"]), (None, ["v", "x"])):
            provenance = Provenance(graph, Execution(graph, [select], {flag: value}))
            found = names_of(provenance, provenance.origins(select).tensors)
            assert sorted(found) == expected


class TestRoot:
    def test_it_is_found_behind_a_chain_of_any_length(self):
        nodes = [(f"n{number + 1}", "Identity", f"n{number}") for number in range(10000)]
        graph = graph_of([("n0", "Placeholder"), *nodes])
        provenance = Provenance(graph)
        assert provenance.root(tensor(graph, "n10000")) == tensor(graph, "n0")
        assert provenance.root(tensor(graph, "n5000")) == tensor(graph, "n0")

    def test_it_does_not_depend_on_earlier_questions(self):
        names = ["merge", "middle", "next", "outside"]
        nodes = [
            ("outside", "Identity", "middle"),
            ("merge", "Merge", "next"),
            ("middle", "Identity", "merge"),
            ("next", "NextIteration", "middle"),
        ]
        graph = graph_of(nodes)
        answers = set()
        for order in itertools.permutations(names):
            provenance = Provenance(graph)
            roots = {name: provenance.root(tensor(graph, name)) for name in order}
            answers.add(tuple(sorted(roots.items())))
        assert len(answers) == 1
