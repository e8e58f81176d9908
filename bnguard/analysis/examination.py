"""Apply the rules to the graphs in a file."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
import gc
from typing import Any, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

from bnguard.analysis.dataflow.constant_folding import Known
from bnguard.analysis.errors import about
from bnguard.analysis.findings import Report
from bnguard.analysis.frontend.loader import load
from bnguard.analysis.recognition.recognized_graph import Model, understand
from bnguard.analysis.rules import Rule, choose
from bnguard.analysis.scenario.scenario import settle


@dataclass(frozen=True)
class Question:
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
    feeds: Optional[Mapping[str, Known]] = None
    train_op: Tuple[str, ...] = ()
    tags: Optional[Tuple[str, ...]] = None
    signature: Optional[str] = None
    checkpoint: Optional[str] = None
    select: Tuple[str, ...] = ()
    ignore: Tuple[str, ...] = ()


def examine(source: Any, question: Question) -> List[Report]:
    """A report on each graph in `source`.

    Args:
      source: what `loading.load` takes, or a Model.
      question: what to look for.

    Raises:
      AuditError: the source or the checkpoint cannot be read, or a name is not there.
    """
    with _no_garbage_collection():
        return _examine(source, question)


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


def _examine(source: Any, question: Question) -> List[Report]:
    rules = choose(question.select, question.ignore)
    stored = None
    if question.checkpoint is not None:
        from bnguard.analysis.frontend.checkpoint_index import stored_names

        stored = stored_names(question.checkpoint)
    if isinstance(source, Model):
        return [_report(source, question, rules, stored)]
    reports = []
    for subject in load(source, question.tags):
        with about(subject.label):
            reports.append(_report(understand(subject), question, rules, stored))
    return reports


def _report(
    model: Model, question: Question, rules: Sequence[Rule], stored: Optional[FrozenSet[str]]
) -> Report:
    situation = settle(
        model,
        question.fetches,
        question.feeds,
        question.train_op,
        question.signature,
        stored,
    )
    return Report(
        source=model.subject.label,
        nodes=model.subject.nodes,
        statistics=tuple(statistic.name for statistic in model.statistics),
        assumed=situation.assumed,
        findings=tuple(finding for rule in rules for finding in rule.check(situation)),
    )
