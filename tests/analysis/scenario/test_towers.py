"""Towers: which shares of a batch the average of a layer leaves out."""

import pytest
from support.analysis.networks import dense, fresh_graph, inputs, layer, loss_of, optimizer
import tensorflow.compat.v1 as tf

import bnguard

pytestmark = pytest.mark.slow

SHARES = {
    "split": lambda x: tf.split(x, 2),
    "slices": lambda x: [x[:2], x[2:]],
    "weights after the split": lambda x: [dense(share, "before") for share in tf.split(x, 2)],
}


def train(shares, updates_of):
    """Two towers; `updates_of` gets the collections of their updates, and names what runs."""
    losses = []
    with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
        for number, share in enumerate(shares):
            y = layer(share, True, updates_collections=f"tower_{number}")
            losses.append(loss_of(y, f"label_{number}"))
        names = updates_of()
    updates = [update for name in names for update in tf.get_collection(name)]
    with tf.control_dependencies(updates):
        optimizer().minimize(sum(losses))


def warned(graph):
    return {f.variable for f in bnguard.audit(graph, select=["BN201"]).findings}


@pytest.mark.parametrize("name", sorted(SHARES))
def test_the_updates_of_one_tower_leave_the_other_out(name):
    with fresh_graph() as graph:
        with tf.variable_scope("", reuse=tf.AUTO_REUSE):
            shares = SHARES[name](inputs())
        train(shares, lambda: ["tower_1"])
    assert warned(graph) == {"bn/moving_mean", "bn/moving_variance"}


@pytest.mark.sampled
@pytest.mark.parametrize("name", sorted(SHARES))
@pytest.mark.parametrize("joined", [False, True])
def test_an_update_from_all_rows_leaves_none_out(name, joined):
    with fresh_graph() as graph:
        with tf.variable_scope("", reuse=tf.AUTO_REUSE):
            x = inputs()
            shares = SHARES[name](x)
            rows = tf.concat(shares, 0)
            if not joined:
                rows = dense(x, "before") if name.startswith("weights") else x

        def all_rows():
            layer(rows, True, updates_collections="all")
            return ["all"]

        train(shares, all_rows)
    assert warned(graph) == set()
