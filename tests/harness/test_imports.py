"""No import has side effects."""

import importlib
import os
import signal
import subprocess
import sys

import pytest
from support import forked
from support.paths import ROOT

pytestmark = pytest.mark.slow

WITHOUT_TENSORFLOW = [
    "bnguard.__main__",
    "bnguard.cli",
    "bnguard.cli.cases",
    "bnguard.cli.statistics",
    "bnguard.harness.cases.case",
    "bnguard.harness.cases.cluster",
    "bnguard.harness.cases.loading",
    "bnguard.harness.claims",
    "bnguard.harness.report.json",
    "bnguard.harness.report.text",
    "bnguard.harness.run.options",
    "bnguard.runtime.tensorflow_import",
]
WITHOUT_NUMPY = [
    "bnguard.cli",
    "bnguard.cli.cases",
    "bnguard.harness.cases.catalogue",
    "bnguard.harness.report.catalogue_table",
    "bnguard.harness.run.options",
]
CHANGES = """
import os, signal, sys
before = dict(os.environ)
import {module}
assert dict(os.environ) == before, "the environment"
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "SIGINT"
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "SIGTERM"
print(*(name for name in {unwanted} if name in sys.modules))
"""


def imported(module, *unwanted):
    script = CHANGES.format(module=module, unwanted=unwanted)
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False
    )
    assert process.returncode == 0, process.stderr.decode()
    return process.stdout.decode().split()


@pytest.mark.parametrize("module", WITHOUT_TENSORFLOW)
def test_an_import_changes_nothing_and_does_not_import_tensorflow(module):
    assert imported(module, "tensorflow", "scipy") == []


@pytest.mark.parametrize("module", WITHOUT_NUMPY)
def test_a_listing_of_the_cases_does_not_import_numpy(module):
    assert imported(module, "numpy") == []


def test_an_import_that_needs_tensorflow_changes_nothing_else(tmp_path):
    """TensorFlow itself changes the environment."""
    folder = str(tmp_path)
    assert forked.run(folder, "bnguard.harness.run.experiment", function=import_anew) == (0, "", "")


def import_anew(module):
    """Import a module in a process that has TensorFlow, and check what that changes."""
    for name in list(sys.modules):
        if name.split(".")[0] == "bnguard":
            del sys.modules[name]
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    environment = dict(os.environ)
    importlib.import_module(module)
    assert dict(os.environ) == environment, "the environment"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
