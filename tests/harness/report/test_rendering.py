"""Every renderer takes every record: numbers that are not finite, failures, restored sessions."""

from dataclasses import replace
import json
import os

import numpy as np
import pytest
from support.paths import ROOT

from bnguard.harness.cases.case_file import CaseFile
from bnguard.harness.claims import Verdict
from bnguard.harness.report import figure
from bnguard.harness.report.entry import Entry
from bnguard.harness.report.json import as_json, entry_json
from bnguard.harness.report.tables import print_comparison, print_entries
from bnguard.harness.report.terminal import console
from bnguard.harness.report.text import as_text
from bnguard.harness.results import narrative
from bnguard.harness.results.record import (
    Checkpoints,
    Failure,
    InferencePass,
    InferenceStep,
    Record,
)
from bnguard.harness.results.terms import Comparison, Outcome, Phase, Reads, Side

pytestmark = pytest.mark.slow

TWO_BRANCH = os.path.join(ROOT, "repro", "two_branch_cond.py")
VERDICT = Verdict(Outcome.UNCLEAR, "unclear", False, ("A reason.",))


def record(values):
    step = InferenceStep(
        *([np.array([values], np.float32)] * 3), *([np.array(values)] * 4), Reads.OTHER
    )
    before, after = {"bn/beta": np.array(values)}, {"bn/beta": np.zeros(2)}
    restored = InferencePass("restored", "bn", before, after, (step,), {}, together=step)
    return Record("case", Side.FIXED, "2.21.0", "ref", "v1", "no", (restored,))


def test_json_has_numbers_that_are_not_finite_as_text():
    document = as_json(record([np.nan, np.inf]), VERDICT)
    parsed = json.loads(json.dumps(document, allow_nan=False))
    assert parsed["passes"][0]["before"]["bn/beta"] == ["nan", "inf"]
    assert parsed["passes"][0]["drift"]["bn/beta"] == "nan"
    assert parsed["checkpoints"] is None


def test_text_ends_with_the_reasons():
    text = as_text(record([1.0, 2.0]), VERDICT)
    assert text.endswith("unclear, which is not what this side claims.\nA reason.")


def moved_record(side):
    """Two steps that moved the mean from 1 to 3, the second read late; saved so on disk."""
    drifted = side == Side.REPRO
    before = {"bn/beta": np.zeros(1), "bn/moving_mean": np.ones(1)}
    after = {**before, "bn/moving_mean": np.full(1, 3.0 if drifted else 1.0)}
    step = InferenceStep(*[np.zeros((1, 1))] * 3, *[np.zeros(1)] * 4, Reads.BEFORE)
    steps = (step, replace(step, reads=Reads.AFTER if drifted else Reads.BEFORE))
    trained = InferencePass("trained", "bn", before, after, steps, {})
    holds = {"bn/moving_mean": np.full(1, 7.5)} if drifted else {}
    drift = {"bn/beta": 0.0, "bn/moving_mean": 6.5 if drifted else 0.0}
    saved = Checkpoints("runs/trained.ckpt", "runs/evaluated.ckpt", drift, holds)
    return Record("case", side, "2.21.0", "ref", "v1", "no", (trained,), checkpoints=saved)


def test_a_comparison_shows_what_moved_and_what_did_not(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")  # so that no cell is wrapped
    judged = [(moved_record(side), VERDICT) for side in Side]
    print_comparison(judged, "+ the fix")
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "│" in line]
    table = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    assert table["trained session: bn/moving_mean"] == ["[1.] -> [3.]", "[1.], bit-identical"]
    assert "trained session: bn/beta" not in table  # moved on neither side
    assert table["trained session: outputs computed from"] == [
        "the statistics before the step: 1, updated statistics: 1",
        "the statistics before the step: 2",
    ]
    assert table["checkpoint after evaluation differs from the one before in"] == [
        "bn/moving_mean",
        "nothing",
    ]


@pytest.mark.parametrize("shown", [True, False])
def test_a_comparison_gives_reasons_if_a_side_does_not_show_its_claim(capsys, shown):
    verdict = VERDICT._replace(shown=shown)
    print_comparison([(moved_record(side), verdict) for side in Side], "+ the fix")
    printed = capsys.readouterr().out
    head = "fixed/case.py: unclear, " + ("as this side claims." if shown else "which is not what")
    assert head in printed
    assert ("A reason." in printed) == (not shown)


def test_the_reasons_name_what_moved_what_was_read_and_what_is_on_disk():
    drifted, still = (narrative.sentences(moved_record(side)) for side in Side)
    assert drifted == [
        "2 inferences in the trained session: bn/moving_mean moved by 2.",
        "1 of 2 outputs read statistics that the same step had updated; the session had run this "
        "fetch 0 times before.",
        "The checkpoint saved after evaluation: bn/moving_mean moved by 6.5.",
        "That checkpoint now has bn/moving_mean = [7.5].",
    ]
    assert still == [
        "2 inferences in the trained session: every variable bit-identical.",
        "0 of 2 outputs read statistics that the same step had updated; the session had run this "
        "fetch 0 times before.",
        "The checkpoint saved after evaluation: every variable bit-identical.",
    ]


def test_text_names_both_checkpoints():
    text = as_text(moved_record(Side.REPRO), VERDICT)
    assert "Saved after training:   runs/trained.ckpt\n" in text
    assert "Saved after evaluation: runs/evaluated.ckpt\n" in text


