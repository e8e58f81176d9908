"""Record the outcome of each guard that a test enters."""

from __future__ import annotations

from typing import Any, Callable, ContextManager, Dict, Optional

from bnguard.errors import BnguardError
from bnguard.guard.block import END_OF_DATA
from bnguard.guard.errors import Moved, StatisticsChanged, StatisticsDidNotMove, Unmoved
from bnguard.runtime.tables import json_value
from bnguard.statistics import RunningStatistics
from bnguard.statistics.scopes import Scope


class RecordedGuard:
    """A guard that records its outcome.

    Args:
      record: receives the outcome, a JSON object.
      test: the node id of the test.
      fixture: the fixture that made the guard, or the marker, with an @ before its name.
      scope: the guard's scope.
      guard: the guard.
    """

    def __init__(
        self,
        record: Callable[[Dict[str, Any]], Any],
        test: str,
        fixture: str,
        scope: Optional[Scope],
        guard: ContextManager[RunningStatistics],
    ) -> None:
        self._add = record
        self._check = {"test": test, "fixture": fixture, "scope": _name(scope)}
        self._guard = guard

    def __enter__(self) -> RunningStatistics:
        try:
            return self._guard.__enter__()
        except BnguardError as error:
            self._record("error", message=str(error))
            raise

    def __exit__(self, *exc: Any) -> Optional[bool]:
        try:
            swallowed = self._guard.__exit__(*exc)
        except StatisticsChanged as error:
            self._record("failed", moved=[_to_dict(variable) for variable in error.moved])
            raise
        except StatisticsDidNotMove as error:
            self._record("failed", unmoved=list(map(_unmoved_to_dict, error.unmoved)))
            raise
        except BnguardError as error:
            self._record("error", message=str(error))
            raise
        is_judged = exc[0] is None or issubclass(exc[0], END_OF_DATA)  # else the body failed
        self._record("passed" if is_judged else "not judged")
        return swallowed

    def _record(self, outcome: str, **details: Any) -> None:
        self._add({**self._check, "outcome": outcome, **details})


def in_words(check: Dict[str, Any]) -> str:
    """Return an outcome as one line, for people."""
    scope = f" in scope {check['scope']}" if check["scope"] is not None else ""
    details = [
        *(f"{variable['variable']} changed" for variable in check.get("moved", ())),
        *(f"{variable['variable']} did not move" for variable in check.get("unmoved", ())),
        *([check["message"]] if "message" in check else []),
    ]
    return f"{check['outcome']}{scope}" + (f": {', '.join(details)}" if details else "")


def _name(scope: Optional[Scope]) -> Optional[str]:
    return None if scope is None else str(getattr(scope, "name", scope))


def _to_dict(variable: Moved) -> Dict[str, Any]:
    return {
        "variable": variable.variable,
        "change": json_value(variable.change),
        "reshaped": variable.reshaped,
        "findings": [finding.to_dict() for finding in variable.findings],
    }


def _unmoved_to_dict(variable: Unmoved) -> Dict[str, Any]:
    location = variable.location and variable.location.to_dict()
    return {**variable._asdict(), "ops": list(variable.ops), "location": location}
