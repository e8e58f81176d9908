"""Watch the sessions of a program: count each distinct step, and stop it if it must not run."""

from __future__ import annotations

import os
import sys
import threading
from types import FrameType
from typing import Any, Dict, Iterator, Optional, Sequence
import weakref

from bnguard.analysis.findings import ERROR, Finding, Frame, Location
from bnguard.analysis.formatters.lines import count
from bnguard.analysis.frontend.source_lines import user_location
from bnguard.analysis.rules.rule import Rule
from bnguard.errors import BnguardError
from bnguard.watch.report import WatchReport
from bnguard.watch.session_hooks import SessionHooks

_MAX_GRAPHS = 20  # graphs that are watched, because they are kept until the program ends


class Watcher:
    """The steps of a program's sessions.

    Args:
      rules: the rules to apply.
      stops: whether to raise SystemExit before a step with an error runs.
      steps: the number of steps after which the program is no longer watched; None for all.
      keeps_calls: whether to keep when each step was called.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        stops: bool,
        steps: Optional[int],
        keeps_calls: bool = False,
    ) -> None:
        self.hooks = SessionHooks(self.observe)
        self._rules = rules
        self._codes = {rule.code for rule in rules}
        self._stops = stops
        self._keeps_calls = keeps_calls
        self._steps = sys.maxsize if steps is None else steps
        self._left = self._steps
        self._graphs: Dict[Any, Any] = {}
        self._notes: Dict[str, None] = {}
        self._is_complete = True
        self._lock = threading.RLock()
        _end_in_child(self)

    def report(self, source: str, with_timeline: bool = False) -> WatchReport:
        """Return the report on all steps so far."""
        with self._lock:
            self.end()
            graphs = []
            for number, watch in enumerate(self._graphs.values(), start=1):
                label = source if len(self._graphs) == 1 else f"{source}, graph {number}"
                try:
                    graphs.append(watch.report(label, self._rules, with_timeline))
                except Exception as error:  # the program has a status of its own
                    self._notes.setdefault(f"{label} was not judged: {_in_words(error)}")
            nothing = [] if self._graphs else [_nothing_to_watch()]
            is_complete = self._is_complete and len(graphs) == len(self._graphs)
            return WatchReport(tuple(graphs), (*nothing, *self._notes), is_complete)

    def observe(self, session: Any, fetches: Any, feed: Any) -> None:
        """Count a step that is about to run; end the program or the thread if it must not."""
        if self._left <= 0:
            return
        with self._lock:
            self._left -= 1
            if self._left <= 0 and not self._take_last_step():
                return
            try:
                watch = self._graphs.get(session.graph) or self._new_watch(session.graph)
                step = watch and watch.count(fetches, feed, _location_of_call)
                if step is None or not self._stops:
                    return
                if step.count == 1:
                    step.has_error = any(map(self._is_error, watch.findings(step.run_key)))
            except Exception as error:  # which must not reach the program
                self._is_complete = False
                self._notes.setdefault(f"a step was not judged: {_in_words(error)}")
                return
            if step.has_error:
                self._notes.setdefault(f"stopped before this step ran: {step.run_key}")
                raise SystemExit(1)

    def _take_last_step(self) -> bool:
        """End watching with this step; return False if another thread has taken the last."""
        if self._left < 0:
            return False
        self.hooks.remove()
        self._notes.setdefault(f"only the first {count(self._steps, 'step')} were watched")
        return True

    def end(self) -> None:
        """Watch no further step."""
        self._left = 0

    def _new_watch(self, graph: Any) -> Any:
        """Return the watch on a graph that had no step before; None if there are too many."""
        if len(self._graphs) >= _MAX_GRAPHS:
            self._notes.setdefault(f"only the first {_MAX_GRAPHS} graphs were watched")
            return None
        from bnguard.watch.graph_watch import GraphWatch

        return self._graphs.setdefault(graph, GraphWatch(graph, self._keeps_calls))

    def _is_error(self, finding: Finding) -> bool:
        return finding.severity == ERROR and finding.certain and finding.rule in self._codes


def _end_in_child(watcher: Watcher) -> None:
    """Let a forked child of this process end the watching, without keeping the watcher alive."""
    reference = weakref.ref(watcher)

    def end() -> None:
        kept = reference()
        if kept is not None:
            kept.end()

    os.register_at_fork(after_in_child=end)


def _location_of_call() -> Optional[Location]:
    """Return where the program called the step that is being observed."""
    return user_location(reversed(list(_stack(sys._getframe(1)))))


def _stack(frame: Optional[FrameType]) -> Iterator[Frame]:
    while frame is not None:
        code = frame.f_code
        yield Frame(code.co_filename, frame.f_lineno, code.co_name, "")
        frame = frame.f_back


def _in_words(error: Exception) -> str:
    is_known = isinstance(error, BnguardError)
    return str(error) if is_known else f"{type(error).__name__}: {error}"


def _nothing_to_watch() -> str:
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        return "nothing to watch: the program did not import TensorFlow"
    executing_eagerly = getattr(tensorflow, "executing_eagerly", None)
    if executing_eagerly is not None and executing_eagerly():
        return "nothing to watch: TensorFlow ran eagerly, without a session"
    return "nothing to watch: the program ran no step of a session"
