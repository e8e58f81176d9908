"""Record the outcome of each guard that a test enters."""

from __future__ import annotations

from typing import Any, Callable, ContextManager, Dict, Optional

from bnguard.errors import BnguardError
from bnguard.guard.block import END_OF_DATA
from bnguard.guard.errors import Moved, StatisticsChanged, StatisticsDidNotMove
from bnguard.statistics.tables import plain


class RecordedGuard:
    """Enter and leave a guard, and record the outcome.

    Args:
      record: takes each check, a JSON object.
      test: the node id of the test.
      fixture: which fixture made the guard.
      scope: the guard's scope.
      guard: the guard.
    """

    def __init__(
        self,
        record: Callable[[Dict[str, Any]], Any],
        test: str,
        fixture: str,
        scope: Any,
        guard: ContextManager[Any],
    ) -> None:
        self._add = record
        self._check = {"test": test, "fixture": fixture, "scope": _name(scope)}
        self._guard = guard

    def __enter__(self) -> Any:
        try:
            return self._guard.__enter__()
        except BnguardError as error:
            self._record("error", message=str(error))
            raise

    def __exit__(self, *exc: Any) -> Optional[bool]:
        try:
            swallowed = self._guard.__exit__(*exc)
        except StatisticsChanged as error:
            self._record("failed", moved=[_moved(one) for one in error.moved])
            raise
        except StatisticsDidNotMove as error:
            self._record("failed", still=[one._asdict() for one in error.still])
            raise
        except BnguardError as error:
            self._record("error", message=str(error))
            raise
        is_judged = exc[0] is None or issubclass(exc[0], END_OF_DATA)  # else the body failed
        self._record("passed" if is_judged else "not judged")
        return swallowed

    def _record(self, outcome: str, **found: Any) -> None:
        self._add({**self._check, "outcome": outcome, **found})


def _name(scope: Any) -> Optional[str]:
    return None if scope is None else str(getattr(scope, "name", scope))


def _moved(one: Moved) -> Dict[str, Any]:
    findings = [finding.to_dict() for finding in one.findings]
    return {
        "variable": one.variable,
        "change": plain(one.change),
        "reshaped": one.reshaped,
        "findings": findings,
    }
