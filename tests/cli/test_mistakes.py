"""A mistake at the command line is one line and exit status 2, and loses nothing."""

import os
import shutil
import subprocess
import sys

from click.testing import CliRunner
import pytest
from support import forked
from support.source_case import CASE, REFERENCE, ROOT, make_cases
import tensorflow.compat.v1 as tf

from bnguard.cli import commands
from bnguard.harness.cases import folders
from bnguard.harness.run import experiment

pytestmark = pytest.mark.slow

NOT_UTF_8 = os.fsdecode(b"x\xff")


def test_an_error_that_a_case_is_not_about_is_exit_2(bnguard):
    result = bnguard("repro", "update_ops_in_control_flow", "--control-flow", "v2")
    assert result.exit_code == 2
    (error,) = result.output.splitlines()
    assert "fails on TensorFlow" in error
    assert "with ref variables, control flow v2" in error


@pytest.mark.parametrize("side", ["repro", "fixed"])
def test_a_variable_that_the_cases_own_saver_misses_is_named(bnguard, tmp_path, side):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("other/beta", initializer=1.0)
        session.run(tf.global_variables_initializer())
        path = tf.train.Saver().save(session, str(tmp_path / "other.ckpt"))
    result = bnguard(side, "restore_misses_stats", "--restore", path)
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith(f"Error: {path}: the checkpoint has no ")
    assert line.endswith("Give a checkpoint of this case.") or line.endswith("of this model.")


def test_a_batch_that_does_not_fit_in_memory_is_a_mistake(bnguard, monkeypatch):
    """Raise the error of NumPy; to cause it would mean to fill the machine's memory."""

    def refuse(stream, size):
        raise MemoryError(f"Unable to allocate an array with shape ({size}, 2)")

    monkeypatch.setattr(experiment._Stream, "batch", refuse)
    result = bnguard("fixed", CASE, "--batch-size", str(2**31 - 1), "--train-steps", "1")
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith("Error: not enough memory (")
    assert "give a smaller --batch-size" in line


