"""Estimate running statistics in a session: measure in a copy of the graph, then assign at once."""

from __future__ import annotations

import hashlib
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Union,
)
import warnings

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.analysis.recognition.writes import Purpose
from bnguard.errors import BnguardError, first_line
from bnguard.reestimation import estimators
from bnguard.reestimation.batches import Batches, Feeds
from bnguard.reestimation.graph_copy import GraphCopy
from bnguard.reestimation.moments import ChannelMoments, Moments
from bnguard.reestimation.plan import Plan, Target, make_plan
from bnguard.reestimation.progress import Progress, Report, reporter
from bnguard.statistics import session_values, sessions
from bnguard.statistics.difference import StatisticsDiff, compare
from bnguard.statistics.graph_discovery import LiveStatistic, structure_of
from bnguard.statistics.partitioned_variables import variable_parts
from bnguard.statistics.running_statistics import RunningStatistics
from bnguard.statistics.scopes import Scope
from bnguard.statistics.sessions import Session

_SHOWN = 4
_ADAPTED = (
    "estimated, but the weights were trained with its present values, because its layer normalizes "
    "with them in training too; the estimate changes what the network computes"
)


def reestimate(
    session: Session,
    feeds: Feeds,
    *,
    scope: Optional[Scope] = None,
    training: Optional[Mapping[Any, Any]] = None,
    estimator: str = "population",
    progress: Union[Report, bool, None] = None,
) -> StatisticsDiff:
    """Estimate the running statistics of a session's graph anew, from data; change nothing else.

    The layers are measured in a copy of the graph with its own variables, in training mode. No
    optimizer runs, and no update op, counter or random state of the session. At the end all
    statistics are assigned together, or, if anything goes wrong or Ctrl-C is pressed, none. The
    graph gets no op and may be finalized.

    A layer that has no batch moments, as in a graph built for inference, is estimated from its
    input. That takes a pass over the data for each layer that is behind others.

    What cannot be estimated stays as it is; a RuntimeWarning names it with the reason.

    Args:
      session: a `tf.Session`, `tf.InteractiveSession` or `tf.train.MonitoredSession` whose weights
        are right.
      feeds: an iterable of feed dicts, one for each batch; for several passes not an iterator. Or
        the number of steps, if the graph reads its own data: the copy reads that from the start.
      scope: a variable scope or its name; only the statistics in it are estimated. None: all.
      training: what to feed for training mode, by tensor or name; by default True, or whatever
        means training, for the training flags that the analysis of the graph finds. It overrides
        feeds of the same tensors.
      estimator: what the statistics are to be:
        `population`: the mean of all values, and their variance around that mean, without
          correction (the law of total variance);
        `moving`: the average over batches of the layer's own batch mean and variance, with its
          correction if it has one: the limit of its moving averages as the decay goes to 1;
        `last`: what the layer's update ops make of the present values, with their own decay.
      progress: a function that is called with a `Progress` before each batch; True or None shows a
        line on a terminal, False nothing.

    Returns:
      The difference between the statistics before and after.

    Raises:
      BnguardError: there are no statistics, none can be estimated, an estimate is not finite, the
        feeds do not fit the graph, or an argument is invalid. No variable has changed then.
    """
    estimators.check(estimator)
    graph = sessions.graph_of(session)
    batches = Batches(graph, feeds)
    plan = make_plan(graph, scope, training, batches.fed)
    report = reporter(progress)
    before = session_values.read(session, session_values.find(graph, None))
    if estimator == "last":
        values = _run_updates(session, plan, batches, report, before)
    else:
        batches.check(plan.passes)
        values = _measure_passes(session, plan, batches, report, before, estimator)
    _warn(plan, values)
    return compare(before, session_values.assign(session, values, before))


def measure_moments(
    session: Session,
    feeds: Feeds,
    *,
    scope: Optional[Scope] = None,
    training: Optional[Mapping[Any, Any]] = None,
    progress: Union[Report, bool, None] = None,
) -> Moments:
    """Measure the moments of all layers over some batches, and change nothing.

    The measurements of shares of the data can be merged: `first.merge(second, third)`, or
    `first + second`. `assign_moments` ends the job.

    Args:
      session: as for `reestimate`.
      feeds: the same.
      scope: the same.
      training: the same.
      progress: the same.

    Raises:
      BnguardError: as for `reestimate`; or the layers cannot be measured in one pass, because some
        use the statistics of others, as in a graph built for inference.
    """
    graph = sessions.graph_of(session)
    batches = Batches(graph, feeds)
    plan = make_plan(graph, scope, training, batches.fed)
    if plan.passes > 1:
        raise BnguardError(
            f"the layers of this graph are measured in {plan.passes} passes, each from the output "
            "of those before it, and shares of the data can be merged for one pass only; expected "
            "a graph built for training, or with a training flag. Use bnguard.reestimate, or the "
            "graph that the model was trained with."
        )
    with _Measurement(session, plan) as measurement:
        return measurement.run(0, batches, reporter(progress))


