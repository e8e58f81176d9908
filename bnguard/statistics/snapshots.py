"""`snapshot` and `diff`: of live sessions and checkpoints, in any mixture."""

from __future__ import annotations

from numbers import Real
import os
from typing import Any, Collection

from bnguard import checkpoint_reader
from bnguard.errors import BnguardError
from bnguard.statistics import checkpoint_values, session_values, sessions
from bnguard.statistics.difference import StatisticsDiff, compare
from bnguard.statistics.running_statistics import RunningStatistics
from bnguard.statistics.scopes import NoStatisticsError, within

Source = Any  # a session, a path or a snapshot


def snapshot(session_or_checkpoint: Source, scope: Any = None) -> RunningStatistics:
    """The running statistics of a session or a checkpoint now, copied.

    Of a session, by the structure of its graph, in one `Session.run`: no op is added, so the
    graph may be finalized, and a MonitoredSession's hooks see no step. Of a checkpoint, by
    variable name only.

    Args:
      session_or_checkpoint: a `tf.Session`, `tf.InteractiveSession`, `tf.train.MonitoredSession`,
        or the path of a checkpoint of TF 1.x or 2.x: its prefix, or a directory whose
        `checkpoint` file names one.
      scope: a variable scope or its name; only what is inside counts. None: everything.

    Raises:
      BnguardError: there are no running statistics there, or none in this scope; the session is
        closed or holds uninitialized variables; the checkpoint is missing or damaged.
    """
    return _take(session_or_checkpoint, scope)


def diff(before: Source, after: Source, scope: Any = None, tolerance: float = 0) -> StatisticsDiff:
    """How the running statistics `after` differ from those `before`, variable by variable.

    Args:
      before: a snapshot, or what `snapshot` takes one of.
      after: the same. What either knows to be a running statistic is looked for in the other,
        if that is a checkpoint, whatever its name.
      scope: as for `snapshot`; a given snapshot is compared whole.
      tolerance: an absolute change of at most this counts as none; at 0 the bits must agree.

    Raises:
      BnguardError: as `snapshot` does, but one of the two may hold none: then every variable
        of the other is added or removed. Or the tolerance is negative or no number.
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
        _take(before, scope)  # raises, and says what there is
    return compare(earlier, later, tolerance)


def _take_any(source: Source, scope: Any, also: Collection[str] = ()) -> RunningStatistics:
    try:
        return _take(source, scope, also)
    except NoStatisticsError:
        return RunningStatistics(_name(source), {})


def _take(source: Source, scope: Any, also: Collection[str] = ()) -> RunningStatistics:
    if isinstance(source, RunningStatistics):
        chosen = within(scope, source, source.source)
        return RunningStatistics(source.source, chosen, source.roles)
    if _is_path(source):
        return RunningStatistics(
            _name(source), checkpoint_values.read(os.fspath(source), scope, also)
        )
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
