"""`frozen`: a block in which no running statistic may change."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import ContextManager, Iterator, Optional
import warnings

import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError
from bnguard.guard.block import GuardedBlock, ReentrantGuard
from bnguard.guard.errors import StatisticsChanged
from bnguard.guard.run_recorder import AFTER_ERROR, RecordedRuns
from bnguard.statistics import RunningStatistics, session_values
from bnguard.statistics.difference import compare
from bnguard.statistics.scopes import Scope
from bnguard.statistics.sessions import Session

_WHERE = "frozen: running statistics changed in a block that must not change them"
_RECREATED = (
    f"; its session was re-created {AFTER_ERROR}, which initializes or restores all variables"
)
_ON_CHANGE = ("raise", "warn", "restore")


def frozen(
    session: Session, scope: Optional[Scope] = None, on_change: str = "raise"
) -> ContextManager[RunningStatistics]:
    """Guard a block in which no running statistic may change.

        with bnguard.frozen(session):
            session.run(y, {x: batch, is_training: False})

    The guard takes a snapshot at each end of the block and adds no op. It can be nested, and the
    same object can be entered again, also inside its own block. If the body raises an exception,
    it propagates and the statistics are not compared. The end of the data (`OutOfRangeError` or
    `StopIteration`) counts as a normal end: the statistics are compared first, and the exception
    propagates if they did not change.

    Args:
      session: a `tf.Session`, `tf.InteractiveSession` or `tf.train.MonitoredSession`.
      scope: a variable scope or its name; selects the statistics in it. None selects all.
      on_change: `raise` raises `StatisticsChanged` at the end of the block; `warn` emits its
        message as a RuntimeWarning; `restore` silently restores the values, also if the body
        raises an exception.

    Returns:
      A context manager whose value is the snapshot at the start.

    Raises:
      StatisticsChanged: a statistic is not bit-identical at the end of the block.
      BnguardError: there are no running statistics; the session is closed or they are not
        initialized; `on_change` is none of the three, or is `restore` and the initializer of a
        variable is unknown.
    """
    if on_change not in _ON_CHANGE:
        raise BnguardError(
            f"on_change: got {on_change!r}; expected one of {', '.join(_ON_CHANGE)}."
        )
    return ReentrantGuard("frozen", lambda: _frozen(session, scope, on_change))


def _frozen(
    session: Session, scope: Optional[Scope], on_change: str
) -> ContextManager[RunningStatistics]:
    block = GuardedBlock(session, scope)
    if on_change == "restore":
        session_values.check_writable(block.statistics)
        return _restored(block)
    return block.check_at_end(_warn if on_change == "warn" else _changes)


@contextmanager
def _restored(block: GuardedBlock) -> Iterator[RunningStatistics]:
    try:
        yield block.snapshot()
    except BaseException:
        with suppress(BnguardError, tf.errors.OpError):  # the session itself may have failed
            block.restore()
        raise
    if block.current() != block.before:
        block.restore()


def _changes(block: GuardedBlock, runs: RecordedRuns) -> Optional[StatisticsChanged]:
    after = block.current()
    if after == block.before:
        return None
    moved = block.diagnosis().explain_changes(compare(block.before, after), runs)
    return StatisticsChanged(_WHERE + (_RECREATED if runs.are_of_new_session else ""), moved)


def _warn(block: GuardedBlock, runs: RecordedRuns) -> None:
    error = _changes(block, runs)
    if error is not None:
        warnings.warn(str(error), RuntimeWarning, stacklevel=5)  # the line where the block ends
