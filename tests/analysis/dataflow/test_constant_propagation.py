"""The two static values of a tensor, in graphs made by hand."""

import pytest
from support.analysis.graph_defs import message_of, read

from bnguard.analysis.dataflow.constant_propagation import ConstantPropagation

# A loop variable that each iteration passes on, one that each negates, and what leaves the loop.
LOOP = [
    ("start", "Const"),
    ("enter", "Enter", "start"),
    ("same", "Merge", "enter", "same_next"),
    ("changed", "Merge", "enter", "changed_next"),
    ("flag", "Placeholder"),
    ("same_switch", "Switch", "same", "flag"),
    ("changed_switch", "Switch", "changed", "flag"),
    ("negated", "LogicalNot", "changed_switch:1"),
    ("same_next", "NextIteration", "same_switch:1"),
    ("changed_next", "NextIteration", "negated"),
    ("same_exit", "Exit", "same_switch"),
    ("changed_exit", "Exit", "changed_switch"),
]


@pytest.fixture(scope="module")
def graph():
    message = message_of(LOOP)
    message.node[0].attr["value"].tensor.dtype = 10  # bool
    message.node[0].attr["value"].tensor.bool_val.append(True)
    return read(message)


@pytest.mark.parametrize(
    ("name", "value", "first_value"),
    [
        ("start", True, True),
        ("enter", True, True),
        ("same", True, True),
        ("same_exit", True, None),  # the last iteration is another one than the first
        ("changed", None, True),
        ("negated", None, False),
        ("changed_exit", None, None),
        ("flag", None, None),
    ],
)
def test_a_value_of_every_iteration_and_a_value_of_the_first(graph, name, value, first_value):
    constants = ConstantPropagation(graph, {})
    assert constants.value(graph.tensor(name)) is value
    assert constants.first_value(graph.tensor(name)) is first_value


def test_what_is_fed_has_the_value_that_is_fed(graph):
    constants = ConstantPropagation(graph, {graph.tensor("flag"): True, graph.tensor("same"): None})
    assert constants.value(graph.tensor("flag")) is True
    assert constants.value(graph.tensor("same")) is None
    assert constants.value(graph.tensor("start")) is True


def test_a_merge_ignores_what_is_dead():
    nodes = [("x", "Const"), ("y", "Placeholder"), ("merge", "Merge", "x", "y")]
    graph = read(message_of(nodes))
    merge, dead = graph.tensor("merge"), graph.find("y")
    assert ConstantPropagation(graph, {}).value(merge) is None
    only_x = ConstantPropagation(graph, {}, lambda source, port: source == dead)
    assert only_x.value(merge) == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_selector_is_followed_to_its_origin_and_negations_are_counted(count):
    chain = [(f"n{number + 1}", "LogicalNot", f"n{number}") for number in range(count)]
    graph = read(message_of([("n0", "Placeholder"), *chain, ("end", "Identity", f"n{count}")]))
    found = ConstantPropagation(graph, {}).selector_origin(graph.tensor("end"))
    assert found == (graph.tensor("n0"), count % 2 == 1)
