"""`bnguard repro`, `fixed` and `list`: output, exit status and options."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
from support.source_case import CASE, REFERENCE, ROOT, draw, make_cases
import tensorflow.compat.v1 as tf

from bnguard.cli import commands

pytestmark = pytest.mark.slow

FAILING = "update_ops_pull_other_inputs"


@pytest.mark.parametrize(("side", "verdict"), [("repro", "drift"), ("fixed", "still")])
def test_a_run_prints_the_sources_lines_then_the_verdict(bnguard, side, verdict):
    result = bnguard(side, CASE)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[2].startswith("x = [[  -1.782  100.941]], y = [[")
    assert "check = [[-1.842  1.387]], reads = " in lines[2]
    assert lines[3].startswith("BN Params: Beta [ 0.  0.] Gamma [ 1.  1.] mean [ -0.")
    assert sum(line.startswith("BN Params") for line in lines) == 20
    assert f"fused=no: {verdict}, as this side claims." in result.output


def test_repro_prints_what_the_source_printed(bnguard):
    output = bnguard("repro", CASE).output
    assert (
        "BN Params: Beta [ 0.  0.] Gamma [ 1.  1.] mean [ -0.2   99.93] var[ 0.818  0.589]"
        in output
    )
    assert (
        "BN Params: Beta [ 0.  0.] Gamma [ 1.  1.] mean [  -0.304  100.05 ] var[ 0.736  0.53 ]"
        in output
    )
    assert (
        "BN Params: Beta [ 0.  0.] Gamma [ 1.  1.] mean [ -0.285  99.98 ] var[ 0.662  0.477]"
        in output
    )
    assert "bn/moving_mean moved by 0.33" in output


def test_json_is_one_document_with_the_promised_keys(bnguard):
    document = json.loads(bnguard("repro", CASE, "--json").output)
    assert {
        "case": CASE,
        "side": "repro",
        "tensorflow": tf.__version__,
        "variables": "ref",
        "control_flow": "v1",
        "fused": "no",
        "verdict": "drift",
    }.items() <= document.items()
    assert [inferred["session"] for inferred in document["passes"]] == ["trained", "restored"]
    for inferred in document["passes"]:
        assert set(inferred["drift"]) == set(inferred["before"]) == set(inferred["after"])
        assert len(inferred["steps"]) == 10
        for step in inferred["steps"]:
            assert set(step) == {
                *("x", "y", "check", "beta", "gamma", "moving_mean", "moving_variance", "reads")
            }
            assert step["reads"] in ("before", "after", "mixed")


def test_the_error_that_a_case_is_about_is_its_result(bnguard):
    result = bnguard("repro", FAILING)
    assert result.exit_code == 0, result.output
    assert "fails, as this side claims" in result.output
    assert "Phase train ends in InvalidArgumentError: You must feed a value" in result.output


def test_list_ranks_by_the_words_of_a_symptom(bnguard):
    output = bnguard("list", "--symptom", "expected float_ref").output
    assert output.startswith("freeze_keeps_assign ")
    assert "gan_mixed_stats" not in output
    assert "None of these may fit" not in output


def test_list_says_that_nothing_may_fit(bnguard):
    output = bnguard("list", "--symptom", "convert COCO annotations to TFRecord").output
    assert "None of these may fit" in output


def test_list_has_answers_beside_cases(bnguard):
    output = bnguard(
        "list", "--symptom", "batch_normalization is not available with Keras 3"
    ).output
    assert output.startswith("not-available-with-keras-3 ")
    assert "bnguard.batch_normalization take the same arguments" in output


def test_list_names_every_case_and_its_symptom(bnguard):
    output = bnguard("list").output
    assert CASE in output
    assert "evaluation changes" in " ".join(output.split())


def test_another_programs_checkpoint_restores_and_infers(bnguard):
    result = bnguard("fixed", CASE, "--restore", REFERENCE, "--no-train", "--json")
    assert result.exit_code == 0, result.output
    (only,) = json.loads(result.output)["passes"]
    assert only["session"] == "restored"
    np.testing.assert_allclose(only["before"]["bn/moving_mean"], [-0.024, 99.818], atol=5e-4)
    np.testing.assert_allclose(only["before"]["bn/moving_variance"], [0.908, 0.654], atol=5e-4)


def test_restore_with_training_starts_from_the_checkpoint(bnguard):
    flags = ["--restore", REFERENCE, "--train-steps", "1", "--json"]
    first, second = json.loads(bnguard("fixed", CASE, *flags).output)["passes"]
    assert (first["session"], second["session"]) == ("trained", "restored")
    batch = draw(4)
    mean = 0.9 * np.array([-2.4101883e-02, 9.9817642e01]) + 0.1 * batch.mean(axis=0)
    np.testing.assert_allclose(first["before"]["bn/moving_mean"], mean, rtol=1e-5)


def test_no_train_alone_infers_from_the_initial_values(bnguard):
    first, _ = json.loads(bnguard("fixed", CASE, "--no-train", "--json").output)["passes"]
    assert first["session"] == "initialized"
    assert first["before"]["bn/moving_mean"] == [0, 0]
    np.testing.assert_allclose(first["steps"][0]["x"], draw(1), rtol=1e-6)


def test_the_options_of_steps_and_data_reach_the_run(bnguard):
    flags = ["--train-steps", "3", "--batch-size", "5", "--infer-steps", "2", "--seed", "7"]
    first, _ = json.loads(bnguard("fixed", CASE, *flags, "--json").output)["passes"]
    assert len(first["steps"]) == 2
    np.testing.assert_allclose(first["steps"][1]["x"], draw(5, 5, 5, 1, 1, seed=7), rtol=1e-6)


def test_a_run_that_does_not_show_its_claim_exits_with_1(bnguard, tmp_path, monkeypatch):
    """The fixed construction in repro/: the status says that it shows no defect."""
    for side in ("repro", "fixed"):
        os.mkdir(str(tmp_path / side))
        source = os.path.join(ROOT, "fixed", CASE + ".py")
        shutil.copy(source, str(tmp_path / side / (CASE + ".py")))
    monkeypatch.chdir(tmp_path)
    result = bnguard("repro", CASE)
    assert result.exit_code == 1
    assert "still, which is not what this side claims" in result.output
    assert bnguard("compare", CASE).exit_code == 1


def test_the_build_options_reach_the_graph(bnguard):
    flags = ["--fused", "yes", "--variables", "resource", "--control-flow", "v2"]
    document = json.loads(bnguard("fixed", CASE, *flags, "--json").output)
    assert (document["fused"], document["variables"], document["control_flow"]) == (
        *("yes", "resource", "v2"),
    )
    # the fused kernel's variance of a batch of 4 is 4/3 of the population's
    after = document["passes"][0]["after"]["bn/moving_variance"]
    np.testing.assert_allclose(after, np.array([0.90838, 0.65437]) * 4 / 3, rtol=1e-4)


def test_a_case_file_runs_itself_from_any_folder(tmp_path, monkeypatch, capsys):
    """The fixed construction in another folder's repro/, run from inside this checkout."""
    home = make_cases(tmp_path, str)
    source = os.path.join(home, "fixed", CASE + ".py")
    target = shutil.copy(source, os.path.join(home, "repro", CASE + ".py"))
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [target, "--checkpoint-dir", str(tmp_path)])
    monkeypatch.setattr(commands.signals, "install", lambda: None)  # keep the handlers of pytest
    with pytest.raises(SystemExit) as stopped:
        commands.main(target)
    assert stopped.value.code == 1
    assert "still, which is not what this side claims" in capsys.readouterr().out
