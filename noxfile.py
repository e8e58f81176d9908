"""The whole suite on every TensorFlow of the matrix, one environment at a time: `make matrix`.

`nox --list` names the sessions, `nox --session "matrix(3.11-tf2.21.0)"` runs one. A session makes
its environment, writes tools/version_matrix/results/NAME.json and docs/matrix.md, and deletes the
environment.
The interpreters must be on PATH; a missing one fails the run, and is recorded as not run.
"""

import configparser
import json
import pathlib
import re
import shutil
import subprocess
import sys

import nox

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "venv"  # virtualenv makes no environments for 3.7 any more
nox.options.error_on_missing_interpreters = True
nox.options.download_python = "never"

HERE = pathlib.Path(__file__).parent
EXTRAS = "options.extras_require"
ENVIRONMENTS = json.loads(
    (HERE / "tools" / "version_matrix" / "environments.json").read_text(encoding="utf-8")
)


@nox.session(python=False, default=True)
def interpreters(session):
    """Record environments whose interpreter is not on PATH as not run, and fail if there are."""
    missing = [
        environment for environment in ENVIRONMENTS if not _starts(f"python{environment['python']}")
    ]
    for environment in missing:
        reason = f"python{environment['python']} is not on PATH"
        session.warn(f"{environment['name']}: NOT RUN, {reason}")
        _record_as_not_run(session, environment, reason)
    if missing:
        session.error(f"{len(missing)} environments of the matrix cannot run: see above")


@nox.session(default=True)
@nox.parametrize(
    "python,environment",
    [
        nox.param(environment["python"], environment, id=environment["name"])
        for environment in ENVIRONMENTS
    ],
)
def matrix(session, environment):
    """Run the probes, the cases and the suite in an environment; record them; delete it."""
    bare, more = environment["bare"], environment["more"]
    if environment["name"] == "lowest":
        bare = [*bare, *_lowest("options", "install_requires"), *_lowest(EXTRAS, "test")]
    record = ("python", "tools/version_matrix/record.py", str(_result(environment)))
    _record_as_not_run(session, environment, "it began, and did not end")
    try:
        session.install("--upgrade", "pip")
        session.install(*bare)
        session.run(*record, "offers")
        session.install("--editable", ".[test]", *bare, *more)
        for part in ("offers-with-keras", "cases", "suite"):
            session.run(*record, part)
    finally:
        shutil.rmtree(session.virtualenv.location)
    _fail_if_any_did(session, json.loads(_result(environment).read_text(encoding="utf-8")))


def _starts(python):
    """Whether there is such a program that runs: a shim of pyenv's alone is none."""
    try:
        return subprocess.run([python, "--version"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _record_as_not_run(session, environment, reason):
    _result(environment).write_text(json.dumps({"not run": reason}) + "\n", encoding="utf-8")
    session.run(sys.executable, "tools/version_matrix/page.py", external=True)


def _fail_if_any_did(session, result):
    failed = list(result["suite"]["failed"])
    for combination, cases in result["cases"].items():
        for case, sides in cases.items():
            # TensorFlow may refuse to build the defect, but not its fix.
            may_be_refused = {"repro": True, "fixed": False}
            wrong = [
                side for side, may in may_be_refused.items() if not sides[side].get("shown", may)
            ]
            failed.extend(f"{side}/{case}.py: not shown with {combination}" for side in wrong)
    if failed:
        session.error("\n".join(["", *failed]))


def _lowest(section, option):
    """Return the requirements of setup.cfg for Python 3.7, each pinned to its lower bound."""
    setup = configparser.ConfigParser()
    setup.read(HERE / "setup.cfg", encoding="utf-8")
    lines = [line for line in setup[section][option].splitlines() if ">=" in line]
    bounds = [re.match(r"([\w-]+)>=([\d.]+)", line) for line in lines if "3.11" not in line]
    return [f"{bound[1]}=={bound[2]}" for bound in bounds]


def _result(environment):
    return HERE / "tools" / "version_matrix" / "results" / f"{environment['name']}.json"
