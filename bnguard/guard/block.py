"""Compare the running statistics at both ends of a `with` block, and explain the difference."""

from __future__ import annotations

from contextlib import contextmanager
from threading import local
from typing import Any, Callable, ContextManager, Iterator, List, Optional

import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError
from bnguard.guard.diagnosis import Diagnosis
from bnguard.guard.run_recorder import RecordedRuns, record_runs
from bnguard.statistics import RunningStatistics, session_values, sessions
from bnguard.statistics.graph_discovery import mean_of_copies
from bnguard.statistics.scopes import Scope
from bnguard.statistics.sessions import Session

# The exceptions that end a loop over a dataset; `MonitoredSession` swallows both.
END_OF_DATA = (tf.errors.OutOfRangeError, StopIteration)


class GuardedBlock:
    """The running statistics of a session at the start of a block.

    Args:
      session: its graph contains the statistics.
      scope: selects statistics; None selects all.

    Attributes:
      session: as given.
      statistics: the selected statistics, those of each replica of a strategy by themselves.
      before: their values at the start.

    Raises:
      BnguardError: there are no statistics, the session is closed, or they are not initialized.
    """

    def __init__(self, session: Session, scope: Optional[Scope]) -> None:
        self.session = session
        self._joined = session_values.find(sessions.graph_of(session), scope)
        self.statistics = [alone for statistic in self._joined for alone in statistic.on_replicas()]
        self.before = self.current()

    def current(self) -> RunningStatistics:
        """Return the current values of the statistics."""
        return session_values.read(self.session, self.statistics)

    def snapshot(self) -> RunningStatistics:
        """Return the values at the start as `bnguard.snapshot` has them: the mean over replicas."""
        values = {
            statistic.name: mean_of_copies(
                [self.before[alone.name] for alone in statistic.on_replicas()]
            )
            for statistic in self._joined
        }
        return RunningStatistics(self.before.source, values, self.before.roles)

    def restore(self) -> None:
        """Restore the values that the statistics had at the start."""
        session_values.write(self.session, self.statistics, self.before)

    def restart(self) -> None:
        """Take the current values for those at the start."""
        self.before = self.current()

    @contextmanager
    def check_at_end(
        self,
        check: Callable[[GuardedBlock, RecordedRuns], Optional[Exception]],
        recreated: Callable[[], None] = lambda: None,
    ) -> Iterator[RunningStatistics]:
        """Record the runs in a `with` block, and at its end raise the error that `check` returns.

        The check runs if the body completes or ends with the end of the data, which is raised
        again if `check` finds no error. After any other exception there is no check. `recreated` is
        called when a MonitoredSession has recovered from an error, before it repeats the step.
        """
        end: Optional[Exception] = None
        with record_runs(self.session, recreated) as runs:
            try:
                yield self.snapshot()
            except END_OF_DATA as error:
                end = error
        failure = check(self, runs)
        if failure is not None:
            raise failure from end
        if end is not None:
            raise end

    def diagnosis(self) -> Diagnosis:
        """Return a diagnosis of these statistics."""
        return Diagnosis(sessions.graph_of(self.session), self.statistics)


class _Entered(local):
    """The blocks that the current thread has entered and not left."""

    def __init__(self) -> None:
        self.blocks: List[ContextManager[RunningStatistics]] = []


class ReentrantGuard:
    """A context manager that can be entered repeatedly, also inside its own block.

    Each thread leaves the blocks that it entered itself, the innermost first.

    Args:
      name: of the function that makes the guard.
      block: makes the context manager for one entry.
    """

    def __init__(self, name: str, block: Callable[[], ContextManager[RunningStatistics]]) -> None:
        self._name = name
        self._block = block
        self._entered = _Entered()

    def __enter__(self) -> RunningStatistics:
        block = self._block()
        before = block.__enter__()
        self._entered.blocks.append(block)
        return before

    def __exit__(self, *exc: Any) -> Optional[bool]:
        if not self._entered.blocks:
            raise BnguardError(
                f"{self._name}: this thread leaves a block that it has not entered; expected "
                "`with` to enter and leave it. If a generator has the block in it, run and close "
                "the generator in one thread."
            )
        return self._entered.blocks.pop().__exit__(*exc)
