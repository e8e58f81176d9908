"""Programs as TF1 users write them, small, for the tests of snapshots and guards."""

from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.errors import BnguardError
from support.graphs import build_with

DECAY = 0.9
KINDS = ["ref", "resource"]
MOVED = ["one/moving_mean", "one/moving_variance"]  # what moves in `two_branches`
BATCH = np.array([[1.0, 10.0], [3.0, 30.0], [5.0, 50.0]], np.float32)


@contextmanager
def says(*fragments):
    """The block fails with a message of one line that holds every fragment."""
    with pytest.raises(BnguardError) as caught:
        yield
    assert len(str(caught.value).splitlines()) == 1
    for fragment in fragments:
        assert fragment in str(caught.value)


def refused(guard, *fragments):
    """Entering the guard fails, with this message."""
    with says(*fragments):
        guard.__enter__()


@contextmanager
def fires(session, **arguments):
    """A frozen block that has to fire."""
    with pytest.raises(bnguard.StatisticsChanged) as caught, bnguard.frozen(session, **arguments):
        yield caught


class Layers(NamedTuple):
    """Two layers in a row, `one` and `two`, and what to fetch and feed."""

    x: object
    y: object
    is_training: object
    updates: object


# What a layer keeps beside moving_mean and moving_variance, by the arguments that ask for it.
COMPANIONS = [
    ({"renorm": True}, ["one/moving_stddev", "one/renorm_mean", "one/renorm_stddev"]),
    (
        {"zero_debias_moving_mean": True},
        ["one/one/moving_mean/biased", "one/one/moving_mean/local_step"],
    ),
]


def data(times=2):
    """BATCH so many times from a dataset, and then its end."""
    dataset = tf.data.Dataset.from_tensors(BATCH).repeat(times)
    return tf.data.make_one_shot_iterator(dataset).get_next()


def kind_of_variables(kind):
    """Build with ref variables and control flow v1, or with resource variables and v2."""
    return build_with(kind, {"ref": "v1", "resource": "v2"}[kind])


def layers(x=None, is_training=None, **arguments):
    """Build two layers; by default the flag is a placeholder. Inference writes nothing."""
    x = tf.placeholder(tf.float32, [None, 2], name="x") if x is None else x
    if is_training is None:
        is_training = tf.placeholder(tf.bool, [], name="is_training")
    arguments = {"decay": DECAY, "fused": False, "is_training": is_training, **arguments}
    hidden = bnguard.batch_norm(x, scope="one", **arguments)
    y = tf.identity(bnguard.batch_norm(hidden, scope="two", **arguments), name="y")
    return Layers(x, y, is_training, tf.get_collection(tf.GraphKeys.UPDATE_OPS))


@contextmanager
def session(kind="ref", build=layers, initialize=True, **arguments):
    """A session of a fresh graph, its variables initialized, the graph then finalized."""
    with tf.Graph().as_default() as graph, kind_of_variables(kind):
        built = build(**arguments)
        initializer = tf.global_variables_initializer()
        saver = tf.train.Saver() if tf.global_variables() else None
        graph.finalize()
        with tf.Session() as opened:
            if initialize:
                opened.run(initializer)
            opened.saver = saver
            yield opened, built


def train(opened, built, batch=BATCH):
    """One training step: fetch the output and the update ops."""
    opened.run([built.y, built.updates], {built.x: batch, built.is_training: True})


def infer(opened, built, batch=BATCH):
    """One inference step."""
    return opened.run(built.y, {built.x: batch, built.is_training: False})


def after_one_step(batch=BATCH):
    """moving_mean and moving_variance of layer `one` after one training step, closed form."""
    rows = batch.astype(np.float64)
    return (1 - DECAY) * rows.mean(axis=0), DECAY + (1 - DECAY) * rows.var(axis=0)


def two_branches(x=None):
    """The source's graph in a layer `one`: inference moves its statistics too."""
    x = tf.placeholder(tf.float32, [None, 2], name="x") if x is None else x
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    arguments = {"fused": False, "updates_collections": None, "scope": "one"}
    train = bnguard.batch_norm(x, is_training=True, decay=DECAY, **arguments)
    infer = bnguard.batch_norm(x, is_training=False, reuse=True, **arguments)
    y = tf.identity(tf.cond(is_training, lambda: train, lambda: infer), name="y")
    return Layers(x, y, is_training, [])
