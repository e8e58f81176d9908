"""Estimate running statistics in a session: measure in a copy of the graph, then assign at once."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Union
import warnings

import numpy as np

from bnguard.errors import BnguardError
from bnguard.reestimation import estimators
from bnguard.reestimation.batches import Batches, Feeds, Report, reporter
from bnguard.reestimation.measurement import Measurement, fingerprint, run_updates
from bnguard.reestimation.moments import ChannelMoments, Moments
from bnguard.reestimation.plan import Plan, Target, make_plan
from bnguard.statistics import session_values, sessions
from bnguard.statistics.difference import StatisticsDiff, compare
from bnguard.statistics.graph_discovery import LiveStatistic
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
        values = run_updates(session, plan, batches, report)
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

    Returns:
      The moments of all batches, in float64.

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
    with Measurement(session, plan) as measurement:
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
    with Measurement(session, plan) as measurement:
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


def _is_measured(target: Target, moments: Moments) -> bool:
    return all(site.name in moments.channels for site in target.sites)


def _parts(statistic: LiveStatistic, value: np.ndarray) -> Dict[str, np.ndarray]:
    return {part.name: part.slice_of(value) for part in statistic.parts}


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