@pytest.mark.parametrize(
    ("args", "fragments"),
    [
        (["repro", "nosuch"], ["unknown case 'nosuch'", "two_branch_cond"]),
        (["compare", "../repro/two_branch_cond"], ["unknown case", "known cases are"]),
        (["compare"], ["either a CASE or --all"]),
        (["compare", CASE, "--all"], ["either a CASE or --all"]),
        (["compare", "--all", "--plot", "plot.png"], ["--plot needs a CASE"]),
        (["compare", "--all", "--restore", "model.ckpt"], ["--restore needs a CASE"]),
        (["list", "--symptom", "qqq"], ["--symptom 'qqq'", "`bnguard list` shows all"]),
        (["repro", CASE, "--train-steps", "0"], ["--train-steps"]),
        (["repro", CASE, "--infer-steps", "-1"], ["--infer-steps"]),
        (["repro", CASE, "--batch-size", "0"], ["--batch-size"]),
        (["repro", CASE, "--seed", "-1"], ["--seed"]),
        (["repro", CASE, "--fused", "maybe"], ["--fused", "auto", "yes", "no"]),
        (["repro", CASE, "--plot", "plot.txt"], ["--plot plot.txt", ".png or .svg"]),
        (["repro", CASE, "--plot", "none/plot.png"], ["no folder none", "create it"]),
        (["fixed", CASE, "--restore", "none/model.ckpt"], ["none/model.ckpt: no checkpoint found"]),
        (["fixed", CASE, "--restore", ""], ["--restore", "it is empty"]),
        (["fixed", CASE, "--plot", ""], ["--plot", "it is empty"]),
        (["nosuch"], ["No such command 'nosuch'"]),
        *(
            (["repro", CASE, flag, count], [flag, "not in the range"])
            for flag in ("--train-steps", "--infer-steps", "--batch-size")
            for count in (str(2**31), str(2**62), "9" * 20)
        ),
        (["fixed", CASE, "--logdir", NOT_UTF_8], ["--logdir", "UTF-8"]),
        (["fixed", CASE, "--restore", NOT_UTF_8], ["no checkpoint there", "UTF-8"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(bnguard, args, fragments):
    result = bnguard(*args)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)  # no traceback
    (error,) = result.output.splitlines()
    assert error.startswith("Error: ")
    for fragment in fragments:
        assert fragment in error


@pytest.mark.parametrize("kept", [0, 100])
def test_a_truncated_checkpoint_is_exit_2(bnguard, tmp_path, kept):
    prefix = str(tmp_path / "contrib.ckpt")
    for ending in (".index", ".data-00000-of-00001"):
        shutil.copy(REFERENCE + ending, prefix + ending)
    with open(prefix + ".index", "r+b") as file:
        file.truncate(kept)
    result = bnguard("fixed", CASE, "--restore", prefix, "--no-train")
    assert result.exit_code == 2
    (error,) = result.output.splitlines()
    assert f"Error: {prefix}: the checkpoint cannot be read" in error


@pytest.mark.parametrize("case", ["freeze_keeps_assign", "saver_trainable_only"])
def test_damage_is_reported_before_the_cases_own_code_reads_the_checkpoint(bnguard, tmp_path, case):
    """Damage is neither the error that a case is about nor a variable that a Saver left out."""
    bnguard("repro", case, "--train-steps", "1")
    prefix = str(tmp_path / case / "repro" / "run-1" / "trained.ckpt")
    with open(prefix + ".data-00000-of-00001", "rb+") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))
    result = bnguard("repro", case, "--restore", prefix, "--no-train")
    assert result.exit_code == 2
    (error,) = result.output.splitlines()
    assert f"{prefix}: the checkpoint cannot be read" in error


@pytest.mark.parametrize(
    ("before", "after", "fragments"),
    [
        (
            "tf.placeholder(tf.bool, [],",
            "tf.placeholder(tf.int32, [],",
            ["is_training", "of type int32", "bool tensor"],
        ),
        (
            "tf.placeholder(tf.bool, [],",
            "tf.placeholder(tf.bool, [1],",
            ["is_training", "shape (1,)", "rank 0"],
        ),
        ("[None, 2]", "[None, None]", ["undefined channels", "set_shape"]),
        ("[None, 2]", "[None]", ["has shape (", "at least 2"]),
        ("[None, 2]", "None", ["undefined rank", "set_shape"]),
    ],
)
def test_a_graph_that_the_layer_refuses_is_exit_2(bnguard, tmp_path, before, after, fragments):
    home = make_cases(tmp_path, lambda text: text.replace(before, after))
    result = bnguard("--cases", home, "fixed", CASE)
    assert result.exit_code == 2
    (error,) = result.output.splitlines()
    for fragment in ["fixed/two_branch_cond.py", *fragments]:
        assert fragment in error
    assert not os.path.exists(str(tmp_path / CASE))  # where the run would have saved


@pytest.mark.parametrize(
    "start",
    [
        f"from bnguard.cli import main; sys.argv = ['bnguard', 'repro', '{CASE}']; main()",
        f"import runpy; runpy.run_path('repro/{CASE}.py', run_name='__main__')",
    ],
)
def test_without_tensorflow_a_run_says_what_to_install(start):
    blocked = f"import sys; sys.modules['tensorflow'] = None; {start}"
    process = subprocess.run(
        [sys.executable, "-c", blocked], capture_output=True, check=False, cwd=ROOT
    )
    assert process.returncode == 2
    (error,) = process.stderr.decode().splitlines()
    assert error.startswith("Error: TensorFlow (1.15 to 2.21) is not installed")
    assert "pip install 'bnguard[cases]'" in error


def test_an_unwritable_folder_is_exit_2(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    occupied = tmp_path / "file"
    occupied.write_text("in the way")
    result = CliRunner().invoke(commands.cli, ["repro", CASE, "--checkpoint-dir", str(occupied)])
    assert result.exit_code == 2
    assert "cannot save a checkpoint there" in result.output
    assert occupied.read_text() == "in the way"


@pytest.mark.parametrize(
    ("shape", "fragments"),
    [
        ({"bn/beta": [2]}, ["has no bn/gamma, bn/moving_mean, bn/moving_variance"]),
        (
            {f"bn/{name}": [3] for name in ("beta", "gamma", "moving_mean", "moving_variance")},
            ["bn/beta has shape (3,)", "in the checkpoint, (2,)"],
        ),
    ],
)
def test_another_models_checkpoint_is_exit_2_and_nothing_is_written(
    bnguard, tmp_path, shape, fragments
):
    with tf.Graph().as_default(), tf.Session() as session:
        for name, dimensions in shape.items():
            tf.get_variable(name, dimensions)
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "other" / "model.ckpt"))
    for flags in (["--no-train"], []):
        result = bnguard("fixed", CASE, "--restore", prefix, *flags)
        assert result.exit_code == 2
        for fragment in fragments:
            assert fragment in result.output
    assert os.listdir(str(tmp_path)) == ["other"]


