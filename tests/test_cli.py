"""The command line in process: output, exit status, and one line for every mistake."""

import json
import os
import shutil
import subprocess
import sys

from bnguard import cli
from click.testing import CliRunner
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REFERENCE = os.path.join(ROOT, "checkpoints", "reference", "contrib.ckpt")
CASE = "two_branch_cond"
FAILING = "update_ops_pull_other_inputs"


@pytest.fixture
def bnguard(tmp_path, monkeypatch):
    """Run `bnguard ...` with a checkpoint folder of its own."""
    monkeypatch.chdir(ROOT)

    def run(*args):
        runs = {"repro", "fixed", "compare"} & set(args)
        folder = ["--checkpoint-dir", str(tmp_path)] if runs else []
        return CliRunner().invoke(cli.cli, [*args, *folder])

    return run


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
    assert [one["session"] for one in document["passes"]] == ["trained", "restored"]
    for one in document["passes"]:
        assert set(one["drift"]) == set(one["before"]) == set(one["after"])
        assert len(one["steps"]) == 10
        for step in one["steps"]:
            assert set(step) == {
                *("x", "y", "check", "beta", "gamma", "moving_mean", "moving_variance", "reads")
            }
            assert step["reads"] in ("before", "after", "mixed")


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
    """`bnguard` where there are two cases, and a third that needs what nobody has."""
    for side in ("repro", "fixed"):
        os.mkdir(str(tmp_path / side))
        for name in (CASE, FAILING):
            shutil.copy(os.path.join(ROOT, side, name + ".py"), str(tmp_path / side))
        needy = tmp_path / side / "needy.py"
        needy.write_text('"""Needy.\n\nSymptom\n    It needs.\n"""\nimport no_such_module\n')
    monkeypatch.chdir(tmp_path)
    return bnguard


def test_compare_all_prints_one_table_of_every_case(small_catalogue):
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
    assert cases[FAILING]["measures"] == "what TensorFlow says"
    assert "no_such_module" in cases["needy"]["skipped"]


def test_compare_all_shows_what_tensorflow_refuses_and_goes_on(bnguard, tmp_path, monkeypatch):
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


def test_compare_all_exits_with_1_where_a_case_is_not_shown(small_catalogue, tmp_path):
    shutil.copy(str(tmp_path / "fixed" / (CASE + ".py")), str(tmp_path / "repro"))
    result = small_catalogue("compare", "--all")
    assert result.exit_code == 1
    assert "not shown" in result.output


def test_an_error_that_a_case_is_about_is_its_finding(bnguard):
    result = bnguard("repro", FAILING)
    assert result.exit_code == 0, result.output
    assert "fails, as this side claims" in result.output
    assert "Phase train ends in InvalidArgumentError: You must feed a value" in result.output


def test_an_error_that_a_case_is_not_about_is_exit_2(bnguard):
    result = bnguard("repro", "update_ops_in_control_flow", "--control-flow", "v2")
    assert result.exit_code == 2
    (error,) = result.output.splitlines()
    assert "fails on TensorFlow" in error
    assert "with ref variables, control flow v2" in error


def test_list_ranks_by_the_words_of_a_symptom(bnguard):
    output = bnguard("list", "--symptom", "expected float_ref").output
    assert "freeze_keeps_assign" in output
    assert "gan_mixed_stats" not in output


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


@pytest.mark.parametrize("side", ["repro", "fixed"])
def test_what_the_cases_own_saver_does_not_find_is_named(bnguard, tmp_path, side):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("other/beta", initializer=1.0)
        session.run(tf.global_variables_initializer())
        path = tf.train.Saver().save(session, str(tmp_path / "other.ckpt"))
    result = bnguard(side, "restore_misses_stats", "--restore", path)
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith(f"Error: {path}: the checkpoint has no ")
    assert line.endswith("Give a checkpoint of this case.") or line.endswith("of this model.")


def test_a_batch_that_no_memory_holds_is_said(bnguard):
    result = bnguard("fixed", CASE, "--batch-size", str(10**14), "--train-steps", "1")
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith("Error: not enough memory (")
    assert "give a smaller --batch-size" in line


def test_restore_with_training_goes_on_from_the_checkpoint(bnguard):
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


def test_the_step_flags_count(bnguard):
    flags = ["--train-steps", "3", "--batch-size", "5", "--infer-steps", "2", "--seed", "7"]
    first, _ = json.loads(bnguard("fixed", CASE, *flags, "--json").output)["passes"]
    assert len(first["steps"]) == 2
    np.testing.assert_allclose(first["steps"][1]["x"], draw(5, 5, 5, 1, 1, seed=7), rtol=1e-6)


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


