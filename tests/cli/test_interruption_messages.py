"""What Ctrl-C would say, from moment to moment, and that the command in it works."""

import os
import shlex

from bnguard.cli import commands
from bnguard.runtime import signals
import pytest
from support.source_case import CASE, make_cases


@pytest.fixture
def told(monkeypatch):
    """What the command line has told so far."""
    said = []
    monkeypatch.setattr(signals, "tell", said.append)
    return said


def command(line):
    """The arguments of the `bnguard` command in a line."""
    _, quoted, _ = line.split("`")
    name, *arguments = shlex.split(quoted)
    assert name == "bnguard"
    return arguments


def test_at_first_nothing_is_saved_then_each_point_is_told(bnguard, told, tmp_path):
    bnguard("fixed", CASE, "--train-steps", "4", "--save-every", "2")
    folder = tmp_path / CASE / "fixed" / "run-1"
    assert told[0] == signals.NOTHING_SAVED
    assert told[1:] == [
        f"the last complete checkpoint is {folder}/step-{step}.ckpt; go on with "
        f"`bnguard fixed {CASE} --resume {folder}/step-{step}.ckpt`"
        for step in (2, 4)
    ]


@pytest.mark.parametrize("flags", [["--save-every", "0", "--train-steps", "1"], ["--no-train"]])
def test_where_there_are_no_points_it_is_what_inference_starts_from(bnguard, told, tmp_path, flags):
    assert bnguard("fixed", CASE, *flags).exit_code == 0
    prefix = str(tmp_path / CASE / "fixed" / "run-1" / "trained.ckpt")
    assert told[1:] == [f"the last complete checkpoint is {prefix}; --restore reads it"]
    assert bnguard("fixed", CASE, "--restore", prefix, "--no-train").exit_code == 0


def test_what_only_infers_has_nothing_to_lose(bnguard, told, tmp_path):
    bnguard("fixed", CASE, "--train-steps", "1")
    prefix = str(tmp_path / CASE / "fixed" / "run-1" / "trained.ckpt")
    del told[:]
    bnguard("fixed", CASE, "--restore", prefix, "--no-train")
    assert told == [signals.NOTHING_SAVED]


def test_compare_does_not_forget_its_first_side(bnguard, told):
    bnguard("compare", CASE, "--train-steps", "1")
    assert told.count(signals.NOTHING_SAVED) == 1
    assert [line.split("`")[1].split()[1] for line in told[1:]] == ["repro", "fixed"]


def test_the_command_works_whatever_the_folders_are_called(bnguard, told, tmp_path, monkeypatch):
    """With a blank and an apostrophe in both names, and the cases not the default ones."""
    (tmp_path / "it's").mkdir()
    home = make_cases(tmp_path / "it's", str)
    folder = str(tmp_path / "it's" / "a folder")
    flags = ["--train-steps", "1", "--checkpoint-dir", folder]
    assert cli_runs("--cases", home, "fixed", CASE, *flags).exit_code == 0
    assert command(told[-1])[:2] == ["--cases", home]
    monkeypatch.chdir(tmp_path)
    result = cli_runs(*command(told[-1]))
    assert result.exit_code == 0, result.output
    assert os.path.isdir(os.path.join(folder, CASE, "fixed", "run-2"))


def cli_runs(*arguments):
    """`bnguard` where the current folder is."""
    from click.testing import CliRunner

    return CliRunner().invoke(commands.cli, arguments)
