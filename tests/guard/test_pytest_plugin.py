"""The pytest plugin: its fixtures in real tests, and the report of their outcomes."""

import configparser
import json
import os
from xml.etree import ElementTree

import pytest
from support.paths import ROOT, TESTS
from support.programs import tf1_programs  # noqa: F401  # TensorFlow can be imported once per process
from support.samples import EVERY

from bnguard.guard import pytest_plugin

pytestmark = pytest.mark.slow

pytest_plugins = ["pytester"]

PROGRAM_TESTS = """
import os

from support.programs import tf1_programs as programs
import pytest


@pytest.fixture(params=["broken", "fixed"])
def program(request):
    build = programs.two_branches if request.param == "broken" else programs.layers
    with programs.session(build=build) as (session, layers):
        yield session, layers


def test_inference(program, frozen_statistics, statistics_of):
    before = statistics_of(program[0])
    with frozen_statistics(program[0], scope="one") as same:
        assert same == statistics_of(program[0], scope="one")
        programs.infer(*program)


def test_training(program, moving_statistics):
    with moving_statistics(program[0]):
        program[0].run(program[1].y, {"x:0": programs.BATCH, "is_training:0": True})


def test_that_raises(program, frozen_statistics):
    with frozen_statistics(program[0]):
        raise ZeroDivisionError


def test_to_the_end_of_the_data(program, frozen_statistics):
    with pytest.raises(StopIteration), frozen_statistics(program[0]):
        next(iter(()))


def test_with_another_directory(program, frozen_statistics, tmp_path):
    os.chdir(str(tmp_path))  # pytest returns to its folder before the report is written
    with frozen_statistics(program[0], on_change="restore"):
        programs.infer(*program)
"""

ERRORS = """
from support.programs import tf1_programs as programs
import pytest


@pytest.fixture
def session():
    with programs.session() as (session, _):
        yield session


@pytest.mark.parametrize("scope", [3, "nosuch"])
def test_bad_scope(session, frozen_statistics, scope):
    with frozen_statistics(session, scope):
        pass


def test_closed(session, moving_statistics):
    with moving_statistics(session):
        session.close()


def test_uninitialized(frozen_statistics):
    with programs.session(initialize=False) as (session, _), frozen_statistics(session):
        pass
"""

MARKED = """
from support.programs import tf1_programs as programs
import pytest


@pytest.fixture(params=["broken", "fixed"])
def layers(request):
    build = programs.two_branches if request.param == "broken" else programs.layers
    with programs.session(build=build) as (session, layers), session.as_default():
        yield layers


def infer(layers):
    layers.y.eval({"x:0": programs.BATCH, "is_training:0": False})


@pytest.mark.frozen_statistics
def test_all(layers):
    infer(layers)


@pytest.mark.frozen_statistics(scope="one")
class TestScope:
    def test_of_the_class(self, layers):
        infer(layers)


@pytest.mark.frozen_statistics(on_change="restore")
def test_restored(layers):
    infer(layers)


@pytest.mark.frozen_statistics
def test_without_a_session():
    pass


@pytest.mark.frozen_statistics("two", tolerance=1)
def test_of_bad_arguments(layers):
    pass
"""

WITHOUT_TENSORFLOW = """
import sys

import pytest

sys.modules["tensorflow"] = None


@pytest.mark.parametrize("name", ["frozen_statistics", "moving_statistics", "statistics_of"])
def test_fixture(request, name):
    request.getfixturevalue(name)
    raise AssertionError


@pytest.mark.frozen_statistics
def test_marker():
    raise AssertionError


def test_that_needs_none():
    pass
"""


@pytest.fixture
def run(request, pytester, monkeypatch):
    """Return a function that runs pytest on tests, in this process."""
    installed = request.config.pluginmanager.has_plugin("bnguard")
    monkeypatch.setenv("PYTHONPATH", ROOT)
    pytester.makeconftest(f"import sys; sys.path.append({TESTS!r})")

    def run(*args, tests=PROGRAM_TESTS):
        pytester.makepyfile(tests)
        plugin = () if installed else ("-p", "bnguard.guard.pytest_plugin")
        others = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")  # they take seconds
        return pytester.inline_run(*plugin, *others, *args)

    return run


