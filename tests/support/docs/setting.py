"""What the reader of a code block is assumed to have: files in the folder, and names in Python."""

from contextlib import ExitStack
from glob import glob
import lzma
import os
import shutil
import types

import numpy as np
import tensorflow.compat.v1 as tf

import bnguard
from support.graphs import build_with
from support.paths import ROOT
from support.programs import residual_network

NETWORK = os.path.join(ROOT, "tests", "data", "networks", "resnet_v2_50-updates_never_run.meta.xz")
ROWS = np.random.RandomState(0).normal(3, 2, [64, 4]).astype("float32")
BUILDERS = ("batch_norm", "build_network", "import_meta_graph")  # else a model is built before
PROGRAM = """\
import sys

import tensorflow.compat.v1 as tf

assert sys.argv[1:] == ["--epochs", "3"]
with tf.Graph().as_default(), tf.Session() as session:
    x = tf.placeholder(tf.float32)
    session.run(tf.square(x), {x: 3.0})
"""


def write_files():
    """Write the files of all pages to the current folder."""
    tf.disable_v2_behavior()
    with lzma.open(NETWORK) as network, open("model.meta", "wb") as file:
        shutil.copyfileobj(network, file)
    for path in glob(f"{residual_network.FOLDER}/model.*"):
        shutil.copy(path, os.path.basename(path).replace("model.", "model.ckpt."))
    with lzma.open("model.ckpt.meta.xz") as old, open("model.ckpt.meta", "wb") as file:
        shutil.copyfileobj(old, file)
    shutil.copytree(os.path.join(ROOT, "checkpoints", "reference"), "checkpoints/reference")
    np.savez("train.npz", x=ROWS)
    with build_with("ref", "v1"), tf.Graph().as_default() as graph, tf.Session() as session:
        y = bnguard.batch_norm(_x(), is_training=_flag(), scope="bn")
        y = tf.identity(y, name="logits")
        loss = tf.losses.mean_squared_error(tf.placeholder(tf.float32, [None, 4], name="labels"), y)
        train_op = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
        feeds = {"x:0": ROWS, "labels:0": ROWS, "is_training:0": True}
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver()
        for prefix in ("model.ckpt-1000", "model.ckpt-5000", "before.ckpt", "checkpoints/best"):
            os.makedirs(os.path.dirname(prefix) or ".", exist_ok=True)
            session.run(train_op, feeds)
            saver.save(session, prefix, latest_filename=f"{os.path.basename(prefix)}.latest")
        session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS), feeds)
        saver.save(session, "after.ckpt")
        tf.saved_model.simple_save(session, "export/1", {"x": _x()}, {"y": y})
        tf.train.write_graph(graph, ".", "graph.pbtxt")
        os.mkdir("runs")
        shutil.copy("model.ckpt-1000.meta", "runs")
        kept = tf.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["logits"]
        )
        tf.train.write_graph(kept, ".", "frozen.pb", as_text=False)
    with build_with("ref", "v1"), tf.Graph().as_default():
        _two_branches()
        tf.train.export_meta_graph("two_branch.meta")
    os.mkdir("package")
    for name, text in [("package/__init__.py", ""), ("package/train.py", PROGRAM)]:
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)


def execute(source, filename):
    """Execute a Python block in a fresh graph, with the names that it assumes; call its tests."""
    tf.disable_v2_behavior()
    with build_with("ref", "v1"), tf.Graph().as_default(), ExitStack() as stack:
        names = Names(stack)
        if not any(builder in source for builder in BUILDERS):
            names["train_op"]  # before a session is opened
        exec(compile(source, filename, "exec"), names)
        for name, test in list(names.items()):
            if name.startswith("test_"):
                parameters = test.__code__.co_varnames[: test.__code__.co_argcount]
                test(*[names[parameter] for parameter in parameters])


class Names(dict):
    """The names of a block; those that it does not define are built when they are first used."""

    def __init__(self, stack):
        super().__init__(
            bnguard=bnguard,
            tf=_with_layers(),
            np=np,
            numpy=np,
            batch_norm=bnguard.batch_norm,
            frozen_statistics=bnguard.frozen,
            statistics_of=bnguard.snapshot,
            build_network=lambda: residual_network.build(residual_network.ported),
            batches=ROWS.reshape(4, 16, 4),
            channels=4,
            one_image=ROWS[:1],
        )
        self._stack = stack

    def __missing__(self, name):
        build = getattr(self, f"_{name}", None)
        if build is None:
            raise KeyError(name)
        self[name] = build()
        return self[name]

    def _x(self):
        return _x()

    def _images(self):
        return residual_network.draw(64, 1)[0] if "infer" in self else _x()

    def _is_training(self):
        return _flag()

    def _use_network(self):
        return _placeholder("use_network", tf.bool, [])

    def _batch(self):
        return ROWS

    def _optimizer(self):
        return tf.train.GradientDescentOptimizer(0.1)

    def _y(self):
        return bnguard.batch_norm(self["x"], is_training=self["is_training"], scope="bn")

    def _prediction(self):
        return self["y"]

    def _loss(self):
        outputs = [name for name in ("train_logits", "logits", "features", "y") if name in self]
        output = self[outputs[0]] if outputs else self["y"]
        return tf.reduce_mean(tf.square(output - 1))

    _train_loss = _loss

    def _train_op(self):
        return bnguard.create_train_op(self["loss"], self["optimizer"])

    def _session(self):
        session = self._stack.enter_context(tf.Session())
        session.run(tf.global_variables_initializer())
        return session

    def _train_one_epoch(self):
        return lambda session: session.run(
            self["train_op"], {self["x"]: ROWS, self["is_training"]: True}
        )

    def _evaluate(self):
        return lambda session: session.run(self["y"], {self["x"]: ROWS, self["is_training"]: False})


def _x():
    return _placeholder("x", tf.float32, [None, 4])


def _flag():
    return _placeholder("is_training", tf.bool, [])


def _placeholder(name, dtype, shape):
    """Return the default graph's placeholder of this name; make it if there is none."""
    try:
        return tf.get_default_graph().get_tensor_by_name(f"{name}:0")
    except KeyError:
        return tf.placeholder(dtype, shape, name=name)


def _two_branches():
    """Build the network of repro/two_branch_cond.py, without the rest of its program."""
    options = {"updates_collections": None, "decay": 0.9, "scope": "bn"}
    x = _x()
    train = bnguard.batch_norm(x, is_training=True, **options)
    infer = bnguard.batch_norm(x, is_training=False, reuse=True, **options)
    tf.cond(_flag(), lambda: train, lambda: infer)


def _with_layers():
    """Return tf with layers on every version; TensorFlow's own fail with Keras 3."""
    module = types.ModuleType("tf")
    module.__getattr__ = lambda name: getattr(tf, name)
    module.layers = types.SimpleNamespace(
        batch_normalization=bnguard.batch_normalization,
        dense=lambda x, units: tf.matmul(x, tf.get_variable("dense", [x.shape[-1], units])),
    )
    return module
