"""Which accesses of a variable race: those that no path orders, by a search of our own."""

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
from support.analysis.graph_defs import graph_of

from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.ir.graph import CONTROL, Tensor
from bnguard.analysis.scenario.races import Accesses, races, readers


def step_of(nodes):
    graph = graph_of(nodes)
    ends = [node for node in range(len(graph)) if not graph.consumers[node]]
    return Execution(graph, [Tensor(node, CONTROL) for node in ends], {})


def racing(nodes, reads, writes):
    step = step_of(nodes)
    reads, writes = ([step.graph.find(name) for name in names] for names in (reads, writes))
    (pairs,) = races(step, [Accesses(reads, writes)])
    return [tuple(step.graph.names[node] for node in pair) for pair in pairs]


BASE = [("v", "VariableV2"), ("x", "Placeholder")]


@pytest.mark.parametrize(
    ("read", "write", "expected"),
    [
        (("read", "Square", "v"), ("write", "Assign", "v", "x"), [("read", "write")]),
        (("read", "Square", "v", "^write"), ("write", "Assign", "v", "x"), []),
        (("read", "Square", "v"), ("write", "Assign", "v", "x", "^read"), []),
        (("read", "Square", "v"), ("write", "Assign", "v", "read"), []),
    ],
)
def test_an_edge_orders_and_nothing_else_does(read, write, expected):
    assert racing([*BASE, read, write], ["read"], ["write"]) == expected


def test_the_two_sides_of_a_branch_do_not_race():
    nodes = [
        *BASE,
        ("flag", "Placeholder"),
        ("switch", "Switch", "x", "flag"),
        ("off", "Identity", "switch:0"),
        ("on", "Identity", "switch:1"),
        ("read", "Square", "v", "^off"),
        ("write", "Assign", "v", "x", "^on"),
        ("second", "Assign", "v", "x"),
    ]
    assert racing(nodes, ["read"], ["write"]) == []
    assert racing(nodes, ["read"], ["write", "second"]) == [("read", "second")]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=2), min_size=4, max_size=12), st.data())
def test_random_graphs_against_a_search(inputs, data):
    """Accesses race if neither is behind the other, in a graph of any shape."""
    nodes = [("n0", "Placeholder")]
    behind = [{0}]
    for position, sources in enumerate(inputs, start=1):
        names = {source % position for source in sources}
        nodes.append((f"n{position}", "NoOp", *sorted(f"^n{source}" for source in names)))
        behind.append({position}.union(*(behind[source] for source in names)))
    numbers = st.lists(st.integers(1, len(inputs)), min_size=1, max_size=3, unique=True)
    reads, writes = data.draw(numbers), data.draw(numbers)
    expected = {
        read
        for read in reads
        if any(write not in behind[read] and read not in behind[write] for write in writes)
    }
    found = racing(nodes, [f"n{read}" for read in reads], [f"n{write}" for write in writes])
    assert {int(read[1:]) for read, _ in found} == expected


def test_a_resource_is_read_by_the_op_that_reads_it_and_a_buffer_by_every_op_that_takes_it():
    nodes = [
        ("x", "Placeholder"),
        ("handle", "VarHandleOp"),
        ("value", "ReadVariableOp", "handle"),
        ("used", "Square", "value"),
        ("shape", "VariableShape", "handle"),
        ("write", "AssignVariableOp", "handle", "x"),
        ("buffer", "VariableV2"),
        ("same", "Identity", "buffer"),
        ("square", "Square", "same"),
        ("assign", "Assign", "buffer", "x"),
        ("size", "Size", "buffer"),
    ]
    step = step_of(nodes)
    names = {
        variable: [step.graph.names[node] for node in readers(step, step.graph.find(variable))]
        for variable in ("handle", "buffer")
    }
    assert names == {"handle": ["value"], "buffer": ["square"]}


def test_the_branch_that_is_not_taken_reads_nothing():
    """tf.cond(flag, batch moment, moving mean) is the moving mean only if the flag is off."""
    graph = graph_of(
        [
            *BASE,
            ("flag", "Placeholder"),
            ("off", "Switch", "v", "flag"),
            ("on", "Switch", "x", "flag"),
            ("merge", "Merge", "off:0", "on:1"),
            ("y", "Square", "merge"),
        ]
    )
    (variable, y, flag) = map(graph.find, ("v", "y", "flag"))
    for value, expected in ((False, [y]), (None, [y]), (True, [])):
        step = Execution(graph, [Tensor(y, 0)], {Tensor(flag, 0): value})
        assert readers(step, variable) == expected
