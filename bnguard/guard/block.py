"""What the block guards share: the statistics at both ends of a block, and re-entry."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, ContextManager, Iterator, List, Optional

import tensorflow.compat.v1 as tf

from bnguard.guard.diagnosis import Diagnosis
from bnguard.guard.run_recorder import RecordedRuns, record_runs
from bnguard.statistics import RunningStatistics, session_values, sessions

# How a loop over a dataset ends; `MonitoredSession` swallows both.
END_OF_DATA = (tf.errors.OutOfRangeError, StopIteration)


class Block:
    """The running statistics of a session when a block began, and now.

    Args:
      session: the session whose graph holds them.
      scope: which of them; None: all.

    Raises:
      BnguardError: there are none there; the session is closed or they have no values yet.
    """

    def __init__(self, session: Any, scope: Any) -> None:
        self.session = session
        self.statistics = session_values.find(sessions.graph_of(session), scope)
        self.before = self.now()

    def now(self) -> RunningStatistics:
        """The statistics at this moment."""
        return session_values.read(self.session, self.statistics)

    def put_back(self) -> None:
        """Give the statistics the values that they had when the block began."""
        session_values.write(self.session, self.statistics, self.before)

    @contextmanager
    def judged(
        self, judge: Callable[[Block, RecordedRuns], Optional[Exception]]
    ) -> Iterator[RunningStatistics]:
        """Record the steps of a `with` block, and raise at its end what `judge` makes of them.

        The end of the data is an end like any other, and goes on where there is nothing to
        raise. Any other exception of the block goes on, and nothing is judged.
        """
        end: Optional[Exception] = None
        with record_runs(self.session) as steps:
            try:
                yield self.before
            except END_OF_DATA as error:
                end = error
        verdict = judge(self, steps)
        if verdict is not None:
            raise verdict from end
        if end is not None:
            raise end

    def diagnosis(self) -> Diagnosis:
        """Tells what wrote these statistics, or did not."""
        return Diagnosis(sessions.graph_of(self.session), self.statistics)


class Reentrant:
    """A context manager that may be entered again, also inside its own block.

    Args:
      block: makes the context manager for one entry.
    """

    def __init__(self, block: Callable[[], ContextManager[RunningStatistics]]) -> None:
        self._block = block
        self._entered: List[ContextManager[RunningStatistics]] = []

    def __enter__(self) -> RunningStatistics:
        block = self._block()
        before = block.__enter__()
        self._entered.append(block)
        return before

    def __exit__(self, *exc: Any) -> Any:
        return self._entered.pop().__exit__(*exc)
