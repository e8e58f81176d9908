"""Measure the layers of a session's graph, or run their updates, in a copy that has its values."""

from __future__ import annotations

import hashlib
from typing import Any, Dict, Iterator, List, Optional, Sequence
import warnings

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.analysis.recognition.writes import Purpose
from bnguard.errors import BnguardError, first_line
from bnguard.reestimation.batches import Batches, Progress, Report
from bnguard.reestimation.graph_copy import GraphCopy
from bnguard.reestimation.moments import Moments
from bnguard.reestimation.plan import Plan, Target
from bnguard.statistics import sessions
from bnguard.statistics.graph_discovery import structure_of
from bnguard.statistics.partitioned_variables import variable_parts
from bnguard.statistics.sessions import Session


class Measurement:
    """A copy of the session's graph, with the values of its variables, that measures layers."""

    def __init__(self, session: Session, plan: Plan, updates: Sequence[str] = ()) -> None:
        graph = sessions.graph_of(session)
        self._plan = plan
        self._passes = [] if updates else [plan.sites(n) for n in range(plan.passes)]
        self.copy = GraphCopy(plan.recognized, graph.as_graph_def(), self._passes, updates)
        digest = hashlib.sha256()
        values = _values(session, self.copy.variables)
        for name, value in values.items():
            digest.update(name.encode() + value.tobytes())
        self.copy.load(values)
        self._flags = self._feed_flags()
        self._identity = {"graph": fingerprint(graph), "variables": digest.hexdigest()[:16]}

    def __enter__(self) -> Measurement:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.copy.close()

    def run(self, number: int, batches: Batches, report: Report) -> Moments:
        """Return the moments of the sites of one pass."""
        moments: Optional[Moments] = None
        single = 0  # batches in which a layer has one value for each channel
        for feed in self.feeds(number, batches, report):
            try:
                batch = self.copy.measure(number, feed)
            except tf.errors.OutOfRangeError:
                break
            if moments is None:
                channels = {
                    site.name: self.copy.channels[site.name] for site in self._passes[number]
                }
                moments = Moments(self._identity, channels)
            moments.add(batch)
            single += bool(np.any((batch.weight == 1) & (batch.variance == 0)))
        if moments is None:
            raise BnguardError("the graph has no data; expected at least one batch.")
        if single:
            warnings.warn(
                f"{single} of {moments.steps} batches have one value for each channel of a layer, "
                "which has no variance; the estimator `moving` counts it as 0",
                RuntimeWarning,
                stacklevel=4,
            )
        return moments

    def feeds(self, number: int, batches: Batches, report: Report) -> Iterator[Dict[str, Any]]:
        """Yield the feed dict of each batch for the copy."""
        self.copy.start()
        for step, feed in enumerate(batches):
            report(Progress(number, self._plan.passes, step, batches.count))
            fed = {name: value for name, value in feed.items() if self.copy.can_feed(name)}
            yield {**fed, **self._flags}

    def _feed_flags(self) -> Dict[str, Any]:
        """Return the feeds of training flags; set those that are variables."""
        flags = {}
        graph = self._plan.recognized.graph
        for tensor, value in self._plan.flags.items():
            name = graph.names[tensor.node]
            if name in self.copy.variables:
                self.copy.load({name: np.array(value)})
            elif self.copy.can_feed(f"{name}:{tensor.port}"):
                flags[f"{name}:{tensor.port}"] = value
        return flags


def run_updates(
    session: Session, plan: Plan, batches: Batches, report: Report
) -> Dict[str, np.ndarray]:
    """Return the statistics after the update ops ran in the copy, with each batch in turn."""
    targets = [target for target in plan.targets if _updates(target, plan)]
    updates = sorted({name for target in targets for name in _updates(target, plan)})
    if not updates:
        raise BnguardError(
            "estimator: 'last' runs the layers' update ops, and the graph has none; expected "
            "'population' or 'moving'."
        )
    with Measurement(session, plan, updates) as measurement:
        for feed in measurement.feeds(0, batches, report):
            try:
                measurement.copy.update(feed)
            except tf.errors.OutOfRangeError:
                break
        names = [part.name for target in targets for part in target.statistic.parts]
        found = measurement.copy.read([n for n in names if n in measurement.copy.variables])
    values = {}
    for target in targets:
        name = target.statistic.name
        values[name] = target.statistic.join(found)
        if not np.all(np.isfinite(values[name])):
            raise BnguardError(
                f"{name}: not finite after the updates, so no statistic was changed; expected "
                "finite inputs, and present values that are finite. Use another estimator."
            )
    return values


def _updates(target: Target, plan: Plan) -> List[str]:
    """Return the names of the ops outside of functions that run the updates of a statistic."""
    recognized = plan.recognized
    names = []
    for part in target.statistic.parts:
        for write in recognized.writes.get(recognized.tensor(part.name).node, ()):
            if write.purpose is Purpose.UPDATE:
                names.append(_outermost(recognized.graph.names[write.node], recognized))
    return names


def _outermost(name: str, recognized: Any) -> str:
    """Return the name of the call that a node of a function is in, or its own."""
    parts = name.split("/")
    for end in range(1, len(parts)):
        node = recognized.graph.find("/".join(parts[:end]))
        if node is not None and node in recognized.graph.lowered:
            return "/".join(parts[:end])
    return name


def fingerprint(graph: tf.Graph) -> str:
    """Return a digest of the nodes of a graph: their names, op types and inputs."""
    nodes = structure_of(graph).recognized.graph
    digest = hashlib.sha256()
    for node, name in enumerate(nodes.names.encoded):
        row = name, nodes.types[node], nodes.sources[node], nodes.ports[node]
        digest.update(repr(row).encode())
    return digest.hexdigest()[:16]


def _values(session: Session, names: Sequence[str]) -> Dict[str, np.ndarray]:
    """Return the values of variables of the session, by name, read in one run.

    Raises:
      BnguardError: a variable is not initialized, or has no op that reads it.
    """
    parts = variable_parts(sessions.graph_of(session))
    reads = {name: parts[name].read for name in names}
    unreadable = sorted(name for name, read in reads.items() if read is None)
    if unreadable:
        raise BnguardError(
            f"{', '.join(unreadable)}: the graph has no op that only reads this resource variable; "
            "expected one. Call tf.identity on the variable while the graph is being built."
        )
    try:
        found: Dict[str, np.ndarray] = sessions.run(session, reads) if reads else {}
    except tf.errors.FailedPreconditionError as error:
        raise BnguardError(
            f"a variable of the layers is not initialized ({first_line(error)}); expected "
            "variables with values. Run the initializer or restore a checkpoint in this session "
            "first."
        ) from error
    return {name: np.array(value) for name, value in found.items()}
