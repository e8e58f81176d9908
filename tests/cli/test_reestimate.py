"""`bnguard reestimate`: a new checkpoint with the statistics of data, whole or not at all."""

from contextlib import suppress
from glob import glob
import hashlib
import json
import os
import random
import shutil
import signal
import time

from click.testing import CliRunner
import numpy as np
import pytest
from support.analysis.networks import fresh_graph
from support.forked import Command
from support.layers.layer_kinds import SHAPES, flag, inputs, moments, rows
import tensorflow.compat.v1 as tf

from bnguard import BnguardError, batch_norm, checkpoint_reader
from bnguard.analysis.checkpoints.table import located_entries
from bnguard.cli import commands
from bnguard.reestimation import checkpoint_patch

pytestmark = pytest.mark.slow

KILLS = 50 if os.environ.get("BNGUARD_CASES") == "all" else 1
DATA = rows(SHAPES[2], 50)
STATISTICS = {f"bn/moving_{role}" for role in ("mean", "variance")}


def bnguard(*args):
    return CliRunner().invoke(commands.cli, list(map(str, args)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the checkpoint `model` of a network that is trained, and `train.npz`."""
    folder = tmp_path_factory.mktemp("trained")
    with fresh_graph(), tf.Session() as session:
        x, training = inputs(SHAPES[2]), flag()
        keep = tf.placeholder(tf.float32, [], name="keep")
        hidden = tf.nn.dropout(x, keep_prob=keep)
        y = batch_norm(hidden, is_training=training, scope="bn", fused=False, scale=True)
        loss = tf.reduce_mean(tf.square(y))
        tf.train.AdamOptimizer().minimize(loss, tf.train.get_or_create_global_step(), name="train")
        session.run(tf.global_variables_initializer())
        session.run("train", {x: DATA, training: True, keep: 1})
        tf.train.Saver(save_relative_paths=True).save(session, str(folder / "model"))
    np.savez(folder / "train.npz", x=DATA)
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    """A folder of a test's own with a copy of these files."""
    for path in trained.iterdir():
        shutil.copy(str(path), str(tmp_path))
    return tmp_path


def digests(folder):
    found = {}
    for path in filter(os.path.isfile, glob(os.path.join(str(folder), "*"))):
        with open(path, "rb") as file:
            found[os.path.basename(path)] = hashlib.sha256(file.read()).hexdigest()
    return found


def entries(prefix):
    with open(f"{prefix}.index", "rb") as file:
        data = file.read()
    return {entry.key.decode(): data[entry.start : entry.end] for entry in located_entries(data)}


def run(folder, *args):
    prefix, data = folder / "model", folder / "train.npz"
    return bnguard("reestimate", prefix, "--data", data, "--feed", "keep=1.0", *args)


class TestNewCheckpoint:
    def test_it_has_the_statistics_of_the_data_and_every_other_bit(self, folder):
        before = digests(folder)
        result = run(folder, "--batch-size", "7")
        assert result.exit_code == 0, result.output
        assert "2 common variables are bit-identical" in result.output
        output = str(folder / "model-reestimated")
        after = digests(folder)
        assert {name: after[name] for name in before} == before  # and `checkpoint` names the input
        old, new = entries(str(folder / "model")), entries(output)
        assert {name for name in old if old[name] != new[name]} == STATISTICS
        values, earlier = (
            checkpoint_reader.read(output),
            checkpoint_reader.read(str(folder / "model")),
        )
        mean, variance = moments(DATA)
        np.testing.assert_allclose(values["bn/moving_mean"], mean, 1e-6)
        np.testing.assert_allclose(values["bn/moving_variance"], variance, 1e-6)
        for name in set(values) - STATISTICS:
            assert values[name].tobytes() == earlier[name].tobytes()

    def test_options(self, folder):
        result = run(folder, "--output", folder / "new", "--latest", "--steps", "2", "--json")
        assert result.exit_code == 0, result.output
        assert set(json.loads(result.stdout)["changed"]) == STATISTICS
        assert tf.train.latest_checkpoint(str(folder)) == str(folder / "new")
        values = checkpoint_reader.read(str(folder / "new"))
        np.testing.assert_allclose(values["bn/moving_mean"], moments(DATA)[0], 1e-6)

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["--output", "{}/model"], "the name of the input"),
            (["--output", "{}/no/such"], "there is no folder"),
            (["--meta", "{}/no.meta"], "no graph; expected the .meta file"),
            (["--meta", "{}/train.npz"], "not a graph"),
            (["--feed", "nosuch=1"], "'nosuch' is no tensor of the graph"),
            (["--feed", "keep"], "expected NAME=VALUE"),
            (["--data", "{}/model.meta"], "not an .npz file"),
            (["--data", "{}/no.npz"], "cannot be read"),
            (["--scope", "nosuch"], "no running statistics found"),
            (["--shard", "1/2"], "go together"),
            (["--shard", "3/2", "--partial", "{}/p"], "expected I/N"),
            (["--shard", "1/99", "--partial", "{}/p"], "only 2 batches"),
            (["--merge"], "go together"),
            (["--shard", "1/2", "--partial", "{}/p", "--estimator", "last"], "order of all"),
        ],
    )
    def test_a_mistake_is_one_line_and_writes_nothing(self, folder, args, message):
        before = digests(folder)
        result = run(folder, *[arg.format(folder) for arg in args])
        assert result.exit_code == 2
        assert message in result.output
        assert len(result.output.splitlines()) == 1
        assert digests(folder) == before

    def test_an_existing_checkpoint_is_not_overwritten(self, folder):
        assert run(folder).exit_code == 0
        before = digests(folder)
        result = run(folder)
        assert result.exit_code == 2
        assert "there is a checkpoint of this name" in result.output
        assert digests(folder) == before


