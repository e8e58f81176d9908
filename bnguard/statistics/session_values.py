"""Find, read and write the running statistics of a live graph, without adding an op."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError
from bnguard.statistics import sessions
from bnguard.statistics.graph_discovery import LiveStatistic, structure_of
from bnguard.statistics.running_statistics import RunningStatistics
from bnguard.statistics.scopes import Scope, within
from bnguard.statistics.sessions import Session


def find(graph: tf.Graph, scope: Optional[Scope] = None) -> List[LiveStatistic]:
    """Return the running statistics of a graph, sorted by name; at least one.

    Args:
      graph: it is analysed once per version.
      scope: a variable scope or its name; selects the statistics in it. None selects all.

    Raises:
      BnguardError: there are none, or none in this scope.
    """
    is_default = graph is tf.get_default_graph()
    where = "the session's graph" + ("" if is_default else ", which is not the default graph")
    return list(within(scope, structure_of(graph).statistics, where).values())


def read(session: Session, statistics: Sequence[LiveStatistic]) -> RunningStatistics:
    """Read running statistics of the session's graph in one `Session.run`.

    Raises:
      BnguardError: the session is closed, or a variable is not initialized or cannot be read.
    """
    fetches = {part.name: part.read for statistic in statistics for part in statistic.parts}
    unreadable = sorted(name for name, tensor in fetches.items() if tensor is None)
    if unreadable:
        raise BnguardError(
            f"{', '.join(unreadable)}: the graph has no op that only reads this resource "
            "variable, and a snapshot adds none. Call tf.identity on the variable while the graph "
            "is being built."
        )
    try:
        values = sessions.run(session, fetches)
    except tf.errors.FailedPreconditionError as error:
        raise _uninitialized(session, fetches) from error
    return RunningStatistics(
        f"the {type(session).__name__}",
        {statistic.name: statistic.join(values) for statistic in statistics},
        {statistic.name: statistic.role for statistic in statistics},
    )


def make_readable(graph: tf.Graph, statistics: Sequence[LiveStatistic]) -> None:
    """Add a read op for each resource variable that has none; most graphs need none.

    Raises:
      BnguardError: an op is needed, and the graph is finalized.
    """
    missing = [
        part.name for statistic in statistics for part in statistic.parts if part.read is None
    ]
    if missing and graph.finalized:
        raise BnguardError(
            f"{', '.join(sorted(missing))}: the graph is finalized and has no op that only reads "
            "this resource variable; expected a graph that is not finalized. Add the hook before "
            "the graph is finalized."
        )
    with graph.as_default(), tf.control_dependencies(None):
        for name in missing:
            handle = graph.get_operation_by_name(name)
            tf.raw_ops.ReadVariableOp(resource=handle.outputs[0], dtype=handle.get_attr("dtype"))


def write(session: Session, statistics: Sequence[LiveStatistic], values: Mapping[str, Any]) -> None:
    """Assign values to running statistics with the initializers that the graph already has.

    Raises:
      BnguardError: the session is closed, or the initializer of a variable is unknown.
    """
    check_writable(statistics)
    graph = sessions.graph_of(session)
    waiting = [
        (part, part.slice_of(values[statistic.name]))
        for statistic in statistics
        for part in statistic.parts
    ]
    while waiting:
        feed: Dict[str, np.ndarray] = {}
        ops, postponed = [], []
        for part, value in waiting:
            op = graph.get_operation_by_name(part.initializer)
            fed = op.inputs[1].name
            if fed in feed:  # the variables share an initial value: assign one per run
                postponed.append((part, value))
            else:
                feed[fed] = value
                ops.append(op)
        sessions.run(session, ops, feed)
        waiting = postponed


def assign(
    session: Session, values: Mapping[str, Any], before: RunningStatistics
) -> RunningStatistics:
    """Assign values to running statistics together; if that is interrupted, restore all of them.

    Args:
      session: its graph has the statistics.
      values: by variable name, of all or some of the statistics.
      before: the present values of all statistics.

    Returns:
      All statistics after that.

    Raises:
      BnguardError: the session is closed, or the initializer of a variable is unknown.
    """
    everything = structure_of(sessions.graph_of(session)).statistics
    chosen = [everything[name] for name in values]
    check_writable(chosen)
    try:
        write(session, chosen, values)
    except BaseException:
        write(session, chosen, before)
        raise
    return read(session, list(everything.values()))


def check_writable(statistics: Sequence[LiveStatistic]) -> None:
    """Check that `write` can assign these statistics.

    Raises:
      BnguardError: the initializer of a variable is unknown.
    """
    stuck = [
        part.name
        for statistic in statistics
        for part in statistic.parts
        if part.initializer is None
    ]
    if stuck:
        raise BnguardError(
            f"{', '.join(sorted(stuck))}: the initializer of this variable is unknown, so its "
            "value cannot be restored without adding an op; expected a variable in a collection "
            "of the graph. Import the graph with its collections, or use on_change='raise'."
        )


def _uninitialized(session: Session, fetches: Mapping[str, Any]) -> BnguardError:
    empty = []
    for name, tensor in fetches.items():
        try:
            sessions.run(session, tensor)
        except tf.errors.FailedPreconditionError:
            empty.append(name)
    return BnguardError(
        f"{', '.join(sorted(empty))}: not initialized; expected variables with values. Run the "
        "initializer or restore a checkpoint in this session first."
    )
