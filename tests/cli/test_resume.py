"""`--resume`: a run goes on with its own flags, and to the same bytes."""

import json
import os

from bnguard.cli import commands
from click.testing import CliRunner
import numpy as np
import pytest
from support.source_case import CASE, REFERENCE, ROOT, draw


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run of 6 steps from seed 7 with a point after step 3."""
    folder = tmp_path_factory.mktemp("stopped")
    flags = ["--seed", "7", "--train-steps", "6", "--save-every", "3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        arguments = ["fixed", CASE, *flags, "--checkpoint-dir", str(folder)]
        result = CliRunner().invoke(commands.cli, arguments)
    assert result.exit_code == 0, result.output
    return str(folder / CASE / "fixed" / "run-1")


def test_a_run_is_resumed_with_its_own_flags(bnguard, stopped, tmp_path):
    result = bnguard("fixed", CASE, "--resume", stopped + "/step-3.ckpt", "--json")
    assert result.exit_code == 0, result.output
    resumed = os.path.dirname(json.loads(result.output)["checkpoints"]["before"])
    assert resumed == str(tmp_path / CASE / "fixed" / "run-1")  # where --checkpoint-dir says
    names = ["trained.ckpt.data-00000-of-00001", "step-6.ckpt.index", "training.jsonl"]
    for name in names:
        with open(os.path.join(stopped, name), "rb") as one, open(
            os.path.join(resumed, name), "rb"
        ) as other:
            assert one.read() == other.read()


def test_a_resumed_run_has_a_folder_of_its_own_beside_the_first(stopped, monkeypatch):
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(commands.cli, ["fixed", CASE, "--resume", stopped, "--json"])
    assert result.exit_code == 0, result.output
    folder = os.path.dirname(json.loads(result.output)["checkpoints"]["before"])
    assert os.path.basename(folder) != "run-1"
    assert os.path.dirname(folder) == os.path.dirname(stopped)


@pytest.mark.parametrize(
    ("flags", "fragments"),
    [
        (["--seed", "1006"], ["--seed 1006", "step-6.ckpt", "was started with 7", "Leave the"]),
        (["--batch-size", "5"], ["--batch-size 5", "was started with 4"]),
        (["--variables", "resource"], ["--variables resource", "was started with ref"]),
        (["--control-flow", "v2"], ["--control-flow v2", "was started with v1"]),
        (["--fused", "yes"], ["--fused yes", "was started with no"]),
        (["--train-steps", "5"], ["--train-steps 5", "has taken 6 already"]),
        (["--restore", REFERENCE], ["--resume goes on with training", "no --restore"]),
        (["--no-train"], ["--resume goes on with training", "no --no-train"]),
    ],
)
def test_flags_that_contradict_a_resumed_run_are_exit_2(bnguard, stopped, flags, fragments):
    result = bnguard("fixed", CASE, "--resume", stopped, *flags)
    assert result.exit_code == 2
    (error,) = result.output.splitlines()
    for fragment in fragments:
        assert fragment in error


def test_flags_that_agree_with_a_resumed_run_are_taken(bnguard, stopped):
    flags = ["--seed", "7", "--train-steps", "7", "--infer-steps", "1", "--save-every", "0"]
    result = bnguard("fixed", CASE, "--resume", stopped, *flags, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.output)
    folder = os.path.dirname(document["checkpoints"]["before"])
    assert not [name for name in os.listdir(folder) if name.startswith("step-")]
    assert len(document["passes"][0]["steps"]) == 1
    # the source's stream: seven batches of four, and then the row
    row = draw(4, 4, 4, 4, 4, 4, 4, 1, seed=7)
    np.testing.assert_allclose(document["passes"][0]["steps"][0]["x"], row, rtol=1e-6)


def test_another_sides_run_is_not_resumed(bnguard, stopped, tmp_path):
    result = bnguard("repro", CASE, "--resume", stopped)
    assert result.exit_code == 2
    assert "a point of fixed/two_branch_cond.py" in result.output
    assert os.listdir(str(tmp_path)) == []
