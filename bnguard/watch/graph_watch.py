"""The distinct steps that a program runs of one graph, and what the rules say about all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from bnguard.analysis import limits
from bnguard.analysis.findings import Assumptions, Finding, Location
from bnguard.analysis.frontend.loader import load
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph, recognize
from bnguard.analysis.report import Report
from bnguard.analysis.rules import statistics_not_saved
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step
from bnguard.analysis.scenario.training_flags import TrainingFlag, find_training_flags
from bnguard.guard.diagnosis import audited_step
from bnguard.guard.run_key import RunKey
from bnguard.guard.step_cache import StepCache
from bnguard.watch.report import GraphReport, WatchedStep
from bnguard.watch.verdict import INFERS, TRAINS, UPDATES, Verdict, judge, savers

_MAX_STEPS = 200  # distinct steps of a graph that are judged, because each needs an analysis


@dataclass
class _Seen:
    """A distinct step, with how often it ran."""

    location: Optional[Location]
    verdict: Verdict
    count: int = 0


class GraphWatch:
    """The steps of one graph.

    Args:
      graph: the tf.Graph.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._cache = StepCache()
        self._seen: Dict[RunKey, _Seen] = {}
        self._unjudged = 0
        self._recognized: Optional[RecognizedGraph] = None
        self._flags: Tuple[TrainingFlag, ...] = ()
        self._version = -1

    def count(self, fetches: Any, feed: Any, locate: Any) -> Optional[Verdict]:
        """Count a step that is about to run; return what it does if it has not run before.

        Args:
          fetches: as for `Session.run`.
          feed: as for `Session.run`.
          locate: returns the location of the call, if it is needed.
        """
        run_key = self._cache.run_key(self._graph, fetches, feed)
        seen = self._seen.get(run_key)
        if seen is not None:
            seen.count += 1
            return None
        if len(self._seen) >= _MAX_STEPS:
            self._unjudged += 1
            return None
        step = audited_step(self._recognize(), run_key)
        verdict = judge(step, self._flags)
        self._seen[run_key] = _Seen(locate(), verdict, 1)
        return verdict

    def report(self, source: str, rules: Sequence[Rule]) -> GraphReport:
        """Return the steps, and the findings about them all; nothing is assumed."""
        recognized = self._recognize()
        with limits.collect() as reached:
            findings = tuple(self._findings(recognized, rules))
        report = Report(
            source=source,
            nodes=recognized.loaded.nodes,
            statistics=tuple(statistic.name for statistic in recognized.statistics),
            assumed=Assumptions(),
            findings=findings,
            limits=tuple(dict.fromkeys([*recognized.limits, *reached])),
        )
        steps = tuple(_watched(keys, self._seen) for keys in self._alike())
        return GraphReport(report, steps, self._unjudged)

    def _recognize(self) -> RecognizedGraph:
        """Return the analysis of the graph as it is now."""
        if self._recognized is None or self._version != self._graph.version:
            self._version = self._graph.version
            (loaded,) = load(self._graph)
            self._recognized = recognize(loaded)
            self._flags = tuple(find_training_flags(self._recognized))
        return self._recognized

    def _alike(self) -> List[List[RunKey]]:
        """Return the steps, those together that differ only in a fed value without effect."""
        groups: Dict[Any, List[RunKey]] = {}
        for run_key, seen in self._seen.items():
            verdict = replace(seen.verdict, findings=())
            groups.setdefault((run_key.fetches, seen.location, verdict), []).append(run_key)
        return list(groups.values())

    def _findings(self, recognized: RecognizedGraph, rules: Sequence[Rule]) -> Iterator[Finding]:
        first = [keys[0] for keys in self._alike()]
        steps: Dict[str, List[Step]] = {kind: [] for kind in (TRAINS, UPDATES, INFERS)}
        saves: Dict[str, None] = {}
        for run_key in first:
            step = audited_step(recognized, run_key)
            kind = self._seen[run_key].verdict.kind
            if kind in steps:
                steps[kind].append(step)
            saves.update(dict.fromkeys(savers(step)))
        scenario = Scenario(
            recognized,
            self._flags,
            {},
            tuple(steps[INFERS]),
            (),
            tuple(steps[TRAINS] + steps[UPDATES] if steps[TRAINS] else ()),
            None,
            Assumptions(),
        )
        for rule in rules:
            if rule is statistics_not_saved.RULE:
                for name in saves:
                    loaded = replace(recognized.loaded, save_tensor=name)
                    yield from rule.check(
                        replace(scenario, recognized=replace(recognized, loaded=loaded))
                    )
            else:
                yield from rule.check(scenario)


def _watched(keys: Sequence[RunKey], seen: Dict[RunKey, _Seen]) -> WatchedStep:
    """Return the line about steps that are alike; it shows the fed values that they share."""
    first = seen[keys[0]]
    shared = set(keys[0].feeds).intersection(*(key.feeds for key in keys))
    feeds: List[Tuple[str, Any]] = [feed for feed in keys[0].feeds if feed in shared]
    return WatchedStep(
        runs=sum(seen[key].count for key in keys),
        fetches=keys[0].fetches,
        feeds=tuple((name, value) for name, value in feeds if value is not None),
        location=first.location,
        kind=first.verdict.kind,
        written=first.verdict.written,
        unordered=first.verdict.unordered,
        batch_moments=first.verdict.batch_moments,
        summary=str(first.verdict),
    )
