"""The report and the page that docs/run.md shows are those on the program it shows."""

import os
import re

import pytest
from support import forked
from support.html_page import cells, read_page
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
    page = "--html=page-of-%p.html"
    status, _, errors = forked.run(tmp_path, "run", page, "train.py", cwd=tmp_path)
    assert status == 1
    report = errors[errors.index("bnguard: train.py\n") :]
    assert _without_count(f"$ bnguard run train.py\n{report}") == _without_count(shown("report"))
    (written,) = tmp_path.glob("page-of-*.html")
    assert written.stem[len("page-of-") :].isdigit()
    document = read_page(written.read_text(encoding="utf-8"))
    row = [("W", {"written"}), *[("B!", {"batch", "defect"})] * 2, ("", set())]
    assert cells(document) == {f"bn_{number}": row for number in range(3)}
    head = document.all("thead")[0].all("th")[2].text.split()
    assert head == ["100", "x", "trains", "train.py:30", "2"]
    assert [title.text.split()[0] for title in document.all("h4")] == ["BN103", "BN201"]
    for detail in document.all("td")[1].all("div", "detail"):
        assert "built at train.py:13 in network: x = bnguard.batch_norm(" in detail.text


def _without_count(report):
    """A report without the number of nodes, which differs between versions of TensorFlow."""
    return re.sub(r"\d+ nodes", "nodes", report)
