"""A small file asks for no more work than its size, or is refused with the limit that it exceeds.

What is counted here grew with the square of the size, or with a number in the file; at five times
the size, each shape took more than 8 s.
"""

import time

import pytest
from support.analysis import costly_graphs
from support.analysis.small_limits import small_limit

import bnguard
from bnguard.analysis import limits
from bnguard.analysis.api import AuditOptions, audit_all
from bnguard.analysis.dataflow import deadness, predicates
from bnguard.analysis.errors import AuditError
from bnguard.repository.audit import audit_paths
from bnguard.repository.configuration import Configuration

pytestmark = pytest.mark.slow


class Counts:
    """How much an audit did.

    Attributes:
      outcomes: the branch outcomes that were made.
      united: the elements that unions of predicates copied.
    """

    def __init__(self, monkeypatch):
        self.outcomes = self.united = 0
        counts = self

        class Outcome(predicates.BranchOutcome):
            def __new__(cls, *arguments):
                counts.outcomes += 1
                return super().__new__(cls, *arguments)

            @classmethod
            def _make(cls, fields):  # which `_replace` calls
                return cls(*fields)

        class Always(frozenset):
            def __or__(self, other):
                counts.united += len(self) + len(other)
                return Always(frozenset.__or__(self, other))

            def union(self, *others):
                counts.united += sum(map(len, others))
                return Always(frozenset.union(self, *others))

        monkeypatch.setattr(deadness, "BranchOutcome", Outcome)
        monkeypatch.setattr(predicates, "ALWAYS", Always())


@pytest.fixture
def counts(monkeypatch):
    return Counts(monkeypatch)


def audited(tmp_path, data):
    path = tmp_path / "graph.pb"
    path.write_bytes(data)
    (report,) = audit_all(str(path), AuditOptions())
    return report


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [("switches", [8000]), ("wide_switches", [2000]), ("chain", [200]), ("merges", [10])],
)
def test_each_branch_is_decided_once(shape, sizes, counts, tmp_path):
    report = audited(tmp_path, getattr(costly_graphs, shape)(*sizes))
    assert [finding.rule for finding in report.findings] == ["BN101", "BN103"]
    # Two steps, each with the Switches of the graph: 8,000 at most.
    assert 100 < counts.outcomes < 40000
    assert 0 < counts.united < 200000


def test_a_loop_of_many_variables_and_effects_has_an_edge_for_each(tmp_path):
    path = tmp_path / "graph.pb"
    path.write_bytes(costly_graphs.loop(5000, 5000))
    assert bnguard.audit(path).nodes == 2
    with small_limit("LOWERED_EDGES", 25000), pytest.raises(AuditError, match="more than 25000"):
        bnguard.audit(path)


def test_a_name_of_a_million_bytes_is_refused(tmp_path):
    path = tmp_path / "graph.pb"
    path.write_bytes(costly_graphs.long_name(1000000, 5000))
    with pytest.raises(AuditError, match="name of a node has 1000000 bytes; expected at most 4096"):
        bnguard.audit(path)


def test_the_names_of_inlined_nodes_are_counted(tmp_path):
    path = tmp_path / "graph.pb"
    path.write_bytes(costly_graphs.long_name(4000, 5000))
    assert bnguard.audit(path).findings == ()
    with small_limit("LOWERED_NAME_BYTES", 10000000), pytest.raises(AuditError, match="10000000"):
        bnguard.audit(path)


def test_an_audit_that_takes_too_long_ends_with_a_line_about_this_file(tmp_path, monkeypatch):
    slow, small = tmp_path / "slow.pb", tmp_path / "small.pb"
    slow.write_bytes(costly_graphs.switches(10000))
    small.write_bytes(costly_graphs.switches(1))
    monkeypatch.setattr(limits, "seconds", lambda _: 0.05)
    found = audit_paths([str(slow), str(small)], AuditOptions(), Configuration())
    (error,) = found.errors
    assert error.startswith(f"{slow}: the audit takes more than 0.05 s of CPU time, the limit")
    assert [report.source for report in found.reports] == [str(small)]


@pytest.mark.parametrize(
    ("shape", "size"), [("one_selector", 8000), ("roots", 8000), ("train_ops", 5000)]
)
def test_work_does_not_grow_with_the_square_of_what_shares_an_op(shape, size, tmp_path):
    def seconds(count):
        began = time.process_time()
        audited(tmp_path, getattr(costly_graphs, shape)(count))
        return time.process_time() - began

    seconds(10)
    # Six times the size took more than 18 times as long when the work was quadratic.
    assert seconds(size) < 12 * seconds(size // 6)