def assign_moments(
    session: Session,
    moments: Moments,
    *,
    scope: Optional[Scope] = None,
    training: Optional[Mapping[Any, Any]] = None,
    estimator: str = "population",
) -> StatisticsDiff:
    """Estimate the running statistics of a session's graph from measured moments.

    Args:
      session: a session of the graph that was measured.
      moments: of all the data.
      scope: as it was for `measure_moments`.
      training: the same.
      estimator: `population` or `moving`, as for `reestimate`.

    Returns:
      The difference between the statistics before and after.

    Raises:
      BnguardError: the moments are of another graph, or as for `reestimate`.
    """
    estimators.check(estimator)
    if estimator == "last":
        raise BnguardError(
            "estimator: 'last' depends on the order of the batches, so it cannot be computed from "
            "moments; expected 'population' or 'moving'."
        )
    graph = sessions.graph_of(session)
    placeholders = [op for op in graph.get_operations() if op.type.startswith("Placeholder")]
    fed = dict.fromkeys(op.outputs[0].name for op in placeholders)
    plan = make_plan(graph, scope, training, fed)
    measured = [target for target in plan.targets if _is_measured(target, moments)]
    if not measured or moments.identity.get("graph") != fingerprint(graph):
        raise BnguardError(
            "moments: measured in another graph; expected those of the session's graph."
        )
    before = session_values.read(session, session_values.find(graph, None))
    values = estimators.estimate(measured, moments, estimator, before)
    _warn(plan, values)
    return compare(before, session_values.assign(session, values, before))


def fingerprint(graph: tf.Graph) -> str:
    """Return a digest of the nodes of a graph: their names, op types and inputs."""
    nodes = structure_of(graph).recognized.graph
    digest = hashlib.sha256()
    for node, name in enumerate(nodes.names.encoded):
        row = name, nodes.types[node], nodes.sources[node], nodes.ports[node]
        digest.update(repr(row).encode())
    return digest.hexdigest()[:16]


def _is_measured(target: Target, moments: Moments) -> bool:
    return all(site.name in moments.channels for site in target.sites)


class _Measurement:
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

    def __enter__(self) -> _Measurement:
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
            single += bool(np.any(batch.weight == 1))
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


def _measure_passes(
    session: Session,
    plan: Plan,
    batches: Batches,
    report: Report,
    before: RunningStatistics,
    estimator: str,
) -> Dict[str, np.ndarray]:
    values: Dict[str, np.ndarray] = {}
    measured: Optional[Moments] = None
    with _Measurement(session, plan) as measurement:
        for number in range(plan.passes):
            found = measurement.run(number, batches, report)
            measured = found if measured is None else _beside(measured, found)
            known = [target for target in plan.targets if _is_measured(target, measured)]
            values = estimators.estimate(known, measured, estimator, before)
            if number + 1 < plan.passes:
                for target in known:
                    if target.statistic.name in values:
                        value = values[target.statistic.name]
                        measurement.copy.load(_parts(target.statistic, value))
    return values


def _beside(first: Moments, second: Moments) -> Moments:
    """Return the moments of the sites of two passes."""
    values = ChannelMoments(*map(np.concatenate, zip(first.values, second.values)))
    return Moments(first.identity, {**first.channels, **second.channels}, values, first.steps)


def _run_updates(
    session: Session, plan: Plan, batches: Batches, report: Report, before: RunningStatistics
) -> Dict[str, np.ndarray]:
    """Return the statistics after the update ops ran in the copy, with each batch in turn."""
    targets = [target for target in plan.targets if _updates(target, plan)]
    updates = sorted({name for target in targets for name in _updates(target, plan)})
    if not updates:
        raise BnguardError(
            "estimator: 'last' runs the layers' update ops, and the graph has none; expected "
            "'population' or 'moving'."
        )
    with _Measurement(session, plan, updates) as measurement:
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


def _parts(statistic: LiveStatistic, value: np.ndarray) -> Dict[str, np.ndarray]:
    return {part.name: part.slice_of(value) for part in statistic.parts}


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


def _warn(plan: Plan, values: Mapping[str, np.ndarray]) -> None:
    notes = [f"{name}: not estimated: {reason}" for name, reason in sorted(plan.left_out.items())]
    notes += [f"{name}: estimated without {reason}" for name, reason in plan.partial.items()]
    notes += [f"{name}: {_ADAPTED}" for name in plan.adapted if name in values]
    for target in plan.targets:
        name = target.statistic.name
        if target.role == "variance" and name in values:
            zero = int(np.sum(values[name] == 0))
            if zero:
                notes.append(f"{name}: {zero} of {values[name].size} channels never vary")
    if notes:
        more = f"; and {len(notes) - _SHOWN} more" if len(notes) > _SHOWN else ""
        warnings.warn("; ".join(notes[:_SHOWN]) + more, RuntimeWarning, stacklevel=3)
