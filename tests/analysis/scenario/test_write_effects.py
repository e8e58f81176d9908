"""Write effects, compared with what a real Session changes."""

import numpy as np
import pytest
from support.analysis.networks import fresh_graph
import tensorflow.compat.v1 as tf

import bnguard

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
