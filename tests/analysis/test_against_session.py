"""What the audit and `bnguard run` call certain and possible, against what a real Session does.

The default run draws the same few programs each time; BNGUARD_PROGRAMS=5000 draws so many others.
"""

import os

from hypothesis import HealthCheck, Phase, example, given, settings
import pytest
from support.analysis.random_programs import Program, recipes
from support.samples import combinations

import bnguard
from bnguard.analysis.rules import RULES
from bnguard.watch.watcher import Watcher

pytestmark = pytest.mark.slow

PROGRAMS = int(os.environ.get("BNGUARD_PROGRAMS", "0"))
SETUPS = [  # of TF1, of TF1 with resource variables, of TF2
    {"variables": "ref", "control_flow": "v1"},
    {"variables": "resource", "control_flow": "v1"},
    {"variables": "resource", "control_flow": "v2"},
]
UNKNOWN, KNOWN = ("fed", "unknown_false"), ("fed", "known_true")


def by_hand(test):
    """The programs that taught the audit something."""
    bodies = [
        # Built before the tf.cond, and so run whatever the predicate says.
        [("two_branch", KNOWN, [("layer", True, True)], [("layer", False, True)])],
        [("two_branch", ("not", ("constant", False)), [("barrier",)], [("write", "a")])],
        # One update op for both branches, which adds zero at inference.
        [("layer", UNKNOWN, False), ("barrier",)],
        [("layer", ("default", False), False), ("barrier",)],
        # Either branch writes, so that the write is certain, though the branch is not.
        [("cond", UNKNOWN, [("write", "a")], [("write", "a"), ("write", "b")])],
        [("cond", KNOWN, [("cond", UNKNOWN, [("write", "a")], [("read", "a")])], [("cut",)])],
        # Zero iterations, two, and nobody knows how many.
        *([("while", times, [("write", "a")])] for times in (0, 2, "secret")),
        [("while", 2, [("cond", KNOWN, [("write", "a")], [("write", "b")])])],
        # Ops that nothing waits for.
        [("while", 1, [("aside", "a")]), ("cond", KNOWN, [("collect", "b")], [("cut",)])],
        [("write", "a"), ("cut",), ("write", "b")],
        [("layer", ("if", KNOWN, UNKNOWN, KNOWN), True)],
        [("deconvolve",), ("layer", ("variable", True), True), ("deconvolve",), ("write", "a")],
        [("layer", ("variable", False), False), ("barrier",)],
    ]
    calls = [
        [("call", [("call", [("aside", "a")]), ("write", "b")])],
        [("write", "a"), ("cut",), ("call", [("write", "b")])],
        *([("case", index, [("write", "a")], [("collect", "b")])] for index in (-1, 0, "secret")),
    ]
    for programs, setups in ((bodies, SETUPS), (calls, SETUPS[1:])):
        for body, setup in combinations(range(len(programs)), range(len(setups))):
            test = example({**setups[setup], "body": programs[body]})(test)
    return test


@settings(
    max_examples=PROGRAMS or 10,
    derandomize=not PROGRAMS,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate] if not PROGRAMS else list(Phase),
)
@by_hand
@given(recipes())
def test_certain_is_what_changes_and_possible_includes_it(recipe):
    program = Program(recipe)
    watcher = Watcher(RULES, stops=False, steps=None)
    with watcher.hooks.installed():
        changed = program.changed_by_a_session()
    (watched,) = watcher.report("program").graphs
    (step,) = [step for step in watched.steps if step.fetches == (program.fetch.name,)]
    assert changed <= set(step.written)
    if program.is_decided_as_run:
        assert changed == set(step.written)
    report = bnguard.audit(
        program.graph, fetches=program.fetch, feeds=program.known_feeds, select=["BN101"]
    )
    certain = {finding.variable for finding in report.findings if finding.certain}
    possible = {finding.variable for finding in report.findings}
    assert certain <= changed <= possible
    if program.is_decided:
        assert certain == possible
    assert set(report.statistics) == set(program.statistics)
