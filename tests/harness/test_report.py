"""Reports take records as they come: numbers that are not finite, a session that was restored."""

import json

from bnguard.harness import plot, report
from bnguard.harness.claims import Verdict
from bnguard.harness.record import Pass, Record, Step
import numpy as np

VERDICT = Verdict("unclear", False, ("A reason.",))


def record(values):
    step = Step(*([np.array([values], np.float32)] * 3), *([np.array(values)] * 4), "other")
    one = Pass("restored", {"bn/beta": np.array(values)}, {"bn/beta": np.zeros(2)}, (step,), {})
    return Record("case", "fixed", "2.21.0", "ref", "v1", "no", (one,), None, ())


def test_json_holds_numbers_that_are_not_finite_as_text():
    document = report.as_json(record([np.nan, np.inf]), VERDICT)
    parsed = json.loads(json.dumps(document, allow_nan=False))
    assert parsed["passes"][0]["before"]["bn/beta"] == ["nan", "inf"]
    assert parsed["passes"][0]["drift"]["bn/beta"] == "nan"
    assert parsed["checkpoints"] is None


def test_text_ends_with_the_reasons():
    text = report.as_text(record([1.0, 2.0]), VERDICT)
    assert text.endswith("unclear, which is not what this side claims.\nA reason.")


def test_a_restored_session_that_never_trained_can_be_drawn(tmp_path):
    path = str(tmp_path / "plot.svg")
    plot.draw([record([1.0, 2.0])], path)
    with open(path, encoding="utf-8") as file:
        assert "fixed/case.py" in file.read()
