"""Commands without TensorFlow, a home, a temporary folder or a current folder."""

import json
import os
import sys
import tempfile

import pytest
from support import forked
from support.commands import ROOT, bnguard, drifting, in_shell

from bnguard.runtime import tensorflow_import

pytestmark = pytest.mark.slow

CASE = "two_branch_cond"
REFERENCE = os.path.join(ROOT, "checkpoints", "reference", "contrib.ckpt")
SIDES = ("repro", "fixed")
RUNS = ("training", "trained session", "restored session")


@pytest.mark.parametrize(
    ("arguments", "status", "fragment"),
    [
        (["--help"], 0, "Find out what moves batch-norm running statistics"),
        (["list", "--symptom", "eval changes my model"], 0, CASE),
        (["explain", "BN101"], 0, "# BN101 statistics-written-at-inference"),
        (["audit", "GRAPH", "--fetch", "bn/y"], 1, "BN101 statistics-written-at-inference"),
        (["stats", REFERENCE], 0, "| bn/moving_mean "),
        (["diff", REFERENCE, REFERENCE], 0, "2 of 2 common variables are bit-identical"),
    ],
)
def test_these_commands_work_without_tensorflow(tmp_path, arguments, status, fragment):
    path = drifting(tmp_path / "graph.pb")
    process = bnguard(*(path if each == "GRAPH" else each for each in arguments))
    assert (process.returncode, process.stderr) == (status, b"")
    assert fragment in process.stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["compare", "--all"], "cases"),
        (["fixed", CASE], "cases"),
        (["reestimate", "a"], "tf"),
    ],
    ids=str,
)
def test_other_commands_name_the_extra_to_install(arguments, extra):
    process = bnguard(*arguments)
    assert (process.returncode, process.stdout) == (2, b"")
    (error,) = process.stderr.decode().splitlines()
    assert error.startswith("Error: TensorFlow (1.15 to 2.21)")
    assert error.endswith(f": {pip(extra)}")


def pip(extra):
    return f"pip install 'bnguard[{extra}]'"


@pytest.mark.parametrize(
    ("missing", "names"),
    [("scipy", "SciPy is"), ("numpy scipy", "NumPy and SciPy are")],
)
def test_a_run_without_numpy_or_scipy_names_the_extra_to_install(missing, names):
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({missing.split()!r}));"
        f"sys.argv = ['bnguard', 'repro', '{CASE}']; from bnguard.cli import main; main()"
    )
    process = bnguard(start=[sys.executable, "-c", script])
    assert (process.returncode, process.stdout) == (2, b"")
    it = "them" if " and " in names else "it"
    needs = f"not installed, and this needs {it}. Install {it} with: {pip('cases')}"
    expected = f"Error: {names} {needs}"
    assert process.stderr.decode().splitlines() == [expected]


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["explain"]], ids=str)
def test_commands_without_statistics_import_neither_numpy_nor_scipy(arguments):
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['tensorflow', 'numpy', 'scipy']));"
        f"sys.argv = ['bnguard', *{arguments!r}]; from bnguard.cli import main; main()"
    )
    process = bnguard(start=[sys.executable, "-c", script])
    assert (process.returncode, process.stderr) == (0, b"")
    assert process.stdout


@pytest.mark.parametrize(
    ("failing", "message"),
    [
        (
            "raise ImportError('libcudart.so: cannot open\\nmore')",
            "ImportError: libcudart.so: cannot",
        ),
        ("raise TypeError('Descriptors cannot be created directly.')", "TypeError: Descriptors"),
        ("", "ModuleNotFoundError: No module named 'tensorflow.compat'"),
    ],
)
def test_a_tensorflow_that_does_not_load_is_reported(tmp_path, failing, message):
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text(failing)
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), ROOT])}
    for start in (["-m", "bnguard", "fixed", CASE], [f"fixed/{CASE}.py"]):
        process = bnguard(start=[sys.executable, *start], environment=environment)
        assert (process.returncode, process.stdout) == (2, b"")
        (error,) = process.stderr.decode().splitlines()
        assert error.startswith(f"Error: TensorFlow is installed and does not load ({message}")
        assert "pip install --force-reinstall tensorflow" in error


@pytest.mark.parametrize("arguments", [["list"], ["explain", "BN101"]], ids=str)
def test_a_deleted_current_folder_does_no_harm(tmp_path, arguments):
    (tmp_path / "gone").mkdir()
    line = f'cd {tmp_path}/gone; rmdir {tmp_path}/gone; "$@"'
    process = in_shell(line, *arguments)
    assert (process.returncode, process.stderr) == (0, b"")
    assert process.stdout


def test_without_a_temporary_folder_tensorflow_is_imported_loudly(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null/nowhere")
    with pytest.raises(OSError, match="nowhere"):
        tempfile.mkstemp()
    tensorflow_import.import_tensorflow()


def test_a_case_file_in_a_poor_environment_is_quiet_and_writes_only_to_its_target(poor):
    """Stdout is the JSON document alone, stderr is empty."""
    target = poor["target"] / "saved"
    process = bnguard(
        *["--json", "--train-steps", "5", "--checkpoint-dir", str(target)],
        start=[sys.executable, os.path.join(ROOT, "repro", f"{CASE}.py")],
        cwd=str(poor["current"]),
        environment={
            "CUDA_VISIBLE_DEVICES": "-1",
            "HOME": "/dev/null",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONIOENCODING": "ascii",
            "TERM": "dumb",
            "TMPDIR": str(poor["temporary"]),
        },
    )
    assert (process.returncode, process.stderr) == (0, b"")
    assert json.loads(process.stdout.decode("ascii"))["verdict"] == "drift"
    assert files(str(poor["target"])) == {f"saved/{CASE}/repro/run-1"}
    for folder in ("current", "temporary"):
        assert files(str(poor[folder])) == set()


def test_a_comparison_writes_only_to_its_targets(poor):
    """To a folder with an odd name; the home cannot be written."""
    options = {
        "--checkpoint-dir": "saved",
        "--logdir": "events",
        "--plot": "plot.png",
    }
    targets = [f"{name}={poor['target'] / target}" for name, target in options.items()]
    status, output, errors = forked.run(
        poor["streams"],
        *["--cases", ROOT, "compare", CASE, "--train-steps", "5", *targets],
        cwd=poor["current"],
        environment={"HOME": "/dev/null", "TMPDIR": str(poor["temporary"])},
    )
    assert status == 0, errors
    assert "bit-identical" in output
    assert files(str(poor["target"])) == {
        "plot.png",
        *(f"events/{CASE}/{side}/{run}" for side in SIDES for run in RUNS),
        *(f"saved/{CASE}/{side}/run-1" for side in SIDES),
    }
    for folder in ("current", "temporary"):
        assert files(str(poor[folder])) == set()


@pytest.fixture
def poor(tmp_path):
    """Folders: the target, with an odd name; the current and the temporary one; streams."""
    names = {name: name for name in ("current", "temporary", "streams")}
    folders = {key: tmp_path / name for key, name in {**names, "target": "a b\u00e9\n-{}]"}.items()}
    for folder in folders.values():
        folder.mkdir()
    return folders


def files(folder):
    """Return the folders below `folder` that contain files, and the files in `folder` itself."""
    found = set()
    for parent, _, names in os.walk(folder):
        path = os.path.relpath(parent, folder)
        found |= {*names} if path == "." else {path} if names else set()
    return found
