"""`must_move`: in this block training has to move every running statistic."""

from __future__ import annotations

from typing import Any, ContextManager, Optional

from bnguard.guard.block import Block, Reentrant
from bnguard.guard.errors import StatisticsDidNotMove
from bnguard.guard.run_recorder import RecordedRuns
from bnguard.statistics import RunningStatistics
from bnguard.statistics.difference import compare
from bnguard.statistics.names import COUNT

_WHERE = "must_move: running statistics stayed bit-identical in a block that has to move them"


def must_move(session: Any, scope: Any = None) -> ContextManager[RunningStatistics]:
    """A block in which every running statistic has to change: training, once at least.

        with bnguard.must_move(session):
            session.run(train_op, {x: batch, is_training: True})

    What counts updates need not change: a large float comes to rest.

    Costs a snapshot at each end, and adds no op. It nests, and one object may be entered
    again inside its own block. An exception of the body goes on as it is, and nothing is judged;
    but the end of the data, `OutOfRangeError` or `StopIteration`, is an end like any other.

    Args:
      session: a `tf.Session`, `tf.InteractiveSession` or `tf.train.MonitoredSession`.
      scope: a variable scope or its name; only the statistics inside count. None: all.

    Returns:
      A context manager whose value is the snapshot at the start.

    Raises:
      StatisticsDidNotMove: a statistic is bit-identical at the end of the block.
      BnguardError: there are no running statistics there; the session is closed or they have
        no values yet.
    """
    return Reentrant(lambda: Block(session, scope).judged(_stillness))


def _stillness(block: Block, steps: RecordedRuns) -> Optional[StatisticsDidNotMove]:
    difference = compare(block.before, block.now())
    roles = block.before.roles
    still = [one.name for one in difference.changes if one.identical and roles[one.name] != COUNT]
    if not still:
        return None
    return StatisticsDidNotMove(_WHERE, block.diagnosis().explain_stillness(still, steps))