def test_a_failure_is_in_every_rendering(capsys):
    failed = replace(
        record([1.0, 2.0]), passes=(), failure=Failure(Phase.TRAIN, "ValueError", "no such feed")
    )
    assert as_json(failed, VERDICT)["failure"] == {
        "phase": "train",
        "error": "ValueError",
        "message": "no such feed",
    }
    print_comparison([(failed, VERDICT), (record([1.0, 2.0]), VERDICT)], "")
    printed = capsys.readouterr().out
    assert "train: ValueError: no such feed" in printed
    assert "never ran" in printed


def test_a_failure_at_the_start_can_be_drawn(tmp_path):
    path = tmp_path / "plot.svg"
    figure.draw([replace(record([1.0, 2.0]), passes=()), record([1.0, 2.0])], str(path))
    assert path.stat().st_size


def entry(**fields):
    return Entry(CaseFile("two_branch_cond", Side.REPRO, TWO_BRANCH), **fields)


@pytest.mark.parametrize(
    ("shown", "comparison"),
    [([True, True], Comparison.SHOWN), ([True, False], Comparison.NOT_SHOWN)],
)
def test_a_case_is_shown_if_both_sides_are(shown, comparison):
    sides = [(record([1.0, 2.0]), VERDICT._replace(shown=is_shown)) for is_shown in shown]
    assert entry(sides=sides).comparison is comparison


def test_the_table_of_all_cases_has_their_figures_or_the_reason_why_there_are_none(capsys):
    sides = [(record([1.0, 2.0]), VERDICT._replace(measures="moved by", figure="0.5"))] * 2
    print_entries([entry(sides=sides), entry(skipped="needs tf_keras")])
    printed = capsys.readouterr().out
    for fragment in ("two_branch_cond", "moving_mean and", "moved by", "0.5", "not shown"):
        assert fragment in printed
    assert "needs tf_keras" in printed
    assert "skipped" in printed
    document = entry_json(entry(skipped="needs tf_keras"))
    assert (document["verdict"], document["skipped"]) == ("skipped", "needs tf_keras")


def test_a_restored_session_that_never_trained_can_be_drawn(tmp_path):
    path = str(tmp_path / "plot.svg")
    figure.draw([record([1.0, 2.0])], path)
    with open(path, encoding="utf-8") as file:
        assert "fixed/case.py" in file.read()


@pytest.mark.parametrize(
    ("batch_size", "train", "warnings"), [(1, True, 1), (2, True, 0), (1, False, 0)]
)
def test_training_on_batches_of_one_is_warned_of(run_case, batch_size, train, warnings):
    record = run_case(
        "two_branch_cond", "fixed", batch_size=batch_size, train=train, train_steps=2, infer_steps=1
    )
    text = as_text(record, VERDICT._replace(reasons=tuple(narrative.sentences(record))))
    assert text.count("one value for each channel, so its variance is 0") == warnings
    assert text.count("Train on larger batches") == warnings


@pytest.mark.parametrize(
    ("environment", "width"), [({}, 100), ({"COLUMNS": "90"}, 90), ({"COLUMNS": "20"}, 72)]
)
def test_a_pipe_is_100_columns_wide_unless_columns_is_set(monkeypatch, environment, width):
    monkeypatch.delenv("COLUMNS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert console().width == width


def test_the_diff_of_a_comparison_is_printed_as_it_is(capsys):
    """A line of 101 characters is not wrapped or cut, and no line is padded."""
    line = "+" + "x" * 100
    print_comparison([(moved_record(side), VERDICT) for side in Side], f"{line}\n- y\n")
    assert f"\n{line}\n- y\n" in capsys.readouterr().out


def drawn(records, tmp_path, monkeypatch):
    """The solid and the dashed lines of each axis, as y values, of a figure."""
    figures = []
    monkeypatch.setattr(figure, "_save", lambda made, path: figures.append(made))
    figure.draw(records, str(tmp_path / "plot.svg"))
    return [
        {
            style: [line.get_ydata() for line in axis.lines if line.get_linestyle() == style]
            for style in ("-", "--")
        }
        for axis in figures[0].axes
    ]


def test_the_figure_shows_what_is_due_beside_what_was_left_out(run_case, tmp_path, monkeypatch):
    """Without its updates a statistic is flat, at 0 and 1; due is the recurrence, as in the fix."""
    records = [
        run_case("update_ops_never_run", side, train_steps=6, infer_steps=2) for side in Side
    ]
    repro_mean, fixed_mean, repro_variance, fixed_variance = drawn(records, tmp_path, monkeypatch)
    due = [run.layers[records[0].layer].expected for run in records[0].training]
    for channel in range(2):
        at_inference = due[-1].mean[channel]
        means = [0.0, *(step.mean[channel] for step in due), *[at_inference] * 2]
        np.testing.assert_allclose(repro_mean["--"][channel], np.array(means) - at_inference)
        np.testing.assert_array_equal(repro_mean["-"][channel], [-at_inference] * 9)
        np.testing.assert_array_equal(repro_variance["-"][channel], [1.0] * 9)
        assert repro_variance["--"][channel][-1] == due[-1].variance[channel] > 2
        for axis in (fixed_mean, fixed_variance):
            np.testing.assert_allclose(
                axis["-"][channel], axis["--"][channel], rtol=1e-4, atol=1e-4
            )
