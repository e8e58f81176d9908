"""Let atheris look for a file that makes the audit fail.

    python tools/fuzz/guided.py -len_control=0 -max_len=4096 -max_total_time=300

It needs `pip install atheris`, which has wheels for Linux and Python 3.11 and later. Without the
first flag it spends its first hours on inputs of a few bytes.
"""

from __future__ import annotations

import os
import sys
import tempfile

import atheris

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))

with atheris.instrument_imports(include=["bnguard.analysis"]):
    from support.analysis.hostile_files import damaged_file, random_file, survives


def try_one(data: bytes) -> None:
    """Make a file from the fuzzer's bytes, as choices or as they are, and audit it."""
    provider = atheris.FuzzedDataProvider(data)
    form = provider.ConsumeIntInRange(0, 3)
    if form == 0:
        content = provider.ConsumeBytes(sys.maxsize)
    else:
        make = damaged_file if form == 1 else random_file
        content = make(lambda below: provider.ConsumeIntInRange(0, below - 1))
    with open(PATH, "wb") as file:
        file.write(content)
    survives(PATH)


if __name__ == "__main__":
    PATH = os.path.join(tempfile.mkdtemp(), "graph.meta")
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()
