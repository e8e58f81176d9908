"""Walks, against the powers of the graph's matrix of edges."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
from support.analysis.graph_defs import graph_of

from bnguard.analysis.dataflow.reachability import closure, data_closure, data_flow

NODES = 8
EXAMPLES = settings(max_examples=200, derandomize=True, deadline=None, database=None)
NODE = st.integers(0, NODES - 1)
SOME, FEW = st.sets(NODE, min_size=1, max_size=2), st.sets(NODE, max_size=1)


@st.composite
def graphs(draw):
    """A Graph, and its edges by data and by control: [i, j] where j takes from i."""
    data, control = np.zeros((2, NODES, NODES), bool)
    nodes = []
    for node in range(NODES):
        before = st.sets(st.integers(0, node - 1), max_size=2) if node else st.just(set())
        taken, awaited = draw(before), draw(before)
        data[list(taken), node] = control[list(awaited), node] = True
        inputs = [f"n{node}" for node in taken] + [f"^n{node}" for node in awaited]
        nodes.append((f"n{node}", "AddN", *inputs))
    return graph_of(nodes), data, control


def reachable(edges, starts, ends=frozenset(), closed=frozenset()):
    """What is reached along `edges`, not through `ends`, nor to `closed`."""
    edges = edges.copy()
    edges[list(ends)] = False
    edges[:, list(closed)] = False
    held = np.zeros(NODES, bool)
    held[list(starts - closed)] = True
    for _ in range(NODES):
        held = held | (held @ edges)
    return set(np.flatnonzero(held))


@EXAMPLES
@given(made=graphs(), starts=SOME, ends=FEW)
def test_closure(made, starts, ends):
    graph, data, control = made
    edges = data | control
    assert closure(starts, graph.consumers, ends) == reachable(edges, starts, ends)
    assert closure(starts, graph.sources, ends) == reachable(edges.T, starts, ends)


@EXAMPLES
@given(made=graphs(), starts=SOME, ends=FEW, closed=FEW, until=SOME)
def test_data_flow(made, starts, ends, closed, until):
    graph, data, _ = made
    expected = reachable(data, starts, ends, closed)
    assert data_flow(graph, starts, ends, closed) == expected
    part = data_flow(graph, starts, ends, closed, until)
    assert part <= expected
    assert part & until == expected & until


@EXAMPLES
@given(made=graphs(), starts=SOME, until=SOME)
def test_data_closure(made, starts, until):
    graph, data, _ = made
    expected = reachable(data.T, starts)
    assert data_closure(graph, starts) == expected
    part = data_closure(graph, starts, until)
    assert part <= expected
    assert part & until == expected & until
