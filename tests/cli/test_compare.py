"""`bnguard compare`: one case on both sides, or all of them."""

import json
import os
import shutil

import pytest
from support.source_case import CASE, ROOT

pytestmark = pytest.mark.slow

FAILING = "update_ops_pull_other_inputs"


def test_compare_shows_both_sides_and_the_diff(bnguard):
    result = bnguard("compare", CASE)
    assert result.exit_code == 0, result.output
    assert "bit-identical" in result.output
    assert "+        is_training=is_training," in result.output
    assert (
        "-    return tf.cond(is_training, lambda: bn_train, lambda: bn_inference)" in result.output
    )


def test_compare_json_holds_both_sides(bnguard):
    document = json.loads(bnguard("compare", CASE, "--json").output)
    assert (document["repro"]["verdict"], document["fixed"]["verdict"]) == ("drift", "still")
    assert document["diff"].startswith("--- repro/two_branch_cond.py\n+++ fixed/two_branch_cond.py")


@pytest.fixture
def small_catalogue(bnguard, tmp_path, monkeypatch):
    """`bnguard` in a catalogue of two cases, and a third that needs a missing module."""
    for side in ("repro", "fixed"):
        os.mkdir(str(tmp_path / side))
        for name in (CASE, FAILING):
            shutil.copy(os.path.join(ROOT, side, name + ".py"), str(tmp_path / side))
        needy = tmp_path / side / "needy.py"
        needy.write_text('"""Needy.\n\nSymptom\n    It needs.\n"""\nimport no_such_module\n')
    monkeypatch.chdir(tmp_path)
    return bnguard


def test_compare_all_prints_one_table_of_every_case(small_catalogue, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")  # so that no cell is wrapped
    result = small_catalogue("compare", "--all", "--train-steps", "20")
    assert result.exit_code == 0, result.output
    printed = result.output
    assert "evaluation changes" not in printed  # the first sentence of a symptom only
    for fragment in (CASE, "moving_mean moved by", "shown", FAILING, "InvalidArgumentError"):
        assert fragment in printed
    assert "no_such_module" in printed
    assert "skipped" in printed


def test_compare_all_json_holds_every_record(small_catalogue):
    result = small_catalogue("compare", "--all", "--train-steps", "20", "--json")
    cases = {case["case"]: case for case in json.loads(result.output)["cases"]}
    verdicts = {name: case["verdict"] for name, case in cases.items()}
    assert verdicts == {CASE: "shown", FAILING: "shown", "needy": "skipped"}
    assert cases[CASE]["repro"]["verdict"] == "drift"
    assert cases[FAILING]["repro"]["failure"]["phase"] == "train"
    assert cases[FAILING]["measures"] == "TensorFlow's error"
    assert "no_such_module" in cases["needy"]["skipped"]


def test_compare_all_skips_a_graph_that_tensorflow_refuses(bnguard, tmp_path, monkeypatch):
    for side in ("repro", "fixed"):
        os.mkdir(str(tmp_path / side))
        for name in (CASE, "update_ops_in_control_flow"):
            shutil.copy(os.path.join(ROOT, side, name + ".py"), str(tmp_path / side))
    monkeypatch.chdir(tmp_path)
    result = bnguard("compare", "--all", "--json", "--control-flow", "v2", "--train-steps", "5")
    first, second = json.loads(result.output)["cases"]
    assert (first["verdict"], second["verdict"]) == ("shown", "skipped")
    assert "fails on TensorFlow" in second["skipped"]
    assert "with ref variables, control flow v2" in second["skipped"]


@pytest.mark.slow
def test_compare_all_exits_with_1_if_a_case_is_not_shown(small_catalogue, tmp_path):
    shutil.copy(str(tmp_path / "fixed" / (CASE + ".py")), str(tmp_path / "repro"))
    result = small_catalogue("compare", "--all")
    assert result.exit_code == 1
    assert "not shown" in result.output


def test_logdir_gets_the_events_of_both_sides(bnguard, tmp_path):
    folder = tmp_path / "logs"
    assert bnguard("compare", CASE, "--logdir", str(folder)).exit_code == 0
    assert sorted(os.listdir(str(folder / CASE))) == ["fixed", "repro"]


@pytest.mark.parametrize(("name", "magic"), [("plot.png", b"\x89PNG"), ("plot.svg", b"<?xml")])
def test_plot_writes_the_figure(bnguard, tmp_path, name, magic):
    path = str(tmp_path / name)
    assert bnguard("compare", CASE, "--plot", path).exit_code == 0
    with open(path, "rb") as file:
        assert file.read(len(magic)) == magic
