"""The report that docs/run.md shows is that on the program it shows."""

import os
import re

import pytest
from support import forked
from support.paths import ROOT

pytestmark = pytest.mark.slow


def shown(name):
    """The text of a marked block of code on the page."""
    with open(os.path.join(ROOT, "docs", "run.md"), encoding="utf-8") as file:
        page = file.read()
    block = re.search(f"<!-- {name}:begin -->\n```\\w*\n(.*?)```\n<!-- {name}:end -->", page, re.S)
    return block.group(1)


def test_the_report_is_that_of_the_page(tmp_path):
    (tmp_path / "train.py").write_text(shown("program"), encoding="utf-8")
    status, _, errors = forked.run(tmp_path, "run", "train.py", cwd=tmp_path)
    assert status == 1
    report = errors[errors.index("bnguard: train.py\n") :]
    assert _without_count(f"$ bnguard run train.py\n{report}") == _without_count(shown("report"))


def _without_count(report):
    """A report without the number of nodes, which differs between versions of TensorFlow."""
    return re.sub(r"\d+ nodes", "nodes", report)
