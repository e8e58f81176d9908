"""bnguard runs no code but cases and watched programs, names stay in folders, audits only read."""

import ast
import os
import shutil
import subprocess
import sys

import pytest
from support.commands import ROOT, drifting
from support.commands import bnguard as run
from test_package import imported_modules, parse, python_files

import bnguard
from bnguard.analysis.errors import AuditError
from bnguard.errors import BnguardError
from bnguard.harness.cases import catalogue
from bnguard.harness.cases.docstring import Docstring
from bnguard.harness.results.terms import SIDES

pytestmark = pytest.mark.slow

UNSAFE_MODULES = {"cPickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "yaml"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "load_module", "system", "popen"}
LOADS_CODE = {  # case files, and TensorFlow's own module of sessions when a program imports it
    "exec_module": {"bnguard/harness/cases/loading.py", "bnguard/watch/session_hooks.py"}
}
RUNS_PROGRAMS = "bnguard/watch/program.py"  # that the user names, as Python does


def calls(path):
    """The calls of a file, each with the name of its function."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            function = node.func
            yield getattr(function, "attr", getattr(function, "id", "")), node


def unsafe(path):
    name = os.path.relpath(path, ROOT).replace(os.sep, "/")
    for module in imported_modules(path):
        if module.split(".")[0] in UNSAFE_MODULES:
            yield module
    for called, node in calls(path):
        on_regex = (
            isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "re"
        )
        is_program = name == RUNS_PROGRAMS and called in ("compile", "exec")
        if called in UNSAFE_CALLS and not on_regex and not is_program:
            yield called
        if called in LOADS_CODE and name not in LOADS_CODE[called]:
            yield called
        for keyword in node.keywords:
            is_off = getattr(keyword.value, "value", True) is False
            if keyword.arg in ("allow_pickle", "shell") and not is_off:
                yield called


def test_nothing_is_unpickled_or_evaluated():
    """Only the loader of case files and `bnguard run` run code."""
    for path in python_files("bnguard"):
        assert not list(unsafe(path)), path


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from yaml import load",
        "eval(text)",
        "np.load(path, allow_pickle=True)",
        "loader.exec_module(module)",
        "os.system(text)",
    ],
)
def test_that_check_finds_unsafe_code(tmp_path, line):
    path = tmp_path / "module.py"
    path.write_text(line)
    assert list(unsafe(str(path)))


@pytest.fixture
def home(tmp_path):
    """A catalogue of one case, beside a program that is none."""
    for side in SIDES:
        (tmp_path / "home" / side).mkdir(parents=True)
        source = os.path.join(ROOT, side, "two_branch_cond.py")
        shutil.copy(source, str(tmp_path / "home" / side / "case.py"))
    (tmp_path / "outside.py").write_text("raise SystemExit('it was run')")
    return tmp_path / "home"


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../../outside", "../outside", "./case", "case.py", "case/", "/case"),
        *("../repro/case", "a/b", "case\0", "\0", "__init__", "CASE", "*", "~", "case "),
    ],
)
def test_a_name_that_is_no_case_is_refused(home, name):
    for side in SIDES:
        for given in (name, name.replace("/case", f"{home}/repro/case")):
            with pytest.raises(BnguardError, match="unknown case") as error:
                catalogue.find(given, side, str(home))
            assert "the known cases are: case" in str(error.value)


@pytest.mark.parametrize("side", SIDES)
def test_a_link_out_of_the_catalogue_is_refused(home, side):
    os.remove(str(home / side / "case.py"))
    os.symlink(str(home.parent / "outside.py"), str(home / side / "case.py"))
    with pytest.raises(BnguardError, match=f"expected in {side}/ itself") as error:
        catalogue.find("case", side, str(home))
    assert f"{side}/case.py: it links to {os.path.realpath(str(home.parent))}" in str(error.value)


def test_a_link_to_the_catalogue_is_followed(home):
    """As where a package manager or a build keeps its files elsewhere."""
    link = str(home.parent / "link")
    os.symlink(str(home), link)
    assert Docstring(catalogue.find("case", "repro", link)).sections["Title"]


def test_an_audit_writes_nothing(tmp_path):
    for folder in ("current", "home", "temporary"):
        (tmp_path / folder).mkdir()
    paths = [drifting(tmp_path / "current" / "graph.pb"), str(tmp_path / "current" / "bad.meta")]
    (tmp_path / "current" / "bad.meta").write_bytes(b"\x80\x04cos\nsystem\n")  # a pickle's start
    before = contents(str(tmp_path))
    folders = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "temporary")}
    search = [str(tmp_path / "current"), "--jobs", "2", "--format", "sarif"]
    for arguments, status, text in (
        (paths, 2, b"bad.meta: a Python pickle, not a TensorFlow graph"),
        (search, 0, b"Skipped 1 file of other kinds: Python pickle (1)"),
    ):
        process = run("audit", *arguments, environment=folders, cwd=str(tmp_path))
        assert process.returncode == status
        assert text in process.stderr
    assert contents(str(tmp_path)) == before


LISTS_FILES = """
import atexit, sys

opened = {}
sys.addaudithook(lambda event, args: opened.setdefault(args[0]) if event == "open" else None)
from bnguard.cli import main

atexit.register(lambda: print(*map(str, opened), sep="\\n", file=sys.stderr))
main()
"""


@pytest.mark.skipif(sys.version_info < (3, 8), reason="sys.addaudithook is from 3.8 on")
@pytest.mark.parametrize(
    ("command", "read"),
    [
        (["audit", "model.meta"], ["bnguard.toml", "model.meta"]),
        (["audit", "model.meta", "--no-config"], ["model.meta"]),
        (["stats", "model"], ["model.data-00000-of-00001", "model.index", "model.meta"]),
        (["diff", "model", "model"], ["model.data-00000-of-00001", "model.index"]),
    ],
    ids=" ".join,
)
def test_only_the_files_of_a_graph_or_checkpoint_are_opened(command, read, tmp_path):
    reference = os.path.join(ROOT, "checkpoints", "reference", "contrib.ckpt")
    for ending in (".index", ".data-00000-of-00001"):
        shutil.copy(reference + ending, str(tmp_path / f"model{ending}"))
    drifting(tmp_path / "model.meta")
    for name in ("other.meta", "other.index", "secret.txt", "model.debug.txt"):
        (tmp_path / name).write_bytes(b"not to be read")
    (tmp_path / "bnguard.toml").write_text("ignore = ['BN1']\n")
    process = subprocess.run(
        [sys.executable, "-c", LISTS_FILES, *command],
        cwd=str(tmp_path),
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
    )
    opened = {os.path.basename(line) for line in process.stderr.decode().splitlines()}
    assert opened & set(os.listdir(str(tmp_path))) == set(read), process.stderr.decode()


def contents(folder):
    """Return the time and size of every path below a folder."""
    found = {}
    for parent, _, names in os.walk(folder):
        for path in [parent, *(os.path.join(parent, name) for name in names)]:
            status = os.stat(path)
            found[path] = (status.st_mtime_ns, status.st_size)
    return found


def refusal(path):
    with pytest.raises(AuditError) as error:
        bnguard.audit(str(path))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_deeply_nested_text_is_refused(tmp_path):
    path = tmp_path / "graph.pbtxt"
    path.write_text("node { attr { value { list { func {" + "attr { value { func { " * 5000)
    assert "not the text form of a GraphDef" in refusal(path)


def test_text_beyond_the_limit_is_refused(tmp_path):
    path = tmp_path / "graph.pbtxt"
    with open(str(path), "wb") as file:
        file.write(b"node {")
        file.truncate((1 << 27) + 1)  # a hole, which takes no room on the disk
    assert "text of more than 128 MiB; give the binary form" in refusal(path)
