"""Measure the layers in every context, and write the figures into the table in docs/layers.md.

    PYTHONPATH=.:tests python tools/layer_contexts.py

The figures of the installed TensorFlow replace those in its column; the other columns stay.
"""

import os
import sys
import tempfile

import pytest

TESTS = ["tests/layers/test_contexts.py", "tests/layers/test_strategies.py"]


def main():
    os.environ["BNGUARD_CASES"] = "all"
    with tempfile.TemporaryDirectory() as folder:
        record = os.environ["BNGUARD_CONTEXTS"] = os.path.join(folder, "errors")
        status = pytest.main(["-q", "-p", "no:cacheprovider", *TESTS])
        if status:
            raise SystemExit("a context failed, so docs/layers.md stays as it is")
        with open(record, encoding="utf-8") as file:
            measured = [line.rstrip("\n").partition(" ") for line in file]
    errors = {}
    for error, _, context in measured:
        errors[context] = max(float(error), errors.get(context, 0.0))
    _write(errors)


def _write(errors):
    from support.layers import context_table

    with open(context_table.PAGE, encoding="utf-8") as file:
        text = file.read()
    with open(context_table.PAGE, "w", encoding="utf-8") as file:
        file.write(context_table.filled(text, context_table.VERSION, errors))


if __name__ == "__main__":
    sys.exit(main())
