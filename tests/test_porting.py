"""A slim network of TensorFlow 1.15 with its checkpoint: ported, proved, rescued on any version."""

from glob import glob
import lzma
import os
import shutil

from click.testing import CliRunner
import numpy as np
import pytest
from support.graphs import build_with
from support.paths import ROOT
from support.programs import residual_network
from support.programs.residual_network import FOLDER, build, draw, original, ported
import tensorflow.compat.v1 as tf

import bnguard
from bnguard import checkpoint_reader
from bnguard.cli import commands

pytestmark = pytest.mark.slow

PREFIX = os.path.join(FOLDER, "model")
TRAIN, TEST = draw(2000, 2), draw(2000, 3)


class Port:
    """The ported program, in a session of its own."""

    def __init__(self):
        with tf.Graph().as_default() as graph, build_with("ref", "v1"):
            build(ported)
            self.variables = tf.global_variables()
            self._saver = tf.train.Saver()
        self._session = tf.Session(graph=graph)

    def restore(self, prefix):
        self._saver.restore(self._session, prefix)

    def logits(self, images, is_training=False):
        return infer(self._session, images, is_training)

    def accuracy(self, is_training=False):
        return np.mean(self.logits(TEST[0], is_training).argmax(1) == TEST[1])


def infer(session, images, is_training):
    return session.run("output:0", {"images:0": images, "is_training:0": is_training})


@pytest.fixture(scope="module")
def port():
    tf.disable_eager_execution()
    return Port()


@pytest.fixture
def meta(tmp_path):
    """The graph that TensorFlow 1.15 wrote with the checkpoint, beside it."""
    for path in glob(f"{PREFIX}.*"):
        shutil.copy(path, str(tmp_path))
    path = str(tmp_path / "model.meta")
    with lzma.open(f"{PREFIX}.meta.xz") as graph, open(path, "wb") as file:
        file.write(graph.read())
    return path


def test_the_port_has_the_variables_of_the_checkpoint(port):
    shapes = {name: value.shape for name, value in checkpoint_reader.read(PREFIX).items()}
    assert {v.op.name: tuple(v.shape.as_list()) for v in port.variables} == shapes


def test_the_port_infers_what_tensorflow_1_inferred(port):
    port.restore(PREFIX)
    expected = np.load(os.path.join(FOLDER, "logits.npz"))["logits"]
    found = port.logits(draw(64, 1)[0])
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_port_computes_what_the_old_graph_does(port, meta):
    port.restore(PREFIX)
    with tf.Graph().as_default(), tf.Session() as session:
        bnguard.import_meta_graph(meta).restore(session, PREFIX)
        for is_training in (False, True):
            expected = infer(session, TEST[0][:64], is_training)
            found = port.logits(TEST[0][:64], is_training)
            assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()


def test_the_old_checkpoint_is_rescued_as_in_training_mode(port, meta, tmp_path):
    np.savez(str(tmp_path / "train.npz"), images=TRAIN[0])
    prefix = str(tmp_path / "model")
    arguments = ["reestimate", prefix, "--data", str(tmp_path / "train.npz"), "--batch-size", "500"]
    result = CliRunner().invoke(commands.cli, arguments)
    assert result.exit_code == 0, result.output
    port.restore(PREFIX)
    assert port.accuracy() < 0.5
    in_training = port.accuracy(is_training=True)
    assert in_training > 0.9
    port.restore(f"{prefix}-reestimated")
    assert abs(port.accuracy() - in_training) <= 0.005


def test_the_port_trains_as_the_original_does():
    """After three steps from one checkpoint: the loss with its regularization, and each weight."""
    pytest.importorskip("tensorflow.contrib", reason="this TensorFlow has no contrib")
    images, labels = TRAIN[0][:64], TRAIN[1][:64]
    feed = {"images:0": images, "labels:0": labels, "is_training:0": True}
    found = []
    for network in (original, ported):
        with tf.Graph().as_default(), tf.Session() as session:
            build(network, trains=True)
            weights = [v for v in tf.global_variables() if "Momentum" not in v.op.name]
            loss = tf.losses.get_total_loss()
            session.run(tf.global_variables_initializer())
            tf.train.Saver(weights).restore(session, PREFIX)
            for _ in range(3):
                session.run("train", feed)
            values = {v.op.name: session.run(v) for v in weights}
            found.append({"loss": session.run(loss, feed), **values})
    assert set(found[0]) == set(found[1])
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, 1e-3, 1e-5, err_msg=name)


def test_the_page_shows_the_layers_of_the_port():
    with open(residual_network.__file__, encoding="utf-8") as file:
        _, _, rest = file.read().partition("# port:begin\n")
    with open(os.path.join(ROOT, "docs", "porting.md"), encoding="utf-8") as file:
        assert f"```python\n{rest.partition('# port:end')[0].rstrip()}\n```" in file.read()
