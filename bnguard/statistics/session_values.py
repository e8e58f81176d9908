"""The running statistics of a live graph: find them, read them, write them, adding no op."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError
from bnguard.statistics import sessions
from bnguard.statistics.graph_discovery import LiveStatistic, structure_of
from bnguard.statistics.running_statistics import RunningStatistics
from bnguard.statistics.scopes import within


def find(graph: tf.Graph, scope: Any = None) -> List[LiveStatistic]:
    """The running statistics of a graph, sorted by name; at least one.

    Args:
      graph: searched once for each version of it.
      scope: a variable scope or its name; only what is inside counts. None: everything.

    Raises:
      BnguardError: there are none, or none in this scope.
    """
    is_default = graph is tf.get_default_graph()
    where = "the session's graph" + ("" if is_default else ", which is not the default graph")
    return list(within(scope, structure_of(graph).statistics, where).values())


def read(session: Any, statistics: Sequence[LiveStatistic]) -> RunningStatistics:
    """Running statistics of the session's graph, in one `Session.run`.

    Raises:
      BnguardError: the session is closed, or a variable has no value or cannot be read.
    """
    fetches = {part.name: part.read for one in statistics for part in one.parts}
    unreadable = sorted(name for name, tensor in fetches.items() if tensor is None)
    if unreadable:
        raise BnguardError(
            f"{', '.join(unreadable)}: the graph has no op that only reads this resource "
            "variable, and none is added here. Call tf.identity on the variable while the graph "
            "is being built."
        )
    try:
        values = sessions.run(session, fetches)
    except tf.errors.FailedPreconditionError as error:
        raise _uninitialized(session, fetches) from error
    return RunningStatistics(
        f"the {type(session).__name__}",
        {one.name: _join(one, values) for one in statistics},
        {one.name: one.role for one in statistics},
    )


def make_readable(graph: tf.Graph, statistics: Sequence[LiveStatistic]) -> None:
    """Add an op to read each resource variable that `read` could not; mostly there is none.

    Raises:
      BnguardError: it has to add one, and the graph is finalized.
    """
    missing = [part.name for one in statistics for part in one.parts if part.read is None]
    if missing and graph.finalized:
        raise BnguardError(
            f"{', '.join(sorted(missing))}: the graph is finalized, and has no op that only reads "
            "this resource variable; expected a graph that can still be added to. Add the hook "
            "before the graph is finalized."
        )
    with graph.as_default(), tf.control_dependencies(None):
        for name in missing:
            handle = graph.get_operation_by_name(name)
            tf.raw_ops.ReadVariableOp(resource=handle.outputs[0], dtype=handle.get_attr("dtype"))


def write(session: Any, statistics: Sequence[LiveStatistic], values: Mapping[str, Any]) -> None:
    """Give running statistics these values, by initializers that the graph has already.

    Raises:
      BnguardError: the session is closed, or no initializer of a variable is known.
    """
    check_writable(statistics)
    graph = sessions.graph_of(session)
    shares = [(part, part.of(values[one.name])) for one in statistics for part in one.parts]
    while shares:
        feed: Dict[str, np.ndarray] = {}
        ops, left = [], []
        for part, value in shares:
            op = graph.get_operation_by_name(part.initializer)
            fed = op.inputs[1].name
            if fed in feed:  # two variables that were initialized from one tensor
                left.append((part, value))
            else:
                feed[fed] = value
                ops.append(op)
        sessions.run(session, ops, feed)
        shares = left


def check_writable(statistics: Sequence[LiveStatistic]) -> None:
    """Check that `write` can be used.

    Raises:
      BnguardError: no initializer of a variable is known.
    """
    stuck = [part.name for one in statistics for part in one.parts if part.initializer is None]
    if stuck:
        raise BnguardError(
            f"{', '.join(sorted(stuck))}: no initializer of this variable is known, so its value "
            "cannot be put back without adding an op; expected a variable in a collection of the "
            "graph. Import the graph with its collections, or use on_change='raise'."
        )


def _join(statistic: LiveStatistic, values: Mapping[str, np.ndarray]) -> np.ndarray:
    pieces = [values[part.name] for part in statistic.parts]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, statistic.axis)


def _uninitialized(session: Any, fetches: Mapping[str, Any]) -> BnguardError:
    empty = []
    for name, tensor in fetches.items():
        try:
            sessions.run(session, tensor)
        except tf.errors.FailedPreconditionError:
            empty.append(name)
    return BnguardError(
        f"{', '.join(sorted(empty))}: no value yet; expected initialized variables. Run the "
        "initializer or restore a checkpoint in this session first."
    )
