"""Names that are not in the graph: what the user may have meant can be fetched, fed or run."""

import re

import pytest
from support.analysis import networks
from support.analysis.networks import fresh_graph
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.analysis.errors import AuditError


@pytest.fixture(scope="module")
def graph():
    """A classifier with a loss, its gradients, slots, a summary and a Saver."""
    with fresh_graph() as graph:
        x, labels = networks.inputs(), tf.placeholder(tf.int32, [None], name="labels")
        rate = tf.placeholder_with_default(0.1, [], name="logits_rate")
        h = tf.nn.relu(networks.layer(x, networks.flag()), name="features")
        with tf.variable_scope("net/logits"):
            kernel = tf.get_variable("kernel", [4, 3])
            bias = tf.get_variable("bias", [3])
            logits = tf.nn.bias_add(tf.matmul(h, kernel), bias)
            tf.nn.l2_loss(kernel, name="penalty")
        tf.summary.histogram("logits_histogram", logits)
        tf.nn.softmax(logits, name="Predictions")
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
        tf.train.MomentumOptimizer(rate, 0.9).minimize(loss, name="step_momentum")
        tf.train.Saver()
    return graph


def meant(graph, *arguments, **options):
    """What is offered instead of a name."""
    with pytest.raises(AuditError) as refusal:
        bnguard.audit(graph, *arguments, **options)
    offered = re.search(r"; do you mean (.*)\?$", str(refusal.value))
    return offered.group(1).split(" or ") if offered else []


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("logits", "net/logits/BiasAdd"),
        ("net/logits", "net/logits/BiasAdd"),
        ("net/logits:0", "net/logits/BiasAdd"),
        ("Logits:0", "net/logits/BiasAdd"),
        ("predictions", "Predictions"),
        ("pred", "Predictions"),
        ("feature", "features"),
        ("predicitons", "Predictions"),
    ],
)
def test_a_fetch_is_offered_the_end_of_a_scope(graph, name, first):
    offered = meant(graph, name)
    assert first in offered[0]
    for node in offered:
        assert graph.get_operation_by_name(node).outputs
        assert not re.search("gradients|Momentum|save|penalty|kernel|bias$|histogram", node)


def test_what_a_fetch_is_offered_can_be_fetched(graph):
    with tf.Session(graph=graph) as session:
        session.run(tf.variables_initializer(graph.get_collection("variables")))
        for name in ("logits", "pred", "bn"):
            for node in meant(graph, name):
                feeds = {"x:0": [[1.0] * 4] * 2, "labels:0": [0, 1], "is_training:0": False}
                session.run(f"{node}:0", feeds)


def test_a_feed_is_offered_placeholders_first(graph):
    assert meant(graph, feeds={"training": True}) == ["is_training"]
    assert meant(graph, feeds={"logits": True}) == ["logits_rate"]
    assert meant(graph, feeds={"pred": True}) == ["Predictions"]


def test_a_train_op_is_offered_train_ops(graph):
    assert meant(graph, train_op="momentum") == ["step_momentum"]
    assert meant(graph, train_op="logits") == ["step_momentum"]


def test_a_name_like_no_other_is_offered_nothing(graph):
    assert meant(graph, "zzz") == []
    assert meant(graph, "") == []
