"""The package: its public names, what imports TensorFlow and when, and its syntax."""

import ast
import importlib.util
import os
import subprocess
import sys

import pytest
from support.paths import ROOT

import bnguard

pytestmark = pytest.mark.slow

TENSORFLOW = 3  # the exit status of a process that was about to import it
REFUSING = f"""
import sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "tensorflow":
            sys.exit({TENSORFLOW})

sys.meta_path.insert(0, Finder())
"""


def python_files(*folders):
    for folder in folders:
        for parent, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if name.endswith(".py"):
                    yield os.path.join(parent, name)


def parse(path, **options):
    with open(path, encoding="utf-8") as file:
        return ast.parse(file.read(), path, **options)


def imported_modules(path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def test_only_compat_v1_of_tensorflow_is_imported():
    for path in python_files("bnguard", "repro", "fixed"):
        for name in imported_modules(path):
            if name.split(".")[0] in ("tensorflow", "keras", "tf_keras", "tf_slim"):
                assert name.startswith("tensorflow.compat.v1"), f"{path} imports {name}"


@pytest.mark.skipif(sys.version_info < (3, 8), reason="ast.parse has feature_version from 3.8 on")
def test_the_syntax_is_python_3_7s():
    for path in python_files(
        *("bnguard", "repro", "fixed", "tests", "benchmarks", "tools", "checkpoints")
    ):
        parse(path, feature_version=(3, 7))


@pytest.mark.parametrize(
    ("statement", "imports_it"),
    [
        ("import bnguard", False),
        ("import bnguard.cli", False),
        ("from bnguard.harness.cases import catalogue; catalogue.names()", False),
        ("from bnguard import batch_norm", True),  # so the check can fail
    ],
)
def test_tensorflow_is_imported_on_first_use_and_not_before(statement, imports_it):
    process = subprocess.run([sys.executable, "-c", REFUSING + statement], cwd=ROOT)
    assert process.returncode == (TENSORFLOW if imports_it else 0)


def test_every_public_name_exists():
    assert bnguard.__version__
    for name in bnguard.__all__:
        assert getattr(bnguard, name) is not None
        assert name in dir(bnguard)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        bnguard.nosuch  # noqa: B018


def test_without_tensorflow_the_message_says_what_to_install():
    blocked = "import sys; sys.modules['tensorflow'] = None; import bnguard; bnguard.batch_norm"
    process = subprocess.run(
        [sys.executable, "-c", blocked], stderr=subprocess.PIPE, check=False, cwd=ROOT
    )
    assert b"bnguard.batch_norm needs TensorFlow 1.15 to 2.21" in process.stderr
    assert b"pip install 'bnguard[tf]'" in process.stderr


USER = """
import bnguard

report: bnguard.Report = bnguard.audit("model.meta", fetches="y")
for finding in report.findings:
    line: str = finding.message
    number: int = finding.message  # an error, so that the check can fail
text: str = report.to_json()
try:
    bnguard.snapshot("model.ckpt").health()
except bnguard.BnguardError:
    pass
with bnguard.frozen(None, on_change="warn") as before:
    names: list[str] = list(before)
reveal_type(bnguard.no_such_name)
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_a_user_of_the_package_has_types(tmp_path):
    path = tmp_path / "user.py"
    path.write_text(USER + "".join(f"reveal_type(bnguard.{name})\n" for name in bnguard.__all__))
    process = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(path)],
        stdout=subprocess.PIPE,
        cwd=str(tmp_path),
        env={**os.environ, "MYPYPATH": ROOT},
        check=False,
    )
    lines = [line for line in process.stdout.decode().splitlines() if "user.py" in line]
    (error,) = (line for line in lines if ": error: " in line)
    assert 'expression has type "str", variable has type "int"' in error
    # `__getattr__` gives every name that is not declared the type Any.
    unknown, *revealed = (line for line in lines if "Revealed type is" in line)
    assert 'Revealed type is "Any"' in unknown
    assert len(revealed) == len(bnguard.__all__)
    assert [line for line in revealed if 'Revealed type is "Any"' in line] == []