def outcomes(path):
    with open(str(path), encoding="utf-8") as file:
        report = json.load(file)
    return report, {
        (check["test"].rpartition("::")[2]): check["outcome"] for check in report["checks"]
    }


EXPECTED = {
    "test_inference[broken]": "failed",
    "test_inference[fixed]": "passed",
    "test_training[broken]": "passed",
    "test_training[fixed]": "failed",
    "test_that_raises[broken]": "not judged",
    "test_that_raises[fixed]": "not judged",
    "test_to_the_end_of_the_data[broken]": "passed",
    "test_to_the_end_of_the_data[fixed]": "passed",
    "test_with_another_directory[broken]": "passed",
    "test_with_another_directory[fixed]": "passed",
}


@pytest.mark.parametrize("workers", [0, 1] if EVERY else [0])
def test_the_report_contains_the_outcome_of_every_guard(run, pytester, workers):
    if workers:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    path = pytester.path / "report.json"
    workers_option = ["-n", str(workers)] if workers else []
    result = run("--bnguard-report=report.json", "--junitxml=junit.xml", *workers_option)
    result.assertoutcome(passed=6, failed=4)
    report, found = outcomes(path)
    assert found == EXPECTED
    assert (report["passed"], report["failed"], report["not judged"]) == (6, 2, 2)
    (moved, _) = report["checks"][0]["moved"]
    assert (moved["variable"], moved["findings"][0]["rule"]) == ("one/moving_mean", "BN101")
    assert moved["change"] == pytest.approx(3.0)
    assert report["checks"][0]["scope"] == "one"
    (unmoved,) = [check["unmoved"] for check in report["checks"] if "unmoved" in check]
    assert len(unmoved) == 4
    assert "no step reaches its update op" in unmoved[0]["reason"]
    check_junit(pytester.path / "junit.xml")


def check_junit(path):
    """Check the properties of each test."""
    found = {
        case.get("name"): {each.get("name"): each.get("value") for each in case.iter("property")}
        for case in ElementTree.parse(str(path)).iter("testcase")
    }
    assert {name: set(properties) for name, properties in found.items()} == {
        name: {f"bnguard.{'moving' if 'training' in name else 'frozen'}_statistics"}
        for name in EXPECTED
    }
    outcomes = {name: next(iter(properties.values())) for name, properties in found.items()}
    moved = ", ".join(f"one/moving_{name} changed" for name in ("mean", "variance"))
    assert outcomes.pop("test_inference[broken]") == f"failed in scope one: {moved}"
    unmoved = outcomes.pop("test_training[fixed]")
    assert unmoved.startswith("failed: one/moving_mean did not move, one/moving_variance did")
    assert outcomes.pop("test_inference[fixed]") == "passed in scope one"
    assert outcomes == {name: EXPECTED[name] for name in outcomes}


def test_the_error_of_a_guard_is_in_the_report(run, pytester):
    run("--bnguard-report=report.json", tests=ERRORS)
    report, found = outcomes(pytester.path / "report.json")
    assert found == dict.fromkeys(
        ["test_bad_scope[3]", "test_bad_scope[nosuch]", "test_closed", "test_uninitialized"],
        "error",
    )
    assert report["error"] == 4
    messages = {check["test"].rpartition("::")[2]: check["message"] for check in report["checks"]}
    assert "scope: got 3; expected a variable scope or its name" in messages["test_bad_scope[3]"]
    assert "in scope 'nosuch'" in messages["test_bad_scope[nosuch]"]
    assert "the session is closed" in messages["test_closed"]
    assert "not initialized" in messages["test_uninitialized"]


