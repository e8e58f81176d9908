"""Which ops take gradients in, of a graph made by hand."""

from support.analysis.graph_defs import graph_of

from bnguard.analysis.recognition.gradients import after_gradients, find_gradients, gradient_takers

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
