"""Small programs in the style of TF1 users, for the tests of snapshots and guards."""

from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.errors import BnguardError
from support.graphs import build_with

DECAY = 0.9
VARIABLE_CLASSES = ["ref", "resource"]
MOVED = ["one/moving_mean", "one/moving_variance"]  # the variables that change in `two_branches`
BATCH = np.array([[1.0, 10.0], [3.0, 30.0], [5.0, 50.0]], np.float32)


@contextmanager
def fails_with(*fragments):
    """Expect a BnguardError whose message is one line that contains every fragment."""
    with pytest.raises(BnguardError) as caught:
        yield
    assert len(str(caught.value).splitlines()) == 1
    for fragment in fragments:
        assert fragment in str(caught.value)


def entering_fails_with(guard, *fragments):
    """Check that entering the guard fails with this message, as in `fails_with`."""
    with fails_with(*fragments):
        guard.__enter__()


@contextmanager
def fires(session, **arguments):
    """Expect a frozen block to raise StatisticsChanged."""
    with pytest.raises(bnguard.StatisticsChanged) as caught, bnguard.frozen(session, **arguments):
        yield caught


class Layers(NamedTuple):
    """Two consecutive layers, `one` and `two`, and the tensors to fetch and feed."""

    x: object
    y: object
    is_training: object
    updates: object


# For some arguments of a layer, the variables that it adds to moving_mean and moving_variance.
COMPANIONS = [
    ({"renorm": True}, ["one/moving_stddev", "one/renorm_mean", "one/renorm_stddev"]),
    (
        {"zero_debias_moving_mean": True},
        ["one/one/moving_mean/biased", "one/one/moving_mean/local_step"],
    ),
]


def data(times=2):
    """Return the next batch of a dataset that contains BATCH several times."""
    dataset = tf.data.Dataset.from_tensors(BATCH).repeat(times)
    return tf.data.make_one_shot_iterator(dataset).get_next()


def variable_class(variables):
    """Build with ref variables and control flow v1, or with resource variables and v2."""
    return build_with(variables, {"ref": "v1", "resource": "v2"}[variables])


def layers(x=None, is_training=None, **arguments):
    """Build two layers whose inference writes nothing; by default the flag is a placeholder."""
    x = tf.placeholder(tf.float32, [None, 2], name="x") if x is None else x
    if is_training is None:
        is_training = tf.placeholder(tf.bool, [], name="is_training")
    arguments = {"decay": DECAY, "fused": False, "is_training": is_training, **arguments}
    hidden = bnguard.batch_norm(x, scope="one", **arguments)
    y = tf.identity(bnguard.batch_norm(hidden, scope="two", **arguments), name="y")
    return Layers(x, y, is_training, tf.get_collection(tf.GraphKeys.UPDATE_OPS))


@contextmanager
def session(variables="ref", build=layers, initialize=True, **arguments):
    """Open a session of a new finalized graph, with initialized variables."""
    with tf.Graph().as_default() as graph, variable_class(variables):
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
    """Run a training step: fetch the output and the update ops."""
    opened.run([built.y, built.updates], {built.x: batch, built.is_training: True})


def infer(opened, built, batch=BATCH):
    """Run an inference step."""
    return opened.run(built.y, {built.x: batch, built.is_training: False})


def after_one_step(batch=BATCH):
    """Return moving_mean and moving_variance of layer `one` after a step, in closed form."""
    rows = batch.astype(np.float64)
    return (1 - DECAY) * rows.mean(axis=0), DECAY + (1 - DECAY) * rows.var(axis=0)


def two_branches(x=None):
    """Build the two-branch graph as a layer `one`, whose inference changes its statistics."""
    x = tf.placeholder(tf.float32, [None, 2], name="x") if x is None else x
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    arguments = {"fused": False, "updates_collections": None, "scope": "one"}
    train = bnguard.batch_norm(x, is_training=True, decay=DECAY, **arguments)
    infer = bnguard.batch_norm(x, is_training=False, reuse=True, **arguments)
    y = tf.identity(tf.cond(is_training, lambda: train, lambda: infer), name="y")
    return Layers(x, y, is_training, [])
