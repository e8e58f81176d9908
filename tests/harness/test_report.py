"""Reports take records as they come: numbers that are not finite, a session that was restored."""

from dataclasses import replace
import json
import os

from bnguard.harness import plot, report
from bnguard.harness.catalogue import CaseFile
from bnguard.harness.claims import Verdict
from bnguard.harness.record import Failure, Pass, Record, Step
import numpy as np
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TWO_BRANCH = os.path.join(ROOT, "repro", "two_branch_cond.py")
VERDICT = Verdict("unclear", False, ("A reason.",))


def record(values):
    step = Step(*([np.array([values], np.float32)] * 3), *([np.array(values)] * 4), "other")
    before, after = {"bn/beta": np.array(values)}, {"bn/beta": np.zeros(2)}
    one = Pass("restored", "bn", before, after, (step,), {}, together=step)
    return Record("case", "fixed", "2.21.0", "ref", "v1", "no", (one,))


def test_json_holds_numbers_that_are_not_finite_as_text():
    document = report.as_json(record([np.nan, np.inf]), VERDICT)
    parsed = json.loads(json.dumps(document, allow_nan=False))
    assert parsed["passes"][0]["before"]["bn/beta"] == ["nan", "inf"]
    assert parsed["passes"][0]["drift"]["bn/beta"] == "nan"
    assert parsed["checkpoints"] is None


def test_text_ends_with_the_reasons():
    text = report.as_text(record([1.0, 2.0]), VERDICT)
    assert text.endswith("unclear, which is not what this side claims.\nA reason.")


def test_a_failure_is_in_every_rendering(capsys):
    failed = replace(
        record([1.0, 2.0]), passes=(), failure=Failure("train", "ValueError", "no such feed")
    )
    assert report.as_json(failed, VERDICT)["failure"] == {
        "phase": "train",
        "error": "ValueError",
        "message": "no such feed",
    }
    report.print_comparison([(failed, VERDICT), (record([1.0, 2.0]), VERDICT)], "")
    printed = capsys.readouterr().out
    assert "train: ValueError: no such feed" in printed
    assert "never ran" in printed


def test_a_failure_at_the_start_can_be_drawn(tmp_path):
    path = tmp_path / "plot.svg"
    plot.draw([replace(record([1.0, 2.0]), passes=()), record([1.0, 2.0])], str(path))
    assert path.stat().st_size


def entry(**fields):
    return report.Entry(CaseFile("two_branch_cond", "repro", TWO_BRANCH), **fields)


@pytest.mark.parametrize(
    ("shown", "verdict"), [([True, True], "shown"), ([True, False], "not shown")]
)
def test_an_entry_is_shown_where_both_sides_are(shown, verdict):
    sides = [(record([1.0, 2.0]), VERDICT._replace(shown=one)) for one in shown]
    assert entry(sides=sides).verdict == verdict


def test_the_table_of_entries_has_the_figures_or_the_reason_for_their_absence(capsys):
    sides = [(record([1.0, 2.0]), VERDICT._replace(measures="moved by", figure="0.5"))] * 2
    report.print_entries([entry(sides=sides), entry(skipped="needs tf_keras")])
    printed = capsys.readouterr().out
    for fragment in ("two_branch_cond", "moving_mean and", "moved by", "0.5", "not shown"):
        assert fragment in printed
    assert "needs tf_keras" in printed
    assert "skipped" in printed
    document = report.entry_json(entry(skipped="needs tf_keras"))
    assert (document["verdict"], document["skipped"]) == ("skipped", "needs tf_keras")


def test_a_restored_session_that_never_trained_can_be_drawn(tmp_path):
    path = str(tmp_path / "plot.svg")
    plot.draw([record([1.0, 2.0])], path)
    with open(path, encoding="utf-8") as file:
        assert "fixed/case.py" in file.read()