def test_the_marker_guards_the_default_session_of_a_test(run, pytester, capsys):
    result = run("--bnguard-report=report.json", "--strict-markers", tests=MARKED)
    result.assertoutcome(passed=4, failed=5)
    report, found = outcomes(pytester.path / "report.json")
    assert found == {
        "test_all[broken]": "failed",
        "test_all[fixed]": "passed",
        "test_of_the_class[broken]": "failed",
        "test_of_the_class[fixed]": "passed",
        "test_restored[broken]": "passed",
        "test_restored[fixed]": "passed",
    }
    assert {check["fixture"] for check in report["checks"]} == {"@frozen_statistics"}
    assert [check["scope"] for check in report["checks"]] == ["one"] * 2 + [None] * 4
    text = capsys.readouterr().out
    assert "@pytest.mark.frozen_statistics: there is no default session when the test st" in text
    assert "@pytest.mark.frozen_statistics: got two, tolerance; expected scope=... and" in text
    assert "when y:0 with is_training:0=False is fetched" in text


def test_without_tensorflow_each_guard_skips_in_one_line(request, pytester, monkeypatch):
    installed = request.config.pluginmanager.has_plugin("bnguard")
    monkeypatch.setenv("PYTHONPATH", ROOT)
    pytester.makepyfile(WITHOUT_TENSORFLOW)
    plugin = () if installed else ("-p", "bnguard.guard.pytest_plugin")
    result = pytester.runpytest_subprocess(*plugin, "-rs", "-p", "no:hypothesispytest")
    result.assert_outcomes(passed=1, skipped=4)
    reason = "TensorFlow (1.15 to 2.21) is not installed, and this needs it. Install it with: "
    skips = [line for line in result.outlines if line.startswith("SKIPPED")]
    assert skips
    assert all(f"{reason}pip install 'bnguard[tf]'" in line for line in skips)


def test_an_older_report_is_overwritten_at_the_start(tmp_path):
    class Config:
        pluginmanager = pytest.PytestPluginManager()

        def addinivalue_line(self, name, line):
            pass

        def getoption(self, name):
            return str(tmp_path / "report.json")

    (tmp_path / "report.json").write_text("an older report")
    pytest_plugin.pytest_configure(Config())
    report, _ = outcomes(tmp_path / "report.json")
    assert report["checks"] == []


def test_the_package_declares_the_plugin():
    setup = configparser.ConfigParser()
    setup.read(os.path.join(ROOT, "setup.cfg"))
    (line,) = setup["options.entry_points"]["pytest11"].split("\n")[1:]
    name, _, module = line.partition(" = ")
    assert (name, module) == ("bnguard", pytest_plugin.__name__)


def test_a_failing_test_shows_the_message_of_the_guard(run, capsys):
    run("-k", "test_inference")
    text = capsys.readouterr().out
    assert "2 running statistics changed by up to 26.5" in text
    assert "when y:0 with is_training:0=False is fetched" in text


def test_pytest_lists_the_fixtures(run, capsys):
    run("--fixtures", "-q")
    text = capsys.readouterr().out
    for fixture in ("frozen_statistics", "moving_statistics", "statistics_of"):
        assert fixture in text
    assert "no running statistic may change" in text


def test_a_report_that_cannot_be_written_is_a_usage_error(run, pytester, capsys):
    path = pytester.path / "none" / "report.json"
    result = run(f"--bnguard-report={path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--bnguard-report={path}: cannot be written" in capsys.readouterr().err


def test_no_report_is_written_without_the_option(run, pytester):
    run("-k", "test_inference")
    assert not list(pytester.path.glob("*.json"))


def test_an_xdist_worker_writes_no_report(tmp_path):
    class Config:
        workerinput = None

        def addinivalue_line(self, name, line):
            pass

        def getoption(self, name):
            return str(tmp_path / "report.json")

    pytest_plugin.pytest_configure(Config())
    assert not list(tmp_path.iterdir())
