"""The message of Ctrl-C names the last complete checkpoint at every moment of a run."""

import pytest
from support.source_case import CASE

from bnguard.runtime import signals

pytestmark = pytest.mark.slow


@pytest.fixture
def messages(monkeypatch):
    """The messages that the command line has set so far."""
    found = []
    monkeypatch.setattr(signals, "set_message", found.append)
    return found


def complete(prefix):
    return f"the last complete checkpoint is {prefix}; --restore reads it"


@pytest.mark.parametrize("options", [["--train-steps", "1"], ["--no-train"]])
def test_each_checkpoint_is_named_once_it_is_complete(bnguard, messages, tmp_path, options):
    assert bnguard("fixed", CASE, *options).exit_code == 0
    folder = tmp_path / CASE / "fixed" / "run-1"
    trained = str(folder / "trained.ckpt")
    assert messages == [
        signals.NOTHING_SAVED,
        complete(trained),
        complete(folder / "evaluated.ckpt"),
    ]
    assert bnguard("fixed", CASE, "--restore", trained, "--no-train").exit_code == 0


def test_a_run_that_only_infers_saves_nothing(bnguard, messages, tmp_path):
    bnguard("fixed", CASE, "--train-steps", "1")
    prefix = str(tmp_path / CASE / "fixed" / "run-1" / "trained.ckpt")
    del messages[:]
    bnguard("fixed", CASE, "--restore", prefix, "--no-train")
    assert messages == [signals.NOTHING_SAVED]


def test_compare_names_the_checkpoints_of_its_first_side_until_the_second_saves(bnguard, messages):
    bnguard("compare", CASE, "--train-steps", "1")
    assert messages[0] == signals.NOTHING_SAVED
    assert signals.NOTHING_SAVED not in messages[1:]
    sides = [message.split(f"/{CASE}/")[1].split("/")[0] for message in messages[1:]]
    assert sides == ["repro", "repro", "fixed", "fixed"]