@pytest.mark.parametrize(
    ("args", "fragments"),
    [
        (["repro", "nosuch"], ["unknown case 'nosuch'", "two_branch_cond"]),
        (["compare", "../repro/two_branch_cond"], ["unknown case", "known cases are"]),
        (["compare"], ["either a CASE or --all"]),
        (["compare", CASE, "--all"], ["either a CASE or --all"]),
        (["compare", "--all", "--plot", "plot.png"], ["--plot is for one case"]),
        (["compare", "--all", "--restore", "model.ckpt"], ["--restore is for one case"]),
        (["list", "--symptom", "qqq"], ["--symptom 'qqq'", "`bnguard list` shows all"]),
        (["repro", CASE, "--train-steps", "0"], ["--train-steps"]),
        (["repro", CASE, "--infer-steps", "-1"], ["--infer-steps"]),
        (["repro", CASE, "--batch-size", "0"], ["--batch-size"]),
        (["repro", CASE, "--seed", "-1"], ["--seed"]),
        (["repro", CASE, "--save-every", "-1"], ["--save-every"]),
        (["repro", CASE, "--resume", "none"], ["none", "no run can go on"]),
        (["compare", CASE, "--resume", "none"], ["No such option", "--resume"]),
        (["repro", CASE, "--fused", "maybe"], ["--fused", "auto", "yes", "no"]),
        (["repro", CASE, "--plot", "plot.txt"], ["--plot plot.txt", ".png or .svg"]),
        (["repro", CASE, "--plot", "none/plot.png"], ["no folder none", "create it"]),
        (["fixed", CASE, "--restore", "none/model.ckpt"], ["none/model.ckpt: no checkpoint found"]),
        (["fixed", CASE, "--restore", ""], ["--restore", "it is empty"]),
        (["fixed", CASE, "--plot", ""], ["--plot", "it is empty"]),
        (["nosuch"], ["No such command 'nosuch'"]),
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


def test_the_build_flags_reach_the_graph(bnguard):
    flags = ["--fused", "yes", "--variables", "resource", "--control-flow", "v2"]
    document = json.loads(bnguard("fixed", CASE, *flags, "--json").output)
    assert (document["fused"], document["variables"], document["control_flow"]) == (
        *("yes", "resource", "v2"),
    )
    # the fused kernel's variance of a batch of 4 is 4/3 of the population's
    after = document["passes"][0]["after"]["bn/moving_variance"]
    np.testing.assert_allclose(after, np.array([0.90838, 0.65437]) * 4 / 3, rtol=1e-4)


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
def test_damage_is_said_before_a_program_of_the_cases_own_reads_it(bnguard, tmp_path, case):
    """Not taken for the error that a case is about, nor for a Saver's that leaves things out."""
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


def test_a_case_without_its_twin_is_exit_2(bnguard, tmp_path):
    home = make_cases(tmp_path, str)
    os.remove(os.path.join(home, "fixed", CASE + ".py"))
    result = bnguard("--cases", home, "compare", CASE)
    assert result.exit_code == 2
    assert "fixed/two_branch_cond.py: there is no such file" in result.output


def test_a_case_file_runs_itself_wherever_it_is_run_from(tmp_path, monkeypatch, capsys):
    """The fixed construction in another folder's repro/, run from inside this checkout."""
    home = make_cases(tmp_path, str)
    source = os.path.join(home, "fixed", CASE + ".py")
    target = shutil.copy(source, os.path.join(home, "repro", CASE + ".py"))
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [target, "--checkpoint-dir", str(tmp_path)])
    monkeypatch.setattr(cli.interrupts, "install", lambda: None)  # this process goes on
    with pytest.raises(SystemExit) as stopped:
        cli.main(target)
    assert stopped.value.code == 1
    assert "still, which is not what this side claims" in capsys.readouterr().out


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run of 6 steps from seed 7 with a point after step 3."""
    folder = tmp_path_factory.mktemp("stopped")
    flags = ["--seed", "7", "--train-steps", "6", "--save-every", "3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        arguments = ["fixed", CASE, *flags, "--checkpoint-dir", str(folder)]
        result = CliRunner().invoke(cli.cli, arguments)
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
    result = CliRunner().invoke(cli.cli, ["fixed", CASE, "--resume", stopped, "--json"])
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
    assert error.startswith("Error: TensorFlow is not installed")
    assert "pip install tensorflow" in error


def test_an_unwritable_folder_is_exit_2(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    occupied = tmp_path / "file"
    occupied.write_text("in the way")
    result = CliRunner().invoke(cli.cli, ["repro", CASE, "--checkpoint-dir", str(occupied)])
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


def test_outside_a_checkout_the_message_says_where_the_cases_are(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.catalogue, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    result = CliRunner().invoke(cli.cli, ["list"])
    assert result.exit_code == 2
    assert "no repro/ and fixed/ here" in result.output
    assert "Run bnguard from a checkout" in result.output


def test_a_case_file_runs_by_itself_and_tensorflow_is_quiet(tmp_path):
    """In a process of its own: stdout is the JSON document alone, stderr is empty."""
    command = [sys.executable, os.path.join(ROOT, "repro", CASE + ".py"), "--json"]
    process = subprocess.run(
        [*command, "--checkpoint-dir", str(tmp_path)], capture_output=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout.decode())["verdict"] == "drift"
    assert process.stderr == b""


def make_cases(folder, change):
    """A folder with repro/ and fixed/ that hold the source's case, its text changed."""
    home = folder / "cases"
    for side in ("repro", "fixed"):
        with open(os.path.join(ROOT, side, CASE + ".py"), encoding="utf-8") as file:
            text = change(file.read())
        (home / side).mkdir(parents=True)
        (home / side / (CASE + ".py")).write_text(text, encoding="utf-8")
    return str(home)


def draw(*sizes, seed=1006):
    """The last of several batches of these sizes, from the source's stream."""
    from scipy import stats

    np.random.seed(seed)
    normal = stats.multivariate_normal([0, 100])
    return [normal.rvs(size).reshape(size, 2) for size in sizes][-1]
