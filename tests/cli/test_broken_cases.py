"""A wrong case file is one line and exit status 2; other cases still run."""

import json
import os
import shutil

import pytest
from support import forked
from support.source_case import CASE, make_cases

from bnguard.cli import cases
from bnguard.errors import BnguardError

pytestmark = pytest.mark.slow

GOOD = b"""'A title.'

from bnguard.harness.cases.case import Case
from bnguard.harness.claims import StatisticsStillAtInference

CASE = Case(StatisticsStillAtInference())
"""  # but for its functions


def test_a_case_without_its_twin_is_exit_2(bnguard, tmp_path):
    home = make_cases(tmp_path, str)
    os.remove(os.path.join(home, "fixed", CASE + ".py"))
    result = bnguard("--cases", home, "compare", CASE)
    assert result.exit_code == 2
    assert "fixed/two_branch_cond.py: there is no such file" in result.output


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        (b"CASE = (", ["line 1", "SyntaxError"]),
        (b"'A title.'\n\n1 / 0\n", ["line 3", "ZeroDivisionError"]),
        (b"import sys\nsys.exit(0)", ["line 2", "cannot be loaded (SystemExit"]),
        (b"\xff = 1", ["utf-8"]),
        (b"a\0b", ["null bytes"]),
        (b"from os import path", ["defines path; expected a Case called CASE", "CONTRIBUTING"]),
        (
            b"from bnguard.harness.cases.case import Cas",
            ["line 1", "cannot be loaded (ImportError"],
        ),
        (b"'A'\nimport json\njson.loads('\\n\\n{')", ["line 3", "JSONDecodeError"]),
        (b"CASE = build = None", ["defines CASE, build; expected a Case"]),
        (GOOD + b"build = 3", ["expected a Case"]),
        (GOOD + b"build = len; serve = 3", ["expected a Case"]),
        (GOOD + b"def build(fused):\n    return {}['layer']", ["line 8", "built (KeyError"]),
        (GOOD + b"def build(fused):\n    raise ValueError('no')", ["line 8", "built (ValueError"]),
        (GOOD + b"def build(fused):\n    raise SystemExit(0)", ["line 8", "built (SystemExit"]),
        (
            GOOD + b"def build(fused):\n    return None",
            ["build returned a NoneType; expected a Model"],
        ),
        (b"", ["defines nothing"]),
    ],
)
def test_a_file_that_defines_no_case_is_exit_2(bnguard, tmp_path, content, fragments):
    home = other_cases(tmp_path, content)
    result = bnguard("--cases", home, "repro", "test_case")
    assert result.exit_code == 2
    (error,) = result.output.splitlines()
    for fragment in ["repro/test_case.py", *fragments]:
        assert fragment in error


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"CASE = (", "SyntaxError"),
        (b"\xff = 1", "utf-8"),
        (b"a\0b", "null bytes"),
        (b"x = 1", "its docstring lacks Title and Symptom"),
        (b"'A title.'", "its docstring lacks Symptom"),
        (b"'\\n    a\\n  b'", "its docstring lacks Symptom"),
        (b"x = " + b"-" * 5000 + b"1", ""),  # too deep to some Pythons
        (b"x = " + b"-" * 100000 + b"1", "cannot be read ("),
    ],
)
def test_a_file_that_cannot_be_listed_is_exit_2(bnguard, tmp_path, content, fragment):
    home = other_cases(tmp_path, content)
    for command in (["list"], ["list", "--symptom", "x"]):
        result = bnguard("--cases", home, *command)
        assert result.exit_code == 2
        (error,) = result.output.splitlines()
        assert "repro/test_case.py" in error
        assert fragment in error


