"""`frozen`: in this block nothing may change the running statistics."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import Any, ContextManager, Iterator, Optional
import warnings

import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError
from bnguard.guard.block import Block, Reentrant
from bnguard.guard.errors import StatisticsChanged
from bnguard.guard.run_recorder import RecordedRuns
from bnguard.statistics import RunningStatistics, session_values
from bnguard.statistics.difference import compare

_WHERE = "frozen: running statistics changed in a block that may change none"
_ON_CHANGE = ("raise", "warn", "restore")


def frozen(
    session: Any, scope: Any = None, on_change: str = "raise"
) -> ContextManager[RunningStatistics]:
    """A block in which no running statistic may change.

        with bnguard.frozen(session):
            session.run(y, {x: batch, is_training: False})

    Costs a snapshot at each end, and adds no op. It nests, and one object may be entered
    again inside its own block. An exception of the body goes on as it is; then nothing is
    raised about statistics. Only where the data end, with `OutOfRangeError` or
    `StopIteration`, the block is judged as at any end.

    Args:
      session: a `tf.Session`, `tf.InteractiveSession` or `tf.train.MonitoredSession`.
      scope: a variable scope or its name; only the statistics inside count. None: all.
      on_change: `raise` raises `StatisticsChanged` at the end of the block; `warn` warns
        with its message; `restore` puts the values back, also where the body failed, and is
        silent.

    Returns:
      A context manager whose value is the snapshot at the start.

    Raises:
      StatisticsChanged: a statistic is not bit-identical at the end of the block.
      BnguardError: there are no running statistics there; the session is closed or they have
        no values yet; `on_change` is none of the three, or cannot put a variable back.
    """
    if on_change not in _ON_CHANGE:
        raise BnguardError(
            f"on_change: got {on_change!r}; expected one of {', '.join(_ON_CHANGE)}."
        )
    return Reentrant(lambda: _frozen(session, scope, on_change))


def _frozen(session: Any, scope: Any, on_change: str) -> ContextManager[RunningStatistics]:
    block = Block(session, scope)
    if on_change == "restore":
        session_values.check_writable(block.statistics)
        return _restored(block)
    return block.judged(_warn if on_change == "warn" else _changes)


@contextmanager
def _restored(block: Block) -> Iterator[RunningStatistics]:
    try:
        yield block.before
    except BaseException:
        with suppress(BnguardError, tf.errors.OpError):  # the session may be what failed
            block.put_back()
        raise
    if block.now() != block.before:
        block.put_back()


def _changes(block: Block, steps: RecordedRuns) -> Optional[StatisticsChanged]:
    after = block.now()
    if after == block.before:
        return None
    moved = block.diagnosis().explain_changes(compare(block.before, after), steps)
    return StatisticsChanged(_WHERE, moved)


def _warn(block: Block, steps: RecordedRuns) -> None:
    error = _changes(block, steps)
    if error is not None:
        warnings.warn(str(error), RuntimeWarning, stacklevel=5)  # where the block ends
