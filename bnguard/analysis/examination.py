"""Apply the rules to the graphs in a file."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
import gc
from typing import Any, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.errors import about
from bnguard.analysis.findings import Report
from bnguard.analysis.frontend.loader import load
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph, recognize
from bnguard.analysis.rules import Rule, choose
from bnguard.analysis.scenario.scenario import build_scenario


@dataclass(frozen=True)
class AuditOptions:
    """What to look at, and for what; what is left empty is found in the graph.

    Attributes:
      fetches: the names that one inference step fetches.
      feeds: what is fed, by name, each None for any value.
      train_op: the names that one training step runs.
      tags: of a SavedModel, the graph with exactly these.
      signature: of a SavedModel, the only signature to look at.
      checkpoint: the prefix of a checkpoint to compare with.
      select, ignore: codes of rules, or how these begin.
    """

    fetches: Tuple[str, ...] = ()
    feeds: Optional[Mapping[str, StaticValue]] = None
    train_op: Tuple[str, ...] = ()
    tags: Optional[Tuple[str, ...]] = None
    signature: Optional[str] = None
    checkpoint: Optional[str] = None
    select: Tuple[str, ...] = ()
    ignore: Tuple[str, ...] = ()


def examine(source: Any, audit_options: AuditOptions) -> List[Report]:
    """A report on each graph in `source`.

    Args:
      source: what `loading.load` takes, or a Model.
      question: what to look for.

    Raises:
      AuditError: the source or the checkpoint cannot be read, or a name is not there.
    """
    with _no_garbage_collection():
        return _examine(source, audit_options)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """An index makes a great many objects and no garbage, and the search for some is dear.

    All the more so in a program that has imported TensorFlow, whose objects it goes through, too.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _examine(source: Any, audit_options: AuditOptions) -> List[Report]:
    rules = choose(audit_options.select, audit_options.ignore)
    stored = None
    if audit_options.checkpoint is not None:
        from bnguard.analysis.frontend.checkpoint_index import stored_names

        stored = stored_names(audit_options.checkpoint)
    if isinstance(source, RecognizedGraph):
        return [_report(source, audit_options, rules, stored)]
    reports = []
    for loaded in load(source, audit_options.tags):
        with about(loaded.label):
            reports.append(_report(recognize(loaded), audit_options, rules, stored))
    return reports


def _report(
    recognized: RecognizedGraph,
    audit_options: AuditOptions,
    rules: Sequence[Rule],
    stored: Optional[FrozenSet[str]],
) -> Report:
    scenario = build_scenario(
        recognized,
        audit_options.fetches,
        audit_options.feeds,
        audit_options.train_op,
        audit_options.signature,
        stored,
    )
    return Report(
        source=recognized.loaded.label,
        nodes=recognized.loaded.nodes,
        statistics=tuple(statistic.name for statistic in recognized.statistics),
        assumed=scenario.assumed,
        findings=tuple(finding for rule in rules for finding in rule.check(scenario)),
    )
