"""Pruning and deadness, on graphs made by hand."""

import pytest
from support.analysis.graph_defs import graph_of, read
from support.analysis.networks import fresh_graph
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.dataflow.predicates import ALWAYS, NEVER
from bnguard.analysis.ir.graph import CONTROL, Tensor

SWITCHED = [
    ("x", "Placeholder"),
    ("flag", "Placeholder"),
    ("switch", "Switch", "x", "flag"),
    ("off", "Identity", "switch:0"),
    ("on", "Identity", "switch:1"),
    ("merge", "Merge", "off", "on"),
]


@pytest.fixture(scope="module")
def graph():
    return graph_of(SWITCHED)


def step(graph, fetch, feeds):
    fed = {graph.tensor(name): value for name, value in feeds.items()}
    return Execution(graph, [graph.tensor(fetch)], fed)


@pytest.mark.parametrize("value", [False, True])
def test_the_output_that_a_switch_does_not_select_is_dead(graph, value):
    execution = step(graph, "merge", {"flag": value})
    sides = [execution.predicate(graph.find(name)) for name in ("off", "on")]
    assert sides == ([NEVER, ALWAYS] if value else [ALWAYS, NEVER])
    assert execution.predicate(graph.find("merge")) == ALWAYS
    assert execution.predicate(graph.find("switch")) == ALWAYS


def test_a_fed_output_of_a_switch_is_alive(graph):
    execution = step(graph, "merge", {"flag": False, "switch:1": None})
    assert execution.predicate(graph.find("on")) == ALWAYS
    assert execution.needs(graph.find("switch"))


def test_the_order_of_questions_does_not_change_the_answers(graph):
    first, last = (step(graph, "merge", {"flag": True}) for _ in range(2))
    nodes = range(len(graph))
    forward = [first.predicate(node) for node in nodes]
    assert forward == [last.predicate(node) for node in reversed(nodes)][::-1]


def test_other_feeds_cut_other_edges(graph):
    execution = step(graph, "merge", {"flag": True})
    assert execution.needs(graph.find("x"))
    cut = execution.with_feeds({Tensor(graph.find("on"), 0): None, Tensor(graph.find("off"), 0): 1})
    assert not cut.needs(graph.find("x"))
    assert cut.with_feeds(execution.feeds).needs(graph.find("x"))


def test_a_fed_placeholder_is_not_needed_unless_it_is_run_itself(graph):
    x = graph.find("x")
    assert not step(graph, "merge", {"flag": True, "x": None}).needs(x)
    run = Execution(graph, [Tensor(x, CONTROL), graph.tensor("merge")], {Tensor(x, 0): None})
    assert run.needs(x)


def test_another_fed_value_selects_the_other_branch(graph):
    execution = step(graph, "merge", {"flag": True})
    other = execution.with_feeds({graph.tensor("flag"): False})
    assert execution.predicate(graph.find("on")) == other.predicate(graph.find("off")) == ALWAYS
    assert other.predicate(graph.find("on")) is NEVER


LOOP = {
    "enter": ("Enter", "x"),
    "flag_inside": ("Enter", "flag"),
    "merge": ("Merge", "enter", "next"),
    "go_on": ("LoopCond", "limit"),
    "leave": ("Switch", "merge", "go_on"),
    "exit": ("Exit", "leave:0"),
    "choose": ("Switch", "leave:1", "flag_inside"),
    "off": ("Identity", "choose:0"),
    "on": ("Identity", "choose:1"),
    "chosen": ("Merge", "off", "on"),
    "next": ("NextIteration", "chosen"),
}


@pytest.mark.parametrize("last", ["next", "exit", "merge"])
@pytest.mark.parametrize("value", [False, True])
def test_a_loop_is_decided_wherever_its_last_node_stands_in_the_file(last, value):
    """The back edge puts the body before the exit; in most files it stands after it."""
    order = sorted(LOOP, key=lambda name: name == last)
    inputs = [(name, "Placeholder") for name in ("x", "flag", "limit")]
    graph = graph_of([*inputs, *((name, *LOOP[name]) for name in order)])
    on, off, merge = map(graph.find, ("on", "off", "merge"))
    execution = step(graph, "exit", {"flag": value})
    into_the_merge = execution.inputs(merge)
    assert [execution.uses(on), execution.uses(off)] == [value, not value]
    assert [execution.may_run(on), execution.may_run(off)] == [value, not value]
    assert execution.inputs(merge) == into_the_merge


