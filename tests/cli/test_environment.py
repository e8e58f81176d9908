"""Runs where something is missing: TensorFlow, a home, a temporary folder, the current folder."""

import os
import sys
import tempfile

from bnguard.runtime import tensorflow_import
import pytest
from support.commands import ROOT, bnguard, drifting, in_shell

CASE = "two_branch_cond"
SIDES = ("repro", "fixed")
RUNS = ("training", "trained session", "restored session")


@pytest.mark.parametrize(
    ("arguments", "status", "fragment"),
    [
        (["--help"], 0, "Who moves your batch-norm running statistics"),
        (["list", "--symptom", "eval changes my model"], 0, CASE),
        (["explain", "BN101"], 0, "# BN101 statistics-written-at-inference"),
        (["audit", "GRAPH", "--fetch", "bn/y"], 1, "BN101 statistics-written-at-inference"),
    ],
)
def test_what_works_without_tensorflow(tmp_path, arguments, status, fragment):
    path = drifting(tmp_path / "graph.pb")
    process = bnguard(*(path if each == "GRAPH" else each for each in arguments))
    assert (process.returncode, process.stderr) == (status, b"")
    assert fragment in process.stdout.decode()


@pytest.mark.parametrize(
    "arguments",
    [["compare", "--all"], ["diff", "a", "b"], ["stats", "a"], ["fixed", CASE]],
    ids=str,
)
def test_what_does_not_work_without_tensorflow_says_what_to_install(arguments):
    process = bnguard(*arguments)
    assert (process.returncode, process.stdout) == (2, b"")
    (error,) = process.stderr.decode().splitlines()
    assert error.startswith("Error: TensorFlow is not installed, and running cases and")
    assert error.endswith("Install it with: pip install tensorflow")


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        (
            "raise ImportError('libcudart.so: cannot open\\nmore')",
            "ImportError: libcudart.so: cannot",
        ),
        ("raise TypeError('Descriptors cannot be created directly.')", "TypeError: Descriptors"),
        ("", "ModuleNotFoundError: No module named 'tensorflow.compat'"),
    ],
)
def test_a_tensorflow_that_does_not_load(tmp_path, failing, said):
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text(failing)
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), ROOT])}
    for start in (["-m", "bnguard", "fixed", CASE], [f"fixed/{CASE}.py"]):
        process = bnguard(start=[sys.executable, *start], environment=environment)
        assert (process.returncode, process.stdout) == (2, b"")
        (error,) = process.stderr.decode().splitlines()
        assert error.startswith(f"Error: TensorFlow is installed and does not load ({said}")
        assert "pip install --force-reinstall tensorflow" in error


@pytest.mark.parametrize("arguments", [["list"], ["explain", "BN101"]], ids=str)
def test_a_current_folder_that_is_gone(tmp_path, arguments):
    (tmp_path / "gone").mkdir()
    line = f'cd {tmp_path}/gone; rmdir {tmp_path}/gone; "$@"'
    process = in_shell(line, *arguments)
    assert (process.returncode, process.stderr) == (0, b"")
    assert process.stdout


def test_no_temporary_folder(monkeypatch):
    """What TensorFlow says when it starts is then not held back."""
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null/nowhere")
    with pytest.raises(OSError, match="nowhere"):
        tempfile.mkstemp()
    tensorflow_import.import_tensorflow()


def test_a_run_where_much_is_missing_writes_only_what_it_is_asked_for(tmp_path):
    """No GPU, no terminal, no Unicode, a home that none can write, and a target of an odd name."""
    target = tmp_path / "a b\u00e9\n-{}]"
    for folder in (target, tmp_path / "current", tmp_path / "temporary"):
        folder.mkdir()
    process = bnguard(
        *["compare", CASE, "--train-steps", "5", "--checkpoint-dir", str(target / "saved")],
        *["--logdir", str(target / "events"), "--plot", str(target / "plot.png")],
        start=[sys.executable, "-m", "bnguard", "--cases", ROOT],
        cwd=str(tmp_path / "current"),
        environment={
            "CUDA_VISIBLE_DEVICES": "-1",
            "HOME": "/dev/null",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONIOENCODING": "ascii",
            "TERM": "dumb",
            "TMPDIR": str(tmp_path / "temporary"),
        },
    )
    assert process.returncode == 0, process.stderr
    assert b"bit-identical" in process.stdout
    assert files(str(target)) == {
        "plot.png",
        *(f"events/{CASE}/{side}/{run}" for side in SIDES for run in RUNS),
        *(f"saved/{CASE}/{side}/run-1" for side in SIDES),
    }
    for folder in ("current", "temporary"):
        assert files(str(tmp_path / folder)) == set()


def files(folder):
    """The folders in `folder` that hold files, and the files that lie in it itself."""
    found = set()
    for parent, _, names in os.walk(folder):
        path = os.path.relpath(parent, folder)
        found |= {*names} if path == "." else {path} if names else set()
    return found
