"""`must_move`: a block in which training must change every running statistic."""

from __future__ import annotations

from typing import ContextManager, Optional

from bnguard.guard.block import GuardedBlock, ReentrantGuard
from bnguard.guard.errors import StatisticsDidNotMove
from bnguard.guard.run_recorder import AFTER_ERROR, RecordedRuns
from bnguard.statistics import RunningStatistics
from bnguard.statistics.difference import compare
from bnguard.statistics.names import AVERAGE, COUNT
from bnguard.statistics.scopes import Scope
from bnguard.statistics.sessions import Session

_WHERE = "must_move: running statistics stayed bit-identical in a block that must change them"


def must_move(session: Session, scope: Optional[Scope] = None) -> ContextManager[RunningStatistics]:
    """Guard a block in which training must change every running statistic.

        with bnguard.must_move(session):
            session.run(train_op, {x: batch, is_training: True})

    A count of updates need not change, because a large float stops growing. Nor need the average of
    a statistic that tf.train.ExponentialMovingAverage keeps.

    The guard takes a snapshot at each end of the block and adds no op. It can be nested, and the
    same object can be entered again, also inside its own block. If the body raises an exception,
    it propagates and the statistics are not compared. The end of the data (`OutOfRangeError` or
    `StopIteration`) counts as a normal end: the statistics are compared first, and the exception
    propagates if they all changed.

    If a MonitoredSession recovers from an error in the block, which initializes or restores the
    variables, the values after that count as the start.

    Args:
      session: a `tf.Session`, `tf.InteractiveSession` or `tf.train.MonitoredSession`.
      scope: a variable scope or its name; selects the statistics in it. None selects all.

    Returns:
      A context manager whose value is the snapshot at the start.

    Raises:
      StatisticsDidNotMove: a statistic is bit-identical at the end of the block.
      BnguardError: there are no running statistics; the session is closed or they are not
        initialized.
    """
    return ReentrantGuard("must_move", lambda: _must_move(GuardedBlock(session, scope)))


def _must_move(block: GuardedBlock) -> ContextManager[RunningStatistics]:
    # What a recovery does to the values, by initializing or restoring them, is no training.
    return block.check_at_end(_check, recreated=block.restart)


def _check(block: GuardedBlock, runs: RecordedRuns) -> Optional[StatisticsDidNotMove]:
    since = f" since its session was re-created {AFTER_ERROR}" if runs.are_of_new_session else ""
    return unmoved(block, runs, _WHERE + since)


def unmoved(block: GuardedBlock, runs: RecordedRuns, where: str) -> Optional[StatisticsDidNotMove]:
    """Return the error about the statistics that have not changed; None if all have.

    Args:
      block: the statistics and their values at the start.
      runs: the steps since then.
      where: the guard that looks, and what it guards.
    """
    difference = compare(block.before, block.current())
    roles = block.before.roles
    names = [
        change.name
        for change in difference.changes
        if change.identical and roles[change.name] not in (AVERAGE, COUNT)
    ]
    if not names:
        return None
    return StatisticsDidNotMove(where, block.diagnosis().explain_unmoved(names, runs))
