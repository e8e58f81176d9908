"""The distinct steps that a program runs of one graph, and what the rules say about all of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from bnguard.analysis import limits
from bnguard.analysis.checkpoints.stored_checkpoint import StoredCheckpoint, read_checkpoint
from bnguard.analysis.errors import AuditError
from bnguard.analysis.findings import Assumptions, Finding, Location
from bnguard.analysis.frontend.loader import load
from bnguard.analysis.ir.op_types import PLACEHOLDERS
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph, recognize
from bnguard.analysis.report import Report
from bnguard.analysis.rules import statistics_not_saved, statistics_still_cold
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step
from bnguard.analysis.scenario.step_kinds import (
    INFERS,
    OTHER,
    SAVES_VARIABLES,
    TRAINS,
    UPDATES,
    kind_of,
)
from bnguard.analysis.scenario.training_flags import find_training_flags
from bnguard.analysis.timeline import NO_TIMELINE, LayerUses, Timeline, TimelineStep
from bnguard.guard.diagnosis import audited_step
from bnguard.guard.run_key import RunKey, feeds_of
from bnguard.guard.step_cache import StepCache
from bnguard.watch.call_history import Call, CallHistory, merged
from bnguard.watch.report import GraphReport, WatchedStep
from bnguard.watch.verdict import Verdict, findings_at_inference, judge, savers

_MAX_STEPS = 200  # distinct steps of a graph that are judged, because each needs an analysis


@dataclass
class SeenStep:
    """A distinct step.

    Attributes:
      run_key: what distinguishes it.
      history: when it was called; None if that was not wanted.
      location: where it was called first.
      count: how often it was called.
      is_fed_text: whether it is fed a text, such as the path of a checkpoint.
      last_text: the text that it was fed last.
      has_error: whether it certainly has an error, if that was asked.
    """

    run_key: RunKey
    history: Optional[CallHistory]
    location: Optional[Location] = None
    count: int = 0
    is_fed_text: bool = False
    last_text: Union[str, bytes] = b""
    has_error: bool = False

    def add(self, feed: Any, number: int) -> None:
        """Add a call, with its number among those of all steps of the graph."""
        self.count += 1
        if self.history is not None:
            self.history.add(Call(number, time.time(), self.count))
        if self.is_fed_text:
            (*_, self.last_text) = filter(_is_text, feed.values())


class GraphWatch:
    """The steps of one graph.

    Args:
      graph: the tf.Graph.
      keeps_calls: whether to keep when each step was called.
    """

    def __init__(self, graph: Any, keeps_calls: bool = False) -> None:
        self._graph = graph
        self._keeps_calls = keeps_calls
        self._calls = 0
        self._cache = StepCache(self._step, lambda graph: self._recognized())
        self._seen: Dict[RunKey, SeenStep] = {}
        self._unjudged = 0
        self._analysed: Optional[Tuple[int, RecognizedGraph]] = None  # at a version of the graph

    def count(
        self, fetches: Any, feed: Any, locate: Callable[[], Optional[Location]]
    ) -> Optional[SeenStep]:
        """Count a step that is about to run, and return it; None if there are too many.

        Args:
          fetches: as for `Session.run`.
          feed: as for `Session.run`.
          locate: returns the location of the call, if it is needed.
        """
        seen = self._cache.known(self._graph, fetches, feed)
        self._calls += 1
        if seen is None:
            self._unjudged += 1
            return None
        if not seen.count:
            seen.location = locate()
            seen.is_fed_text = any(map(_is_text, feeds_of(feed).values()))
        seen.add(feed, self._calls)
        return seen

    def _step(self, run_key: RunKey) -> Optional[SeenStep]:
        """Return the step with a key; None for a new one if there are too many."""
        if run_key not in self._seen and len(self._seen) < _MAX_STEPS:
            history = CallHistory() if self._keeps_calls else None
            self._seen[run_key] = SeenStep(run_key, history)
        return self._seen.get(run_key)

    def findings(self, run_key: RunKey) -> Iterator[Finding]:
        """Yield the findings about a step, in the graph as it is now, if it infers."""
        recognized = self._recognized()
        step = audited_step(recognized, run_key)
        if kind_of(step, find_training_flags(recognized)) == INFERS:
            yield from findings_at_inference(step)

    def report(self, source: str, rules: Sequence[Rule], with_timeline: bool) -> GraphReport:
        """Return the steps, and the findings about them all; nothing is assumed."""
        recognized = self._recognized()
        with limits.collect() as reached:
            program = _WatchedProgram(recognized, self._seen)
            findings = tuple(program.findings(rules))
            timeline = program.timeline() if with_timeline else NO_TIMELINE
        report = Report(
            source=source,
            nodes=recognized.loaded.nodes,
            statistics=tuple(statistic.name for statistic in recognized.statistics),
            assumed=program.assumed(),
            findings=findings,
            limits=tuple(dict.fromkeys([*recognized.limits, *reached])),
            timeline=timeline,
        )
        return GraphReport(report, program.rows(), program.unfed_flags(), self._unjudged)

    def _recognized(self) -> RecognizedGraph:
        """Return the analysis of the graph as it is now."""
        if self._analysed is None or self._analysed[0] != self._graph.version:
            (loaded,) = load(self._graph)
            self._analysed = self._graph.version, recognize(loaded)
        return self._analysed[1]


class _WatchedProgram:
    """All steps of a graph, judged when all are known.

    Args:
      recognized: the graph as it is at the end.
      seen: the steps.
    """

    def __init__(self, recognized: RecognizedGraph, seen: Dict[RunKey, SeenStep]) -> None:
        self._recognized = recognized
        self._seen = seen
        self._flags = tuple(find_training_flags(recognized))
        self._rows: Dict[Any, List[RunKey]] = {}  # steps that differ in a fed value without effect
        self._steps: List[Tuple[str, Step]] = []  # the first of each row, with its kind
        for run_key in seen:
            step = audited_step(recognized, run_key)
            verdict = judge(step, self._flags)
            row = (run_key.fetches, seen[run_key].location, verdict)
            if row not in self._rows:
                self._steps.append((verdict.kind, step))
            self._rows.setdefault(row, []).append(run_key)

    def rows(self) -> Tuple[WatchedStep, ...]:
        """Return the steps in the order of their first runs."""
        return tuple(
            self._row(location, verdict, keys)
            for (_, location, verdict), keys in self._rows.items()
        )

    def timeline(self) -> Timeline:
        """Return what each step does to each layer, without the steps that do nothing."""
        uses = LayerUses(self._recognized)
        return Timeline(
            uses.layers,
            tuple(
                TimelineStep(
                    row.label,
                    step.fetch,
                    kind,
                    row.runs,
                    row.location,
                    row.summary,
                    uses.of(step, kind),
                )
                for row, (kind, step) in zip(self.rows(), self._steps)
                if kind != OTHER
            ),
        )

    def _row(
        self, location: Optional[Location], verdict: Verdict, keys: Sequence[RunKey]
    ) -> WatchedStep:
        """Return the line about steps that are alike; it shows the fed values that they share."""
        shared = set(keys[0].feeds).intersection(*(key.feeds for key in keys))
        feeds: List[Tuple[str, Any]] = [feed for feed in keys[0].feeds if feed in shared]
        return WatchedStep(
            runs=sum(self._seen[key].count for key in keys),
            fetches=keys[0].fetches,
            feeds=tuple((name, value) for name, value in feeds if value is not None),
            location=location,
            kind=verdict.kind,
            read=verdict.read,
            written=verdict.written,
            unordered=verdict.unordered,
            batch_moments=verdict.batch_moments,
            summary=str(verdict),
            calls=merged([each for each in map(self._history, keys) if each is not None]),
        )

    def _history(self, key: RunKey) -> Optional[CallHistory]:
        return self._seen[key].history

    def unfed_flags(self) -> Tuple[str, ...]:
        """Return a sentence on each training flag with a default that no step feeds."""
        fed = {name for run_key in self._seen for name, _ in run_key.feeds}
        names = {flag: flag.name(self._recognized) for flag in self._flags if not flag.is_variable}
        return tuple(
            f"{name} was never fed: it had its default, {flag.default}, in each step"
            for flag, name in names.items()
            if flag.default is not None and name not in fed and self._has_layers()
        )

    def assumed(self) -> Assumptions:
        """Return that nothing is, and which steps the program did not take."""
        kinds = [kind for kind, _ in self._steps]
        missing = {"fetch": INFERS not in kinds, "train op": TRAINS not in kinds}
        return Assumptions(
            unknown=tuple(step for step, is_missing in missing.items() if is_missing)
        )

    def _has_layers(self) -> bool:
        return any(kind in (TRAINS, UPDATES, INFERS) for kind, _ in self._steps)

    def findings(self, rules: Sequence[Rule]) -> Iterator[Finding]:
        """Yield what the rules find, each Saver by itself."""
        scenario = self._scenario(None)
        for rule in rules:
            if rule is statistics_not_saved.RULE:
                for name in dict.fromkeys(name for _, step in self._steps for name in savers(step)):
                    loaded = replace(self._recognized.loaded, save_tensor=name)
                    recognized = replace(self._recognized, loaded=loaded)
                    yield from rule.check(replace(scenario, recognized=recognized))
            elif rule is statistics_still_cold.RULE:
                with suppress(AuditError):  # the program may have deleted it
                    yield from rule.check(self._scenario(self._last_checkpoint()))
            else:
                yield from rule.check(scenario)

    def _scenario(self, stored: Optional[StoredCheckpoint]) -> Scenario:
        by_kind = {
            wanted: tuple(step for kind, step in self._steps if kind == wanted)
            for wanted in (TRAINS, UPDATES, INFERS)
        }
        training = by_kind[TRAINS] + by_kind[UPDATES] if by_kind[TRAINS] else ()
        return Scenario(
            recognized=self._recognized,
            training_flags=self._flags,
            feeds={},
            inference=by_kind[INFERS],
            possible=(),
            training=tuple(map(_without_data, training)),
            stored=stored,
            assumed=Assumptions(),
        )

    def _last_checkpoint(self) -> Optional[StoredCheckpoint]:
        """Return the checkpoint that the program saved last."""
        saving = [
            run_key
            for (_, _, verdict), keys in self._rows.items()
            for run_key in keys
            if verdict.kind == SAVES_VARIABLES
        ]
        for run_key in saving[-1:]:
            path = self._seen[run_key].last_text
            return read_checkpoint(path if isinstance(path, str) else path.decode())
        return None


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, bytes))


def _without_data(step: Step) -> Step:
    """Return a training step that feeds no data: the rules ask which data it needs."""
    types = step.recognized.graph.types
    feeds = {
        tensor: value
        for tensor, value in step.execution.feeds.items()
        if value is not None or types[tensor.node] not in PLACEHOLDERS
    }
    return step.with_feeds(feeds)
