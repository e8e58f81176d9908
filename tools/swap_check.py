"""Swap the two files of every pair on disk, and see `bnguard compare --all` notice each.

    python tools/swap_check.py

The exit status is 0 if every swapped pair runs and none passes for a proper one.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main():
    """Compare all swapped cases in a folder of their own; say which went unnoticed."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(os.path.join(ROOT, "repro"), os.path.join(folder, "fixed"))
        shutil.copytree(os.path.join(ROOT, "fixed"), os.path.join(folder, "repro"))
        cases = compare_all(folder)
    for case in cases:
        print(f"{case['case']}: {case['verdict']}")
    noticed = {case["case"] for case in cases if case["verdict"] == "not shown"}
    files = os.listdir(os.path.join(ROOT, "repro"))
    everyone = {name[: -len(".py")] for name in files if name.endswith(".py")}
    sys.exit(0 if noticed == everyone else 1)


def compare_all(folder):
    """Return what `bnguard compare --all` prints about the cases in a folder."""
    process = subprocess.run(
        [sys.executable, "-m", "bnguard", "compare", "--all", "--json"],
        env={**os.environ, "PYTHONPATH": ROOT},
        cwd=folder,
        stdout=subprocess.PIPE,
        check=False,
    )
    return json.loads(process.stdout.decode())["cases"]


if __name__ == "__main__":
    main()
