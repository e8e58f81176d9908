"""The guards as pytest fixtures and as a marker, and a report of their outcomes.

pytest loads this module at every start, so the guards are imported when a fixture is first used.
"""

from __future__ import annotations

from functools import wraps
import json
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ContextManager,
    Dict,
    Generator,
    Iterator,
    List,
    Optional,
)

import pytest

if TYPE_CHECKING:
    from bnguard.statistics import RunningStatistics
    from bnguard.statistics.scopes import Scope
    from bnguard.statistics.sessions import Session

Guard = Callable[..., ContextManager["RunningStatistics"]]
_MARKER = "frozen_statistics"
_OPTIONS = ("scope", "on_change")  # of the marker
_CHECKS = pytest.StashKey[List[str]]()  # the outcomes of a test's guards, as JSON


@pytest.fixture
def frozen_statistics(request: pytest.FixtureRequest) -> Guard:
    """Guard a block: no running statistic may change.

    with frozen_statistics(session, scope=None, on_change="raise"): ...
    """
    _skip_without_tensorflow()
    from bnguard.guard.frozen import frozen

    def guard(
        session: Session, scope: Optional[Scope] = None, on_change: str = "raise"
    ) -> ContextManager[RunningStatistics]:
        guarded = frozen(session, scope, on_change)
        return _recorded(request.node, "frozen_statistics", scope, guarded)

    return guard


@pytest.fixture
def moving_statistics(request: pytest.FixtureRequest) -> Guard:
    """Guard a block: every running statistic must change.

    with moving_statistics(session, scope=None): ...
    """
    _skip_without_tensorflow()
    from bnguard.guard.must_move import must_move

    def guard(session: Session, scope: Optional[Scope] = None) -> ContextManager[RunningStatistics]:
        return _recorded(request.node, "moving_statistics", scope, must_move(session, scope))

    return guard


@pytest.fixture
def statistics_of() -> Callable[..., RunningStatistics]:
    """Take a snapshot of running statistics.

    statistics_of(session_or_checkpoint, scope=None)
    """
    _skip_without_tensorflow()
    from bnguard.statistics import snapshot

    return snapshot


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --bnguard-report."""
    group = parser.getgroup("bnguard", "running statistics of batch normalization")
    group.addoption(
        "--bnguard-report",
        metavar="FILE",
        help="write the outcome of each frozen_statistics and moving_statistics guard to FILE, "
        "as JSON; --junitxml has it too, as a property of the test",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and collect a report if one is requested.

    Under xdist, the report is collected in the controller only.
    """
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(scope=None, on_change='raise'): fail the test if it changes a running "
        "statistic of the session that is the default when the test starts",
    )
    path = config.getoption("--bnguard-report")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Report(path), "bnguard-report")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Run a test with the marker in a guard."""
    marker = item.get_closest_marker(_MARKER)
    if marker is None or not isinstance(item, pytest.Function):
        yield
        return
    test = item.obj
    item.obj = _guarded(item, marker)
    yield
    item.obj = test


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, None]:
    """Attach the outcomes of a test's guards to its report, which xdist sends to the controller."""
    outcome = yield
    if call.when == "teardown" and _CHECKS in item.stash:
        outcome.get_result().bnguard_checks = item.stash[_CHECKS]


def _guarded(item: pytest.Function, marker: pytest.Mark) -> Callable[..., Any]:
    """Return the function of a test that runs it in a guard on the default session."""
    test = item.obj

    @wraps(test)
    def guarded(*args: Any, **kw: Any) -> Any:
        __tracebackhide__ = True
        _skip_without_tensorflow()
        import tensorflow.compat.v1 as tf

        from bnguard.guard.frozen import frozen

        session = tf.get_default_session()
        unknown = [str(name) for name in (*marker.args, *marker.kwargs) if name not in _OPTIONS]
        if unknown:
            _fail(f"got {', '.join(unknown)}; expected scope=... and on_change=...")
        if session is None:
            _fail(
                "there is no default session when the test starts; expected one of a fixture. "
                "Let a fixture yield inside `with tf.Session() as session:`, or guard a session "
                "that the test opens with the fixture of the same name."
            )
        scope = marker.kwargs.get("scope")
        with _recorded(item, f"@{_MARKER}", scope, frozen(session, **marker.kwargs)):
            return test(*args, **kw)

    return guarded


def _fail(problem: str) -> None:
    pytest.fail(f"@pytest.mark.{_MARKER}: {problem}", pytrace=False)


def _skip_without_tensorflow() -> None:
    from bnguard.errors import BnguardError
    from bnguard.runtime.requirements import require

    try:
        require(["tensorflow", "numpy"], extra="tf")
    except BnguardError as error:
        pytest.skip(str(error))


def _recorded(
    item: pytest.Item, name: str, scope: Optional[Scope], guard: ContextManager[RunningStatistics]
) -> ContextManager[RunningStatistics]:
    from bnguard.guard.pytest_record import RecordedGuard, in_words

    def record(check: Dict[str, Any]) -> None:
        checks = item.stash.setdefault(_CHECKS, [])
        checks.append(json.dumps(check, allow_nan=False))
        item.user_properties.append((f"bnguard.{name.lstrip('@')}", in_words(check)))

    return RecordedGuard(record, item.nodeid, name, scope, guard)


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
        self._checks += map(json.loads, getattr(report, "bnguard_checks", ()))

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
