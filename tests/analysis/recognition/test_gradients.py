"""Which ops take gradients in, of a graph made by hand."""

import re

import pytest
from support.analysis.graph_defs import graph_of

from bnguard.analysis.recognition.gradients import (
    Differentiated,
    after_gradients,
    differentiated_nodes,
    find_gradients,
    gradient_takers,
)

VARIABLES = [(name, "VariableV2") for name in "abcdef"]


def test_gradient_takers():
    """The first that write, by data edges; not what writes after them, or waits for a gradient."""
    graph = graph_of(
        [
            *VARIABLES,
            ("x", "Placeholder"),
            ("gradients/grad_ys_0", "Const"),
            ("gradients/mul", "Mul", "x", "gradients/grad_ys_0"),
            ("gradients/sum", "AssignAdd", "a", "gradients/mul"),
            ("applied", "AssignSub", "b", "gradients/mul"),
            ("clipped", "Mul", "gradients/mul", "x"),
            ("clipped_and_applied", "AssignSub", "c", "clipped"),
            ("after_a_sum", "Assign", "d", "gradients/sum"),
            ("after_another", "Assign", "e", "applied"),
            ("waits", "AssignAdd", "f", "x", "^gradients/mul"),
        ]
    )
    gradients = find_gradients(graph).nodes
    assert {graph.names[node] for node in gradients} == {
        "gradients/grad_ys_0",
        "gradients/mul",
        "gradients/sum",
    }
    after = after_gradients(graph, gradients)
    assert {graph.names[node] for node in after} == {
        "applied",
        "clipped",
        "after_a_sum",
        "waits",
    }
    takers = gradient_takers(graph, gradients, after)
    assert {graph.names[node] for node in takers} == {
        "applied",
        "clipped_and_applied",
        "gradients/sum",
    }


@pytest.mark.parametrize("has_seeds", [True, False])
@pytest.mark.parametrize("count", [2, 20])
def test_scopes_few_or_many(count, has_seeds):
    """Each scope has the gradients of three ops; a scope with a longer name is another."""
    nodes = [("x", "Placeholder")]
    for number in range(count):
        ops = [f"net_{number}/relu_{k}" for k in range(3)]
        nodes += [(op, "Relu", "x") for op in ops]
        nodes += [(f"g_{number}_a/relu", "Relu", "x")]
        if has_seeds:
            nodes += [(f"g_{number}/grad_ys_0", "Const")]
        nodes += [(f"g_{number}/{op}_grad/ReluGrad", "ReluGrad", op, "x") for op in ops]
    graph = graph_of(nodes)
    gradients = find_gradients(graph)
    inside = {name for name, *_ in nodes if re.match(r"g_\d+/", name)}
    assert {graph.names[node] for node in gradients.nodes} == inside
    assert set(gradients.scopes) == {f"g_{number}/".encode() for number in range(count)}
    differentiated = {name for name, *_ in nodes if name.startswith("net_")}
    assert {graph.names[node] for node in differentiated_nodes(graph, gradients)} == differentiated
    by_name = Differentiated(graph, gradients)
    assert {name for name, *_ in nodes if graph.find(name) in by_name} == differentiated
