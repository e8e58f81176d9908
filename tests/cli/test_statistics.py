"""`bnguard diff` and `bnguard stats`: output, JSON and exit status."""

from glob import glob
import json
import pickle
import shutil

from click.testing import CliRunner
import numpy as np
import pytest
from support.graphs import build_with
import tensorflow.compat.v1 as tf

from bnguard import batch_norm, snapshot
from bnguard.cli import commands

pytestmark = pytest.mark.slow

HEALTHY = {"bn/moving_mean": [1.0, 2.0], "bn/moving_variance": [3.0, 4.0]}


def bnguard(*args):
    return CliRunner().invoke(commands.cli, list(args))


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Give tables room, so that no cell is folded."""
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def save(tmp_path):
    def save(name, values, dtype=np.float32):
        with tf.Graph().as_default(), tf.Session() as session:
            for variable, value in values.items():
                tf.get_variable(variable, initializer=np.array(value, dtype))
            session.run(tf.global_variables_initializer())
            return tf.train.Saver().save(session, str(tmp_path / name))

    return save


def test_stats_of_a_directory_names_the_checkpoint_that_it_read(save, tmp_path):
    """The `checkpoint` file names a path outside, which is not read."""
    path = save("model.ckpt", HEALTHY)
    named = tmp_path / "checkpoint"
    named.write_text('model_checkpoint_path: "/elsewhere/model.ckpt"\n', encoding="utf-8")
    output = bnguard("stats", str(tmp_path)).output
    assert output.splitlines()[0] == f"running statistics of {path}"
    named.write_text('model_checkpoint_path: "/elsewhere/other.ckpt"\n', encoding="utf-8")
    result = bnguard("stats", str(tmp_path))
    assert result.exit_code == 2
    assert "it names /elsewhere/other.ckpt, which is not in this directory" in result.output


def test_tables_have_the_columns_of_the_environment_and_100_in_a_pipe(save, monkeypatch):
    scope = "resnet_v2_50/block1/unit_1/bottleneck_v2/conv1/BatchNorm"
    zero, one = (
        {f"{scope}/moving_{what}": [n] for what in ("mean", "variance")} for n in (0.0, 1.0)
    )
    before, after = save("a", zero), save("b", one)
    for columns, most in (("300", 300), ("80", 80), ("", 100)):
        monkeypatch.setenv("COLUMNS", columns)
        for arguments in (["stats", before], ["diff", before, after]):
            lines = bnguard(*arguments).output.splitlines()
            widths = {len(line) for line in lines if line.startswith("|")}
            assert len(widths) == 1
            assert max(widths) <= most
            whole = any(f"{scope}/moving_variance" in line for line in lines)
            assert whole == (columns == "300")


def test_equal_checkpoints_have_exit_status_0(save):
    result = bnguard("diff", save("a", HEALTHY), save("b", HEALTHY))
    assert result.exit_code == 0
    assert "2 of 2 common variables are bit-identical" in result.output


def test_a_difference_is_a_table_and_exit_status_1(save):
    moved = {**HEALTHY, "bn/moving_mean": [1.0, 2.5]}
    result = bnguard("diff", save("a", HEALTHY), save("b", moved))
    assert result.exit_code == 1
    (row,) = (line for line in result.output.splitlines() if line.startswith("| bn/"))
    assert [cell.strip() for cell in row.split("|")[1:4]] == ["bn/moving_mean", "0.5", "0.25"]


@pytest.mark.parametrize(("tolerance", "status"), [("0.5", 0), ("0.25", 1), ("0", 1)])
def test_a_change_within_the_tolerance_counts_as_none(save, tolerance, status):
    moved = {**HEALTHY, "bn/moving_mean": [1.0, 2.5]}
    result = bnguard("diff", save("a", HEALTHY), save("b", moved), "--tolerance", tolerance)
    assert result.exit_code == status


def test_a_scope_selects_variables(save):
    a = save("a", {"one/moving_mean": [1.0], "two/moving_mean": [1.0]})
    b = save("b", {"one/moving_mean": [1.0], "two/moving_mean": [2.0]})
    assert bnguard("diff", a, b, "--scope", "one").exit_code == 0
    assert bnguard("diff", a, b, "--scope", "two").exit_code == 1
    assert bnguard("diff", a, b, "--scope", "three").exit_code == 2


def test_json_has_the_changes(save):
    lost = {"bn/moving_mean": [1.0, np.nan]}
    result = bnguard("diff", save("a", HEALTHY), save("b", lost), "--json")
    assert result.exit_code == 1
    document = json.loads(result.output)
    assert document["removed"] == ["bn/moving_variance"]
    assert document["newly_non_finite"] == ["bn/moving_mean"]
    assert document["changes"][0]["absolute"] == "inf"


def test_healthy_statistics_have_exit_status_0(save):
    result = bnguard("stats", save("a", HEALTHY))
    assert result.exit_code == 0
    rows = [line for line in result.output.splitlines() if line.startswith("| bn/")]
    assert [row.split("|")[-2].strip() for row in rows] == ["ok", "ok"]
    assert "reestimate" not in result.output


def test_many_statistics_that_never_moved_share_a_row_and_a_summary(save):
    layers = [f"conv{number}/bn" for number in range(13)]
    values = {f"{layer}/moving_mean": [0.0] * (2 + n) for n, layer in enumerate(layers)}
    values.update({f"{layer}/moving_variance": [1.0, 1.0] for layer in layers})
    values["one/bn/moving_mean"] = [3.0]
    result = bnguard("stats", save("a", values))
    assert result.exit_code == 1
    _, _, _, *rows, summary = result.output.splitlines()
    assert [[cell.strip() for cell in row.split("|")[1:3]] for row in rows] == [
        ["conv0/bn/moving_mean and 12 more", ""],
        ["conv0/bn/moving_variance and 12 more", "[2]"],
        ["one/bn/moving_mean", "[1]"],
    ]
    assert summary == (
        "26 of 27 running statistics have problems. For a checkpoint already trained, see "
        "`bnguard reestimate`."
    )


def test_unhealthy_statistics_have_exit_status_1(save):
    sick = {"bn/moving_mean": [0.0, 0.0], "bn/moving_variance": [0.0, np.inf], "bn/gamma": [0.0]}
    result = bnguard("stats", save("a", sick), "--json")
    assert result.exit_code == 1
    problems = {
        variable["name"]: variable["problems"]
        for variable in json.loads(result.output)["variables"]
    }
    assert problems == {
        "bn/moving_mean": ["never moved from its initial value 0"],
        "bn/moving_variance": ["not finite in 1 of 2", "zero in 1 of 2"],
    }


@pytest.mark.parametrize(
    ("args", "fragment"),
    [
        (["stats", "{folder}/none"], "no checkpoint found"),
        (["diff", "{folder}/none", "{folder}/none"], "no checkpoint found"),
        (["diff", "{gamma}", "{gamma}"], "no running statistics found"),
        (["stats", "{gamma}"], "no running statistics found"),
        (["diff", "{gamma}", "{gamma}", "--tolerance", "-1"], "--tolerance"),
        (["diff", "{gamma}", "{gamma}", "--tolerance", "nan"], "tolerance: got nan"),
        (["diff", "{gamma}"], "AFTER"),
        (["stats", ""], "checkpoint: got the empty path ''; expected the prefix"),
        (["stats", "http://x/y"], "http://x/y.index: cannot be looked for"),
        (["stats", "{folder}/weights.h5"], "weights.h5: a file of Keras"),
        (["stats", "{folder}/model.keras"], "tf.train.Checkpoint(model=model).save"),
        (["stats", "{folder}/exported"], "exported/variables/variables, the checkpoint in it"),
        (["stats", "{folder}/as_text"], "as_text/variables/variables, the checkpoint in it"),
        (["stats", "{text}"], "bn/moving_mean: contains text; expected numbers"),
        (["stats", "{folder}/garbled"], "garbled: no checkpoint found"),
    ],
)
def test_mistakes_have_exit_status_2(save, tmp_path, args, fragment):
    gamma = save("gamma", {"bn/gamma": [1.0]})
    text = save("text", {"bn/moving_mean": "text"}, str)
    for name, content in [
        ("exported/saved_model.pb", b""),
        ("as_text/saved_model.pbtxt", b""),
        ("garbled/checkpoint", b"\xff\xfe"),
    ]:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    result = bnguard(*(arg.format(folder=tmp_path, gamma=gamma, text=text) for arg in args))
    assert result.exit_code == 2
    assert len(result.output.splitlines()) <= 4  # click shows its usage; all others are one line
    assert fragment in result.output


def test_a_damaged_checkpoint_has_exit_status_2(save):
    path = save("a", HEALTHY)
    with open(path + ".data-00000-of-00001", "r+b") as file:
        file.truncate(5)
    result = bnguard("stats", path)
    assert result.exit_code == 2
    assert "cannot be read" in result.output


@pytest.mark.parametrize("ending", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("command", ["stats", "diff"])
def test_a_pointer_in_the_place_of_a_checkpoint_has_exit_status_2(save, tmp_path, command, ending):
    others = [save("other", HEALTHY)] if command == "diff" else []
    path = save("pointer", HEALTHY)
    pointer = tmp_path / f"pointer.{ending}"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    for given in (path, f"{path}.index", str(tmp_path)):
        result = bnguard(command, *others, given)
        assert result.exit_code == 2
        assert result.output == (
            f"Error: {pointer}: a Git LFS pointer, not a file of a checkpoint; "
            "run `git lfs pull` to fetch what it points to.\n"
        )


class TestColdness:
    """100 steps with a decay of 0.999, which leave 0.999 ** 100 = 0.905 of the initial values."""

    @pytest.fixture
    def trained(self, tmp_path):
        (tmp_path / "trained").mkdir()
        prefix = str(tmp_path / "trained" / "model.ckpt")
        with build_with("ref", "v1"), tf.Graph().as_default(), tf.Session() as session:
            x = tf.placeholder(tf.float32, [None, 2])
            y = batch_norm(x, decay=0.999, is_training=True, scope="bn")
            step = tf.train.get_or_create_global_step()
            with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
                loss = tf.reduce_mean(tf.square(y - 1.0))
                train = tf.train.GradientDescentOptimizer(0.1).minimize(loss, global_step=step)
            session.run(tf.global_variables_initializer())
            random = np.random.RandomState(0)
            for _ in range(100):
                session.run(train, {x: random.normal(10, 3, [8, 2])})
            return tf.train.Saver().save(session, prefix)

    def test_it_is_reported_if_the_graph_is_beside_the_checkpoint(self, trained):
        result = bnguard("stats", trained)
        text = "cold: 90 % of its initial value is left after 100 updates with a decay of 0.999"
        assert result.output.count(text) == 2
        assert result.exit_code == 1
        found = snapshot(trained)
        assert pickle.loads(pickle.dumps(found)).health() == found.health()
        assert snapshot(found).health() == found.health()
        document = json.loads(bnguard("stats", trained, "--json").output)
        assert [variable["problems"] for variable in document["variables"]] == [[text]] * 2

    @pytest.mark.parametrize("graph", [None, b"no graph"])
    def test_without_a_graph_nothing_is_known(self, trained, graph, tmp_path):
        for path in glob(f"{trained}.*"):
            shutil.copy(path, str(tmp_path))
        (tmp_path / "model.ckpt.meta").unlink()
        if graph is not None:
            (tmp_path / "model.ckpt.meta").write_bytes(graph)
        result = bnguard("stats", str(tmp_path / "model.ckpt"))
        assert "cold" not in result.output
        assert result.exit_code == 0
