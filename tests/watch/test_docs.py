"""What docs/run.md says: the page about its program, ranks in names of files, rules and limits."""

import os

import pytest
from support import forked
from support.docs.blocks import blocks, read
from support.pages.html_page import cells, read_page

from bnguard.watch import graph_watch, runner, verdict, watcher
from bnguard.watch.call_history import MAX_CALLS

pytestmark = pytest.mark.slow


def test_the_page_shows_what_each_step_does_to_each_layer(tmp_path):
    (program,) = (block for block in blocks("docs/run.md") if block.directive == "file")
    (tmp_path / program.argument).write_text(program.text, encoding="utf-8")
    page = "--html=page-of-%p.html"
    status, _, _ = forked.run(tmp_path, "run", page, "train.py", cwd=tmp_path)
    assert status == 1
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


@pytest.mark.parametrize(
    "variable", ["HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"]
)
def test_the_rank_of_a_process_is_what_its_launcher_set(variable, monkeypatch):
    for name in runner._RANKS:
        monkeypatch.delenv(name, raising=False)
    assert runner._rank() == str(os.getpid())
    monkeypatch.setenv(variable, "3")
    assert runner._rank() == "3"


def test_the_limits_are_those_of_the_watcher():
    page = " ".join(read("docs/run.md").split())
    limits = f"At most {watcher._MAX_GRAPHS} graphs and {graph_watch._MAX_STEPS} distinct steps"
    assert limits in page
    assert f"many calls, {MAX_CALLS // 2} to {MAX_CALLS} are kept" in page


def test_the_rules_that_stop_a_step_are_those_of_its_verdict():
    first, second, third = (rule.RULE.code for rule in verdict.RULES_AT_INFERENCE)
    assert f"certainly has an error ({first}, {second} or {third})" in read("docs/run.md")