@pytest.mark.slow
@pytest.mark.parametrize("locked", ["repro", os.path.join("repro", "test_case.py")])
def test_cases_that_may_not_be_read_are_exit_2(tmp_path, locked):
    path = os.path.join(other_cases(tmp_path, b"x = 1"), locked)
    os.chmod(path, 0)
    try:
        code, stdout, stderr = forked.run(
            tmp_path, "--cases", str(tmp_path / "cases"), "list", unprivileged=True
        )
    finally:
        os.chmod(path, 0o700)
    assert (code, stdout) == (2, "")
    (error,) = stderr.splitlines()
    assert f"{locked}: cannot be read (Permission denied)" in error
    assert "--cases" in error


def test_other_files_among_the_cases_are_ignored(bnguard, tmp_path):
    home = make_cases(tmp_path, str)
    os.mkdir(os.path.join(home, "repro", "folder.py"))
    for name in (".#two_branch_cond.py", "_helper.py", "notes.txt"):
        with open(os.path.join(home, "repro", name), "w", encoding="utf-8") as file:
            file.write("(")
    result = bnguard("--cases", home, "list")
    assert result.exit_code == 0
    assert CASE in result.output
    for name in ("folder", "helper", "notes", "#"):
        assert name not in result.output


def other_cases(folder, content):
    """A folder whose only case has these bytes on both sides."""
    for side in ("repro", "fixed"):
        (folder / "cases" / side).mkdir(parents=True)
        (folder / "cases" / side / "test_case.py").write_bytes(content)
    return str(folder / "cases")


def test_a_broken_case_does_not_hide_the_results_of_the_others(bnguard, tmp_path):
    home = make_cases(tmp_path, str)
    for side in ("repro", "fixed"):
        for name in ("a_broken", "z_broken"):
            with open(os.path.join(home, side, name + ".py"), "w", encoding="utf-8") as file:
                file.write("1 / 0")
    with open(os.path.join(home, "repro", "no_twin.py"), "w", encoding="utf-8") as file:
        file.write("'A title.\\n\\nSymptom\\n    Some.'")
    for side in ("repro", "fixed"):
        with open(os.path.join(home, side, CASE + ".py"), encoding="utf-8") as file:
            _, _, code = file.read().split('"""', 2)
        with open(os.path.join(home, side, "undocumented.py"), "w", encoding="utf-8") as file:
            file.write(code)
    arguments = ["--cases", home, "compare", "--all", "--train-steps", "10", "--infer-steps", "3"]
    result = bnguard(*arguments, "--json")
    assert result.exit_code == 2
    shown, errors = cases_and_errors(result.output)
    assert shown == [CASE]
    assert [line.split(":")[1].split(".")[0] for line in errors] == [
        " repro/a_broken",
        " fixed/no_twin",
        " repro/undocumented",
        " repro/z_broken",
    ]


def test_an_error_that_ends_the_run_does_not_hide_earlier_results(bnguard, tmp_path, monkeypatch):
    """As a disk that is full before the last one."""
    home = make_cases(tmp_path, str)
    for side in ("repro", "fixed"):
        shutil.copy(os.path.join(home, side, CASE + ".py"), os.path.join(home, side, "z.py"))
        with open(os.path.join(home, side, "a_broken.py"), "w", encoding="utf-8") as file:
            file.write("1 / 0")
    record = cases._record

    def full(case, options):
        if case.file.name == "z":
            raise BnguardError("the disk is full")
        return record(case, options)

    monkeypatch.setattr(cases, "_record", full)
    arguments = ["--cases", home, "compare", "--all", "--train-steps", "10", "--infer-steps", "3"]
    result = bnguard(*arguments, "--json")
    assert result.exit_code == 2
    shown, (broken, full_disk) = cases_and_errors(result.output)
    assert shown == [CASE]
    assert broken.startswith("Error: repro/a_broken.py: its docstring lacks")
    assert full_disk == "Error: the disk is full"


def cases_and_errors(output):
    """The names in one JSON document, and the lines after it."""
    document, end = json.JSONDecoder().raw_decode(output)
    return [entry["case"] for entry in document["cases"]], output[end:].split("\n")[1:-1]
