"""Read, compare and assign running statistics of sessions and checkpoints."""

from __future__ import annotations

from numbers import Real
import os
from typing import TYPE_CHECKING, Any, Collection, Mapping, Optional, Union

import numpy as np

from bnguard import checkpoint_reader
from bnguard.errors import BnguardError
from bnguard.statistics import checkpoint_values
from bnguard.statistics.difference import StatisticsDiff, compare
from bnguard.statistics.running_statistics import RunningStatistics
from bnguard.statistics.scopes import NoStatisticsError, Scope, within

if TYPE_CHECKING:
    from bnguard.statistics.sessions import Session

Source = Union["Session", str, "os.PathLike[str]", RunningStatistics]
"""A session, the path of a checkpoint, or a snapshot."""

_SHOWN = 8


def snapshot(session_or_checkpoint: Source, scope: Optional[Scope] = None) -> RunningStatistics:
    """Return a copy of the current running statistics of a session or a checkpoint.

    In a session, the structure of the graph determines the statistics. They are read in one
    `Session.run` that adds no op, so the graph may be finalized, and the hooks of a
    MonitoredSession see no step. In a checkpoint, the names of the variables determine them. If the
    .meta file of the graph is beside it, the snapshot also knows which statistics are still mostly
    their initial values.

    Args:
      session_or_checkpoint: a `tf.Session`, `tf.InteractiveSession` or
        `tf.train.MonitoredSession`; or the path of a checkpoint of TF 1.x or 2.x, which is its
        prefix, or a directory whose `checkpoint` file names one; or a snapshot.
      scope: a variable scope or its name; selects the statistics in it. None selects all.

    Raises:
      BnguardError: there are no running statistics, or none in this scope; the session is closed
        or its variables are not initialized; the checkpoint is missing or damaged.
    """
    if not isinstance(session_or_checkpoint, (str, os.PathLike)):
        return _take(session_or_checkpoint, scope)
    path = os.fspath(session_or_checkpoint)
    values = checkpoint_values.read(path, scope)
    coldness = checkpoint_values.coldness(path)
    return RunningStatistics(_name(path), values, coldness=coldness)


def diff(
    before: Source, after: Source, scope: Optional[Scope] = None, tolerance: float = 0
) -> StatisticsDiff:
    """Return the difference between two sets of running statistics, variable by variable.

    A variable that is a running statistic on one side is one on the other side too: if that is a
    checkpoint, the variable is read from it whatever its name.

    Args:
      before: a session, the path of a checkpoint or a snapshot, as for `snapshot`.
      after: the same.
      scope: as for `snapshot`.
      tolerance: absolute changes up to this are ignored; with 0, the values must be bit-identical.

    Raises:
      BnguardError: as for `snapshot`, except that one side may have no statistics: then every
        variable of the other side is added or removed. Or the tolerance is negative or not a
        number.
    """
    if not isinstance(tolerance, Real) or not tolerance >= 0:
        raise BnguardError(f"tolerance: got {tolerance!r}; expected a number of at least 0.")
    if _is_path(before):
        later = _take_any(after, scope)
        earlier = _take_any(before, scope, also=later)
    else:
        earlier = _take_any(before, scope)
        later = _take_any(after, scope, also=earlier)
    if not earlier and not later:
        _take(before, scope)  # raises an error that lists the scopes that have statistics
    return compare(earlier, later, tolerance)


def assign_statistics(session: Session, statistics: Mapping[str, Any]) -> StatisticsDiff:
    """Assign values to running statistics of a session, all together or, on an error, none.

    The graph gets no op and may be finalized; statistics without a value stay as they are.

    Args:
      session: a `tf.Session`, `tf.InteractiveSession` or `tf.train.MonitoredSession`.
      statistics: by variable name, such as the result of `average` or `snapshot`.

    Returns:
      The difference between the statistics before and after.

    Raises:
      BnguardError: a name is no running statistic of the graph, or a shape differs; the session is
        closed, its variables are not initialized, or the initializer of one is unknown.
    """
    from bnguard.statistics import session_values, sessions  # they import TensorFlow

    before = _take(session, None) if sessions.is_session(session) else _no_session(session)
    unknown = sorted(set(statistics) - set(before))
    if unknown or not statistics:
        raise BnguardError(
            f"{', '.join(unknown) or 'no value'}: not a running statistic of the session's graph; "
            f"expected some of {', '.join(list(before)[:_SHOWN])}{', ...' * (len(before) > _SHOWN)}"
        )
    values = {name: np.asarray(value) for name, value in statistics.items()}
    for name, value in values.items():
        if value.shape != before[name].shape:
            raise BnguardError(
                f"{name}: got a value of the shape {list(value.shape)}; expected "
                f"{list(before[name].shape)}, that of the variable."
            )
    return compare(before, session_values.assign(session, values, before))


def _no_session(given: object) -> RunningStatistics:
    raise BnguardError(
        f"{given!r}: not a session; expected a tf.Session, tf.InteractiveSession or "
        "tf.train.MonitoredSession."
    )


def _take_any(
    source: Source, scope: Optional[Scope], also: Collection[str] = ()
) -> RunningStatistics:
    try:
        return _take(source, scope, also)
    except NoStatisticsError:
        return RunningStatistics(_name(source), {})


def _take(source: Source, scope: Optional[Scope], also: Collection[str] = ()) -> RunningStatistics:
    if isinstance(source, RunningStatistics):
        chosen = within(scope, source, source.source)
        return RunningStatistics(source.source, chosen, source.roles, source.coldness)
    if _is_path(source):
        return RunningStatistics(
            _name(source), checkpoint_values.read(os.fspath(source), scope, also)
        )
    from bnguard.statistics import session_values, sessions  # they import TensorFlow

    if not sessions.is_session(source):
        raise BnguardError(
            f"{source!r}: neither a session nor a checkpoint; expected a tf.Session, "
            "tf.InteractiveSession, tf.train.MonitoredSession, or the path of a checkpoint."
        )
    found = session_values.find(sessions.graph_of(source), scope)
    return session_values.read(source, found)


def _name(source: Source) -> str:
    if isinstance(source, RunningStatistics):
        return source.source
    if not _is_path(source):
        return f"the {type(source).__name__}"
    path = os.fspath(source)
    return checkpoint_reader.resolve(path) if os.path.isdir(path) else path


def _is_path(source: Source) -> bool:
    return isinstance(source, (str, os.PathLike))
