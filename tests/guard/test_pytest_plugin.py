"""The pytest plugin: its fixtures in tests of their own, and the report of what they checked."""

import configparser
import json
import os

import pytest
from support.paths import ROOT, TESTS
from support.programs import tf1_programs  # noqa: F401  # no process can import TensorFlow twice

from bnguard.guard import pytest_plugin

pytest_plugins = ["pytester"]

PROGRAM_TESTS = """
import os

from support.programs import tf1_programs as programs
import pytest


@pytest.fixture(params=["broken", "mended"])
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


def test_that_fails_by_itself(program, frozen_statistics):
    with frozen_statistics(program[0]):
        raise ZeroDivisionError


def test_to_the_end_of_the_data(program, frozen_statistics):
    with pytest.raises(StopIteration), frozen_statistics(program[0]):
        next(iter(()))


def test_with_another_directory(program, frozen_statistics, tmp_path):
    os.chdir(str(tmp_path))  # pytest goes back before the report is written
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


@pytest.fixture
def run(request, pytester, monkeypatch):
    """Run pytest on tests in this process."""
    installed = request.config.pluginmanager.has_plugin("bnguard")
    monkeypatch.setenv("PYTHONPATH", ROOT)
    pytester.makeconftest(f"import sys; sys.path.append({TESTS!r})")

    def run(*args, tests=PROGRAM_TESTS):
        pytester.makepyfile(tests)
        plugin = () if installed else ("-p", "bnguard.guard.pytest_plugin")
        others = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")  # which take seconds
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
    "test_inference[mended]": "passed",
    "test_training[broken]": "passed",
    "test_training[mended]": "failed",
    "test_that_fails_by_itself[broken]": "not judged",
    "test_that_fails_by_itself[mended]": "not judged",
    "test_to_the_end_of_the_data[broken]": "passed",
    "test_to_the_end_of_the_data[mended]": "passed",
    "test_with_another_directory[broken]": "passed",
    "test_with_another_directory[mended]": "passed",
}


@pytest.mark.parametrize("workers", [0, 1])
def test_the_report_holds_every_check(run, pytester, workers):
    if workers:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    path = pytester.path / "report.json"
    result = run("--bnguard-report=report.json", *(["-n", str(workers)] if workers else []))
    result.assertoutcome(passed=6, failed=4)
    report, found = outcomes(path)
    assert found == EXPECTED
    assert (report["passed"], report["failed"], report["not judged"]) == (6, 2, 2)
    (moved, _) = report["checks"][0]["moved"]
    assert (moved["variable"], moved["findings"][0]["rule"]) == ("one/moving_mean", "BN101")
    assert moved["change"] == pytest.approx(3.0)
    assert report["checks"][0]["scope"] == "one"
    (still,) = [check["still"] for check in report["checks"] if "still" in check]
    assert len(still) == 4
    assert "no step reaches its update op" in still[0]["reason"]


def test_a_guard_that_cannot_judge_is_in_the_report(run, pytester):
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
    assert "no value yet" in messages["test_uninitialized"]


def test_no_earlier_report_outlives_a_run_that_crashes(tmp_path):
    class Config:
        pluginmanager = pytest.PytestPluginManager()

        def getoption(self, name):
            return str(tmp_path / "report.json")

    (tmp_path / "report.json").write_text("of an earlier run")
    pytest_plugin.pytest_configure(Config())
    report, _ = outcomes(tmp_path / "report.json")
    assert report["checks"] == []


def test_installed_it_is_a_plugin():
    root = ROOT
    setup = configparser.ConfigParser()
    setup.read(os.path.join(root, "setup.cfg"))
    (line,) = setup["options.entry_points"]["pytest11"].split("\n")[1:]
    name, _, module = line.partition(" = ")
    assert (name, module) == ("bnguard", pytest_plugin.__name__)


def test_a_failing_test_says_what_the_guard_says(run, capsys):
    run("-k", "test_inference")
    text = capsys.readouterr().out
    assert "one/moving_mean changed by up to 3" in text
    assert "when y:0 with is_training:0=False is fetched" in text


def test_the_fixtures_are_listed(run, capsys):
    run("--fixtures", "-q")
    text = capsys.readouterr().out
    for fixture in ("frozen_statistics", "moving_statistics", "statistics_of"):
        assert fixture in text
    assert "no running statistic may change" in text


def test_a_report_that_cannot_be_written_is_said_at_once(run, pytester, capsys):
    path = pytester.path / "none" / "report.json"
    result = run(f"--bnguard-report={path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--bnguard-report={path}: cannot be written" in capsys.readouterr().err


def test_without_the_option_nothing_is_written(run, pytester):
    run("-k", "test_inference")
    assert not list(pytester.path.glob("*.json"))


def test_a_worker_of_xdist_writes_no_report_of_its_own(tmp_path):
    class Config:
        workerinput = None

        def getoption(self, name):
            return str(tmp_path / "report.json")

    pytest_plugin.pytest_configure(Config())
    assert not list(tmp_path.iterdir())