def test_without_any_cases_the_message_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folders, "_defaults", lambda: [str(tmp_path / "nowhere")])
    result = CliRunner().invoke(commands.cli, ["list"])
    assert result.exit_code == 2
    (error,) = result.output.splitlines()
    assert f"the cases are not installed: no repro/ and fixed/ in ., {tmp_path}/nowhere" in error
    assert "--cases" in error


def test_a_checkpoint_folder_that_tensorflow_cannot_name_is_exit_2(monkeypatch):
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(commands.cli, ["fixed", CASE, "--checkpoint-dir", NOT_UTF_8])
    assert result.exit_code == 2
    (error,) = result.output.splitlines()
    assert "TensorFlow can use no checkpoint there" in error
    assert not os.path.exists(os.path.join(ROOT, NOT_UTF_8))


@pytest.mark.full_disk
def test_results_are_printed_even_if_their_events_cannot_be_written(tmp_path):
    """The file of one pass would be the largest that the run writes."""
    flags = ["--train-steps", "1", "--infer-steps", "300"]
    folders = ["--checkpoint-dir", str(tmp_path), "--logdir", str(tmp_path / "logs")]
    code, stdout, stderr = forked.run(
        tmp_path, "fixed", CASE, *flags, *folders, largest_file=150000
    )
    assert code == 2
    assert stdout.endswith("saved after evaluation: every variable bit-identical.\n")
    (error,) = stderr.splitlines()
    assert error.startswith(f"Error: --logdir {tmp_path}/logs/{CASE}/fixed/trained session: cannot")
    assert "File too large" in error


@pytest.mark.full_disk
def test_a_plot_that_cannot_be_written_leaves_the_earlier_one(tmp_path):
    """The limit lets the checkpoints through, and half of the picture."""
    path = tmp_path / "plot.svg"
    path.write_bytes(b"the one before")
    flags = ["--train-steps", "1", "--infer-steps", "1"]
    targets = ["--checkpoint-dir", str(tmp_path / "runs"), "--plot", str(path)]
    code, stdout, stderr = forked.run(tmp_path, "fixed", CASE, *flags, *targets, largest_file=25000)
    assert code == 2
    assert stdout.endswith("saved after evaluation: every variable bit-identical.\n")
    (error,) = stderr.splitlines()
    assert error.startswith(f"Error: --plot {path}: cannot be written (File too large)")
    assert path.read_bytes() == b"the one before"
    assert not (tmp_path / "plot.svg.tmp").exists()


def test_a_plot_follows_a_link_and_leaves_no_other_file(bnguard, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "plot.svg").symlink_to(tmp_path / "pictures" / "its.svg")
    flags = ["--train-steps", "1", "--infer-steps", "1", "--plot", str(tmp_path / "plot.svg")]
    assert bnguard("fixed", CASE, *flags).exit_code == 0
    assert os.listdir(str(tmp_path / "pictures")) == ["its.svg"]
    assert (tmp_path / "plot.svg").is_symlink()


def test_a_writable_plot_in_a_read_only_folder_is_replaced(tmp_path):
    folder, runs = tmp_path / "pictures", str(tmp_path / "runs")
    folder.mkdir()
    (folder / "plot.svg").write_bytes(b"the one before")
    flags = ["--train-steps", "1", "--infer-steps", "1", "--checkpoint-dir", runs, "--plot"]
    folder.chmod(0o500)
    try:
        written = forked.run(
            tmp_path, "fixed", CASE, *flags, str(folder / "plot.svg"), unprivileged=True
        )
        refused = forked.run(
            tmp_path, "fixed", CASE, *flags, str(folder / "new.svg"), unprivileged=True
        )
    finally:
        folder.chmod(0o700)
    assert (written[0], written[2]) == (0, "")
    assert (folder / "plot.svg").read_bytes().startswith(b"<?xml")
    assert refused[:2] == (2, "")
    assert "new.svg: cannot be written (permission denied)" in refused[2]


def test_a_plot_is_not_drawn_into_a_pipe(bnguard, tmp_path):
    path = str(tmp_path / "pipe.png")
    os.mkfifo(path)
    result = bnguard("fixed", CASE, "--plot", path)
    assert result.exit_code == 2
    assert "expected the name of a file" in result.output
