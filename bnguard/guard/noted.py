"""A guard whose outcome is noted on a test, in a form that xdist can send."""

from __future__ import annotations

import json
from typing import Any, ContextManager, Dict, Optional

from bnguard.errors import BnguardError
from bnguard.guard.block import END_OF_DATA
from bnguard.guard.errors import Moved, StatisticsChanged, StatisticsDidNotMove
from bnguard.guard.pytest_plugin import PROPERTY
from bnguard.statistics.render import plain


class Noted:
    """Enters and leaves a guard, and notes the check in the test's `user_properties`, as JSON.

    Args:
      test: the pytest item.
      fixture: which fixture made the guard.
      scope: the guard's scope.
      guard: the guard.
    """

    def __init__(self, test: Any, fixture: str, scope: Any, guard: ContextManager[Any]) -> None:
        self._test = test
        self._check = {"test": test.nodeid, "fixture": fixture, "scope": _name(scope)}
        self._guard = guard

    def __enter__(self) -> Any:
        try:
            return self._guard.__enter__()
        except BnguardError as error:
            self._note("error", message=str(error))
            raise

    def __exit__(self, *exc: Any) -> Optional[bool]:
        try:
            swallowed = self._guard.__exit__(*exc)
        except StatisticsChanged as error:
            self._note("failed", moved=[_moved(one) for one in error.moved])
            raise
        except StatisticsDidNotMove as error:
            self._note("failed", still=[one._asdict() for one in error.still])
            raise
        except BnguardError as error:
            self._note("error", message=str(error))
            raise
        is_judged = exc[0] is None or issubclass(exc[0], END_OF_DATA)  # else the body failed
        self._note("passed" if is_judged else "not judged")
        return swallowed

    def _note(self, outcome: str, **found: Any) -> None:
        check = {**self._check, "outcome": outcome, **found}
        self._test.user_properties.append((PROPERTY, json.dumps(check, allow_nan=False)))


def _name(scope: Any) -> Optional[str]:
    return None if scope is None else str(getattr(scope, "name", scope))


def _moved(one: Moved) -> Dict[str, Any]:
    findings = [finding.as_json() for finding in one.findings]
    return {
        "variable": one.variable,
        "change": plain(one.change),
        "reshaped": one.reshaped,
        "findings": findings,
    }
