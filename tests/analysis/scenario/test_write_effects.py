"""Write effects, compared with what a real Session changes, and on graphs made by hand."""

import numpy as np
import pytest
from support.analysis.graph_defs import graph_of, message_of
from support.analysis.networks import fresh_graph
from support.analysis.small_limits import small_limit
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.analysis.dataflow import predicates
from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.ir.graph import Tensor
from bnguard.analysis.recognition.writes import Purpose, Write
from bnguard.analysis.scenario.write_effects import WriteEffects

# Each takes the statistic, a flag and a tensor of another value, and returns the write.
WRITES = {
    "assigns a selected value": lambda s, flag, other: s.assign(tf.where_v2(flag, other, s)),
    "assigns the value that is not selected": lambda s, flag, other: s.assign(
        tf.where_v2(tf.logical_not(flag), s, other)
    ),
    "assigns its own value, selected": lambda s, flag, other: s.assign(tf.where_v2(flag, s, s)),
    "assigns its own value or a constant": lambda s, flag, other: s.assign(
        tf.where_v2(flag, tf.ones([2]), s)
    ),
    "subtracts a selected amount": lambda s, flag, other: s.assign_sub(
        tf.where_v2(flag, other, tf.zeros([2]))
    ),
    "adds zero": lambda s, flag, other: s.assign_add(tf.zeros([2])),
    "adds a product with zero": lambda s, flag, other: s.assign_add(other * tf.zeros([2])),
    "assigns its own value times one": lambda s, flag, other: s.assign(s * 1.0),
    "assigns its own value less a branch": lambda s, flag, other: s.assign(
        s - tf.cond(flag, lambda: tf.identity(other), lambda: tf.zeros([2])) * 0.0
    ),
    "adds what a branch chooses": lambda s, flag, other: s.assign_add(
        tf.cond(flag, lambda: tf.identity(other), lambda: tf.zeros([2]))
    ),
    "adds what a loop carries": lambda s, flag, other: s.assign_add(
        tf.while_loop(lambda i, total: i < 3, lambda i, total: (i + 1, total), (0, other))[1]
    ),
    "adds the zero that a loop carries": lambda s, flag, other: s.assign_add(
        tf.while_loop(lambda i, total: i < 3, lambda i, total: (i + 1, total), (0, tf.zeros([2])))[
            1
        ]
    ),
    "adds what a loop sums": lambda s, flag, other: s.assign_add(
        tf.while_loop(
            lambda i, total: i < 3, lambda i, total: (i + 1, total + other), (0, tf.zeros([2]))
        )[1]
    ),
}
ALWAYS = {"adds what a loop carries", "adds what a loop sums"}
NEVER = {
    "assigns its own value, selected",
    "adds zero",
    "adds a product with zero",
    "assigns its own value times one",
    "adds the zero that a loop carries",
}
UNKNOWN = {"assigns its own value less a branch"}  # changes nothing, which takes arithmetic to see


class Program:
    """A statistic, an op that may write it, and a fetch that needs the op."""

    def __init__(self, write, variables):
        with fresh_graph(variables) as self.graph:
            self._statistic = tf.get_variable("bn/moving_mean", initializer=[7.25, 2.5])
            self._other = tf.placeholder(tf.float32, [2], name="other")
            self._flag = tf.placeholder(tf.bool, [], name="flag")
            written = WRITES[write](self._statistic, self._flag, self._other)
            with tf.control_dependencies([written]):
                tf.identity(self._other, name="fetch")
            self._initializer = tf.global_variables_initializer()

    def changes_in_a_session(self, flag):
        with tf.Session(graph=self.graph) as session:
            session.run(self._initializer)
            before = session.run(self._statistic).copy()
            session.run("fetch:0", {self._other: [3.0, 4.0], self._flag: flag})
            return not np.array_equal(before, session.run(self._statistic))

    def finding(self, flag):
        """True or False if the change is certain, None if it is not."""
        feeds = {"other": None, "flag": flag}
        report = bnguard.audit(self.graph, "fetch", feeds, select=["BN101"])
        if not report.findings:
            return False
        (finding,) = report.findings
        return True if finding.certain else None


@pytest.mark.sampled
@pytest.mark.parametrize("variables", ["ref", "resource"])
@pytest.mark.parametrize("write", sorted(WRITES))
def test_a_write_is_certain_where_it_changes_the_statistic_and_absent_where_not(write, variables):
    program = Program(write, variables)
    outcomes = {flag: program.changes_in_a_session(flag) for flag in (True, False)}
    assert outcomes == {
        True: write not in NEVER | UNKNOWN,
        False: write in ALWAYS,
    }
    for flag, changes in outcomes.items():
        if write not in UNKNOWN:
            assert program.finding(flag) is changes
    if len(set(outcomes.values())) > 1:
        assert program.finding(None) is None


MEAN = "bn/moving_mean"
SELECT = [
    ("x", "Placeholder"),
    ("flag", "Placeholder"),
    ("new", "Square", "x"),
    (MEAN, "VariableV2"),
    ("value", "Select", "flag", "new", MEAN),
    ("write", "Assign", MEAN, "value"),
]


@pytest.mark.parametrize("other", [MEAN, "new"])
def test_a_value_put_together_is_the_variables_own_only_if_all_of_it_is(other):
    nodes = [*SELECT[:4], ("value", "Pack", MEAN, other), ("write", "Assign", MEAN, "value")]
    report = bnguard.audit(message_of(nodes), ["write"], select=["BN101"])
    assert [finding.certain for finding in report.findings] == [True] * (other == "new")


def test_a_value_of_unknown_origins_is_not_the_variables_own():
    parts = [(f"part{number}", "Identity", MEAN) for number in range(2)]
    nodes = [
        *SELECT[:4],
        *parts,
        ("inner", "Pack", "part0", MEAN),
        ("value", "Pack", "inner", "part1"),
        ("write", "Assign", MEAN, "value"),
    ]
    assert not bnguard.audit(message_of(nodes), ["write"], select=["BN101"]).findings
    with small_limit("PROVENANCE_TENSORS", 2) as reached:
        assert bnguard.audit(message_of(nodes), ["write"], select=["BN101"]).findings
    assert reached == ["PROVENANCE_TENSORS"]


def writes_of_a_chain(length):
    """A chain of ops, and two writes: of what its middle and what its end computes."""
    chain = [(f"n{number + 1}", "Neg", f"n{number}") for number in range(length)]
    graph = graph_of(
        [
            ("n0", "Placeholder"),
            *chain,
            ("a", "VariableV2"),
            ("b", "VariableV2"),
            ("middle", "AssignAdd", "a", f"n{length // 2}"),
            ("end", "AssignAdd", "b", f"n{length}"),
        ]
    )
    fetches = [Tensor(graph.find(name), 0) for name in ("middle", "end")]
    writes = {
        name: Write(graph.find(name), graph.find(variable), Purpose.UPDATE)
        for name, variable in (("middle", "a"), ("end", "b"))
    }
    return Execution(graph, fetches, {}), writes


@pytest.mark.parametrize("order", [["middle", "end"], ["end", "middle"]])
def test_an_answer_does_not_depend_on_what_was_asked_before(order):
    execution, writes = writes_of_a_chain(20)
    with small_limit("EFFECT_TENSORS", 15) as reached:
        effects = WriteEffects(execution)
        found = {name: effects.predicate(writes[name]) for name in order}
    assert found == {"middle": predicates.ALWAYS, "end": predicates.UNDECIDED}
    assert reached
