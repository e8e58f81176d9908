"""The guards as pytest fixtures, and a report of all that they checked.

pytest loads this at every start, so all else is imported when a fixture is used.
"""

from __future__ import annotations

import json
from typing import Any, Callable, ContextManager, Dict, List

import pytest

Guard = Callable[..., ContextManager[Any]]
_PROPERTY = "bnguard"  # the user property of a test that holds one check


@pytest.fixture
def frozen_statistics(request: pytest.FixtureRequest) -> Guard:
    """Guard a block: no running statistic may change.

    with frozen_statistics(session, scope=None, on_change="raise"): ...
    """
    from bnguard.guard.frozen import frozen

    def guard(session: Any, scope: Any = None, on_change: str = "raise") -> ContextManager[Any]:
        return _recorded(request, scope, frozen(session, scope, on_change))

    return guard


@pytest.fixture
def moving_statistics(request: pytest.FixtureRequest) -> Guard:
    """Guard a block: every running statistic must change.

    with moving_statistics(session, scope=None): ...
    """
    from bnguard.guard.must_move import must_move

    def guard(session: Any, scope: Any = None) -> ContextManager[Any]:
        return _recorded(request, scope, must_move(session, scope))

    return guard


@pytest.fixture
def statistics_of() -> Callable[..., Any]:
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
        help="write what frozen_statistics and moving_statistics checked to FILE, as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect a report, if one is wanted; under xdist, where the workers' results meet."""
    path = config.getoption("--bnguard-report")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Report(path), "bnguard-report")


def _recorded(
    request: pytest.FixtureRequest, scope: Any, guard: ContextManager[Any]
) -> ContextManager[Any]:
    from bnguard.guard.pytest_record import RecordedGuard

    def record(check: Dict[str, Any]) -> None:
        # As text: xdist sends properties from its workers.
        request.node.user_properties.append((_PROPERTY, json.dumps(check, allow_nan=False)))

    return RecordedGuard(record, request.node.nodeid, str(request.fixturename), scope, guard)


class _Report:
    """Collects what the tests noted, and writes it at the end.

    Raises:
      pytest.UsageError: the file cannot be written; said before any test runs.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._checks: List[Dict[str, Any]] = []
        self._write()  # so that no earlier report outlives a run that crashes

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a test noted, wherever it ran."""
        if report.when == "teardown":
            noted = [value for key, value in report.user_properties if key == _PROPERTY]
            self._checks += [json.loads(str(value)) for value in noted]

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
                "file in a folder that exists."
            ) from error