def test_a_switch_with_one_output_may_be_in_a_loop():
    graph = graph_of(
        [
            ("x", "Placeholder"),
            ("limit", "Placeholder"),
            ("go_on", "LoopCond", "limit"),
            ("switch", "_SwitchN", "x", "go_on"),
            ("out", "Identity", "switch"),
        ]
    )
    assert step(graph, "out", {}).may_run(graph.find("out"))


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), 1e300])
@pytest.mark.parametrize("is_fed", [False, True])
def test_a_predicate_cast_from_a_float_without_an_integer_is_undecided(number, is_fed):
    with fresh_graph() as graph:
        statistic = tf.get_variable("bn/moving_mean", initializer=[1.0])
        default = tf.constant(number, tf.float64)
        source = tf.placeholder_with_default(default, [], name="number") if is_fed else default
        predicate = tf.cast(tf.cast(source, tf.int32), tf.bool)
        tf.cond(predicate, lambda: statistic.assign_add([1.0]), lambda: tf.identity(statistic))
    merge = graph.get_operations()[-1].name
    report = bnguard.audit(graph, merge, {"number": number} if is_fed else None, select=["BN101"])
    assert [finding.certain for finding in report.findings] == [False]


@pytest.fixture(scope="module")
def differentiated():
    """Return a graph with the gradient of a Merge outside of any `tf.cond`."""
    with fresh_graph() as graph:
        x, flag = tf.placeholder(tf.float32, [], "x"), tf.placeholder(tf.bool, [], "flag")
        switch = tf.raw_ops.Switch(data=x, pred=flag)
        off, on = tf.exp(switch.output_false, "off"), tf.sin(switch.output_true, "on")
        merge = tf.raw_ops.Merge(inputs=[off, on], name="merge")
        gradient = tf.gradients(merge.output, x)[0]
        tf.identity(gradient, "gradient")
        equal = tf.equal(merge.value_index, 1)
        tf.identity(tf.raw_ops.Switch(data=x, pred=equal).output_true, "compared")
        tf.identity(merge.value_index, "index")
    return read(graph.as_graph_def())


def test_a_gradient_runs_when_what_it_is_of_runs(differentiated):
    execution = step(differentiated, "gradient", {})
    of_off, of_on = map(differentiated.find, ("gradients/off_grad/mul", "gradients/on_grad/mul"))
    off, on = map(differentiated.find, ("off", "on"))
    assert execution.predicate(of_off) == execution.predicate(off) not in (ALWAYS, NEVER)
    assert execution.predicate(of_on) == execution.predicate(on) != execution.predicate(off)
    assert execution.predicate(differentiated.find("gradient")) == ALWAYS


@pytest.mark.parametrize("value", [False, True])
def test_a_fed_flag_decides_the_gradient_of_a_merge(differentiated, value):
    execution = step(differentiated, "gradient", {"flag": value})
    of_off, of_on = map(differentiated.find, ("gradients/off_grad/mul", "gradients/on_grad/mul"))
    assert execution.predicate(of_on) == (ALWAYS if value else NEVER)
    assert execution.predicate(of_off) == (NEVER if value else ALWAYS)
    assert step(differentiated, "index", {"flag": value}).value(
        differentiated.tensor("index")
    ) == int(value)


def test_a_fed_index_of_a_merge_says_nothing_of_its_inputs(differentiated):
    compared = differentiated.find("compared")
    free, fed = (step(differentiated, "compared", feeds) for feeds in ({}, {"merge:1": None}))
    on = step(differentiated, "merge", {}).predicate(differentiated.find("on"))
    assert free.predicate(compared) == on
    assert fed.predicate(compared) not in (on, ALWAYS, NEVER)
