"""Run the real command in a process of its own, by default without a TensorFlow to import.

BNGUARD_PLAIN_PYTHON names the interpreter of an environment in which none is installed.
"""

import os
import subprocess
import sys

from support.paths import ROOT

PLAIN = os.environ.get("BNGUARD_PLAIN_PYTHON")
BLOCKED = os.path.join(ROOT, "tests", "support", "without_tensorflow.py")
USUAL = {"PYTHONPATH": ROOT, "PYTHONUNBUFFERED": ""}  # unbuffered streams fail elsewhere
START = [PLAIN, "-m", "bnguard"] if PLAIN else [sys.executable, BLOCKED]


def bnguard(*arguments, start=START, environment=None, **options):
    """Run `bnguard ...` in the checkout; return the finished process, with its output as bytes."""
    options = {
        "cwd": ROOT,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "env": {**os.environ, **USUAL, **(environment or {})},
        **options,
    }
    return subprocess.run([*start, *arguments], check=False, **options)


def in_shell(line, *arguments, environment=None):
    """Run a line of shell in which `"$@"` is `bnguard ...`."""
    return bnguard(*arguments, start=["sh", "-c", line, "sh", *START], environment=environment)


def write_graph(path, *nodes):
    """Write a GraphDef of nodes (name, type, *inputs) to `path`; return the path."""
    from bnguard.analysis.ir import protos

    message = protos.message("GraphDef")()
    for name, op_type, *inputs in nodes:
        message.node.add(name=name, op=op_type, input=inputs)
    with open(path, "wb") as file:
        file.write(message.SerializeToString())
    return str(path)


def drifting(path, scope="bn"):
    """Write a graph whose inference output, scope/y, waits for a write of a statistic."""
    mean = f"{scope}/moving_mean"
    return write_graph(
        path,
        (mean, "VariableV2"),
        ("x", "Placeholder"),
        (f"{scope}/update", "AssignSub", mean, "x"),
        (f"{scope}/y", "Identity", "x", f"^{scope}/update"),
    )