class TestShares:
    def shard(self, folder, number, *args):
        path = folder / f"share-{number}.npz"
        size = () if "--batch-size" in args else ("--batch-size", 7)
        result = run(folder, "--shard", f"{number}/3", "--partial", path, *size, *args)
        assert result.exit_code == 0, result.output
        return path

    def merge(self, folder, *paths, output="merged"):
        return bnguard(
            "reestimate", folder / "model", "--output", folder / output, "--merge", *paths
        )

    def test_the_merged_shares_give_the_checkpoint_of_one_run(self, folder):
        paths = [self.shard(folder, number) for number in (3, 1, 2)]
        result = self.merge(folder, *paths)
        assert result.exit_code == 0, result.output
        assert run(folder, "--batch-size", "7").exit_code == 0
        merged, whole = (
            checkpoint_reader.read(str(folder / name), STATISTICS)
            for name in ("merged", "model-reestimated")
        )
        for name in STATISTICS:
            np.testing.assert_allclose(merged[name], whole[name], 2e-7)  # float32

    def test_a_missing_doubled_or_foreign_share_is_refused_by_name(self, folder):
        one, two, three = (self.shard(folder, number) for number in (1, 2, 3))
        assert "the shares 2/3 are missing" in self.merge(folder, one, three).output
        again = folder / "again.npz"
        shutil.copy(str(two), str(again))
        doubled = self.merge(folder, one, two, again, three)
        assert f"{two} and {again}: both are share 2/3" in doubled.output
        foreign = self.shard(folder, 2, "--batch-size", 5)
        assert f"{foreign}: measured with another batch size" in (
            self.merge(folder, one, foreign, three).output
        )
        foreign = self.shard(folder, 2, "--estimator", "moving")
        assert "measured with another estimator (moving; expected population)" in (
            self.merge(folder, one, foreign, three).output
        )
        one.write_bytes(one.read_bytes()[:100])
        assert f"{one}: not the file of a share" in self.merge(folder, one, two, three).output
        assert not (folder / "merged.index").exists()


class TestKilled:
    @pytest.mark.parametrize("call", range(4))
    def test_at_each_step_of_the_end(self, folder, call, monkeypatch):
        """The process ends as files get their names: the index is the last of them."""
        before, calls, replace = digests(folder), [], os.replace

        class Killed(BaseException):
            pass

        def kill(source, target):
            if len(calls) == call:
                raise Killed
            calls.append(target)
            replace(source, target)

        monkeypatch.setattr(checkpoint_patch.os, "replace", kill)
        whole = call == 3  # three files: data, graph, index
        with suppress(Killed) if whole else pytest.raises(Killed):
            run(folder)
        after = digests(folder)
        assert {name: after[name] for name in before} == before
        assert (folder / "model-reestimated.index").exists() == whole
        if not whole:
            with pytest.raises(BnguardError):
                checkpoint_reader.read(str(folder / "model-reestimated"))

    def test_at_any_moment(self, folder, tmp_path_factory):
        before = digests(folder)
        arguments = ["reestimate", str(folder / "model"), "--data", str(folder / "train.npz")]
        arguments += ["--feed", "keep=1.0", "--batch-size", "1"]
        logs = tmp_path_factory.mktemp("logs")
        start = time.time()
        assert Command(logs, *arguments).wait()[0] == 0
        longest = time.time() - start
        for _ in range(KILLS):
            for name in set(os.listdir(str(folder))) - set(before):
                path = os.path.join(str(folder), name)
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
            command = Command(logs, *arguments)
            time.sleep(random.uniform(0, longest))
            command.send(signal.SIGKILL)
            after = digests(folder)
            assert {name: after[name] for name in before} == before
            if (folder / "model-reestimated.index").exists():
                values = checkpoint_reader.read(str(folder / "model-reestimated"))
                np.testing.assert_allclose(values["bn/moving_mean"], moments(DATA)[0], 1e-6)
