"""What the block guards share: the statistics at both ends of a block, and re-entry."""

from __future__ import annotations

from typing import Any, Callable, ContextManager, List

from bnguard.guard.cause import Auditor
from bnguard.statistics import RunningStatistics, live, sessions


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
        self.statistics = live.find(sessions.graph_of(session), scope)
        self.before = self.now()

    def now(self) -> RunningStatistics:
        """The statistics at this moment."""
        return live.read(self.session, self.statistics)

    def put_back(self) -> None:
        """Give the statistics the values that they had when the block began."""
        live.write(self.session, self.statistics, self.before)

    def auditor(self) -> Auditor:
        """Tells what wrote these statistics, or did not."""
        return Auditor(sessions.graph_of(self.session), self.statistics)


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
