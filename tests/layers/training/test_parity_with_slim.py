"""Compare create_train_op with slim's, where slim exists.

Each test builds the same program with both functions, and compares everything that a caller can
see: the loss, every variable, the global step, how often each update ran, the summaries and
collections. docs/layers.md lists the cases that slim gets wrong; other modules test them.
"""

import itertools
import os

import numpy as np
import pytest
from support import originals
import tensorflow.compat.v1 as tf

from bnguard import batch_norm, create_train_op

slim = originals.slim(__name__)
UPDATE_OPS = tf.GraphKeys.UPDATE_OPS
SHAPE = (8, 3)
AXES = {
    "in_place": [True, False],
    "update_ops": ["all", "one", "none"],
    "variables_to_train": ["all", "some"],
    "clip_gradient_norm": [0, 0.1],
    "gradient_multipliers": ["none", "number", "tensor"],
    "summarize_gradients": [True, False],
    "check_numerics": [True, False],
    "global_step": ["default", "own", "none"],
}
CASES = list(itertools.product(*AXES.values()))
# `make parity` compares all cases.
SAMPLE = CASES if os.environ.get("BNGUARD_PARITY") == "all" else CASES[::37]


@pytest.mark.parametrize("layer", ["ours", "slim's"])
@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_same_as_slim(layer, case):
    choices = dict(zip(AXES, case))
    function = batch_norm if layer == "ours" else slim.batch_norm
    updates_collections = None if choices.pop("in_place") else UPDATE_OPS
    ours, theirs = (
        observe(make, function, updates_collections, choices)
        for make in (create_train_op, slim.learning.create_train_op)
    )
    assert ours["collections"] == theirs["collections"]
    for our_step, their_step in zip(ours["steps"], theirs["steps"]):
        assert our_step.keys() == their_step.keys()
        for name, value in their_step.items():
            np.testing.assert_allclose(our_step[name], value, rtol=1e-6, atol=1e-6, err_msg=name)


def observe(make, layer, updates_collections, choices):
    """Build a program with a train op, and run three steps."""
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, SHAPE)
        loss = program(x, layer, updates_collections)
        train_op = make(loss, tf.train.MomentumOptimizer(0.1, 0.9), **arguments(choices))
        summaries = tf.summary.merge_all()
        fetches = {"loss": train_op, **({} if summaries is None else {"summaries": summaries})}
        variables = {variable.op.name: variable for variable in tf.global_variables()}
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            steps = [step(session, fetches, variables, {x: batch}) for batch in batches()]
        return {"collections": collections(), "steps": steps}


def program(x, layer, updates_collections):
    """Build a regression behind two layers, and two updates that count how often they run."""
    hidden = layer(x, decay=0.9, scale=True, updates_collections=updates_collections)
    weights = tf.get_variable("weights", initializer=tf.constant([[1.0], [-2.0], [0.5]]))
    output = layer(tf.matmul(hidden, weights), decay=0.5, updates_collections=updates_collections)
    for name in ("first", "second"):
        counter = tf.get_variable(name, initializer=0.0, trainable=False)
        tf.add_to_collection(UPDATE_OPS, counter.assign_add(1.0))
    return tf.reduce_mean(tf.square(output - 2.0 * x[:, :1]))


def arguments(choices):
    """Return the arguments of create_train_op that the choices mean in this graph."""
    weights, *_ = [
        variable for variable in tf.trainable_variables() if variable.op.name == "weights"
    ]
    own = tf.get_variable("own", initializer=np.int64(7), trainable=False)
    multiplier = {"number": {weights: 0.25}, "tensor": {"weights": tf.constant(3.0)}}
    chosen = {
        "update_ops": {"one": tf.get_collection(UPDATE_OPS)[-1:], "none": []},
        "variables_to_train": {"some": [weights]},
        "gradient_multipliers": multiplier,
        "global_step": {"own": own, "none": None},
    }
    found = {}
    for name, choice in choices.items():
        if name not in chosen:
            found[name] = choice
        elif choice in chosen[name]:
            found[name] = chosen[name][choice]
    return found


def step(session, fetches, variables, feed):
    seen = session.run(fetches, feed)
    for value in tf.Summary.FromString(seen.pop("summaries", b"")).value:
        is_number = value.HasField("simple_value")
        histogram = [value.histo.num, value.histo.min, value.histo.max, value.histo.sum]
        seen["summary " + value.tag] = value.simple_value if is_number else histogram
    seen.update(session.run(variables))
    return seen


def batches():
    random = np.random.RandomState(0)
    return [(random.randn(*SHAPE) * 2 + 1).astype(np.float32) for _ in range(3)]


def collections():
    """Return the names in each collection; for UPDATE_OPS, the number."""
    graph = tf.get_default_graph()
    found = {key: tf.get_collection(key) for key in graph.get_all_collection_keys()}
    updates = len(found.pop(UPDATE_OPS))
    return {UPDATE_OPS: updates, **{key: {item.name for item in found[key]} for key in found}}
