"""The guards as pytest fixtures, and a report of their outcomes.

pytest loads this module at every start, so the guards are imported when a fixture is first used.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Dict, List, Optional

import pytest

if TYPE_CHECKING:
    from bnguard.statistics import RunningStatistics
    from bnguard.statistics.scopes import Scope
    from bnguard.statistics.sessions import Session

Guard = Callable[..., ContextManager["RunningStatistics"]]
_PROPERTY = "bnguard"  # the user property of a test that contains the outcome of a guard


@pytest.fixture
def frozen_statistics(request: pytest.FixtureRequest) -> Guard:
    """Guard a block: no running statistic may change.

    with frozen_statistics(session, scope=None, on_change="raise"): ...
    """
    from bnguard.guard.frozen import frozen

    def guard(
        session: Session, scope: Optional[Scope] = None, on_change: str = "raise"
    ) -> ContextManager[RunningStatistics]:
        return _recorded(request, scope, frozen(session, scope, on_change))

    return guard


@pytest.fixture
def moving_statistics(request: pytest.FixtureRequest) -> Guard:
    """Guard a block: every running statistic must change.

    with moving_statistics(session, scope=None): ...
    """
    from bnguard.guard.must_move import must_move

    def guard(session: Session, scope: Optional[Scope] = None) -> ContextManager[RunningStatistics]:
        return _recorded(request, scope, must_move(session, scope))

    return guard


@pytest.fixture
def statistics_of() -> Callable[..., RunningStatistics]:
    """Take a snapshot of running statistics.

    statistics_of(session_or_checkpoint, scope=None)
    """
    from bnguard.statistics import snapshot

    return snapshot


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --bnguard-report."""
    group = parser.getgroup("bnguard", "running statistics of batch normalization")
    group.addoption(
        "--bnguard-report",
        metavar="FILE",
        help="write the outcome of each frozen_statistics and moving_statistics guard to FILE, "
        "as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect a report if one is requested; under xdist, in the controller only."""
    path = config.getoption("--bnguard-report")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Report(path), "bnguard-report")


def _recorded(
    request: pytest.FixtureRequest, scope: Optional[Scope], guard: ContextManager[RunningStatistics]
) -> ContextManager[RunningStatistics]:
    from bnguard.guard.pytest_record import RecordedGuard

    def record(check: Dict[str, Any]) -> None:
        # As text, because xdist sends properties from its workers.
        request.node.user_properties.append((_PROPERTY, json.dumps(check, allow_nan=False)))

    return RecordedGuard(record, request.node.nodeid, str(request.fixturename), scope, guard)


class _Report:
    """Collect the outcomes of all guards, and write them at the end of the session.

    Raises:
      pytest.UsageError: the file cannot be written; raised before any test runs.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._checks: List[Dict[str, Any]] = []
        self._write()  # so that no older report remains after a crash

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the outcomes of a test, from any worker."""
        if report.when == "teardown":
            recorded = [value for key, value in report.user_properties if key == _PROPERTY]
            self._checks += [json.loads(str(value)) for value in recorded]

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        self._write()

    def _write(self) -> None:
        checks = sorted(self._checks, key=lambda check: check["test"])
        outcomes = [check["outcome"] for check in checks]
        counts = {
            name: outcomes.count(name) for name in ("passed", "failed", "error", "not judged")
        }
        try:
            with open(self._path, "w", encoding="utf-8") as file:
                json.dump({**counts, "checks": checks}, file, indent=2, allow_nan=False)
        except OSError as error:
            raise pytest.UsageError(
                f"--bnguard-report={self._path}: cannot be written ({error.strerror}); expected a "
                "file in an existing folder."
            ) from error
