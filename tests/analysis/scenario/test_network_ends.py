"""What is taken for the output of a network, beside losses, labels, gradients and unused code."""

import numpy as np
import pytest
from support.analysis.networks import dense, flag, fresh_graph, inputs, layer, loss_of, optimizer
from support.samples import combinations
import tensorflow.compat.v1 as tf

import bnguard

pytestmark = pytest.mark.slow

BUILDS = [("ref", "v1"), ("resource", "v1"), ("resource", "v2")]


def rules(report, severity):
    return {finding.rule for finding in report.findings if finding.severity == severity}


def images(name="image"):
    return tf.placeholder(tf.float32, [None, 4, 4, 3], name)


def convolution(x, channels, name):
    return tf.nn.conv2d(x, tf.get_variable(name, [1, 1, int(x.shape[-1]), channels]), 1, "SAME")


def deconvolution(x, channels, name, size=4):
    weights = tf.get_variable(name, [2, 2, channels, int(x.shape[-1])])
    return tf.nn.conv2d_transpose(x, weights, [tf.shape(x)[0], size, size, channels], size // 4)


def train_with_updates(loss, **options):
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return optimizer().minimize(loss, **options)


def written(graph, fetch, feeds):
    """The statistics that a Session moves when it fetches `fetch`."""
    with graph.as_default(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        statistics = [v for v in tf.global_variables() if "moving_" in v.op.name]
        before = session.run(statistics)
        session.run(fetch, {f"{name}:0": value for name, value in feeds.items()})
        pairs = zip(statistics, before, session.run(statistics))
        return {variable.op.name for variable, was, now in pairs if not np.array_equal(was, now)}


@pytest.mark.sampled
@pytest.mark.parametrize(("variables", "control_flow"), BUILDS)
def test_a_decoder_is_no_gradient(variables, control_flow):
    """The layer after conv2d_transpose is given no flag, and writes when the output is fetched."""
    with fresh_graph(variables, control_flow) as graph:
        x = images()
        h = tf.nn.relu(layer(convolution(x, 4, "w1"), flag(), updates_collections=None))
        h = layer(deconvolution(h, 4, "w2"), True, updates_collections=None, scope="decoder")
        out = tf.sigmoid(convolution(h, 1, "w3"), name="out")
        optimizer().minimize(tf.reduce_mean(tf.square(out - x[..., :1])))
    report = bnguard.audit(graph)
    assert report.assumed.fetches == ("out:0",)
    feeds = {"image": np.random.RandomState(0).rand(2, 4, 4, 3), "is_training": False}
    found = {f.variable for f in report.findings if f.rule == "BN101"}
    assert found == written(graph, "out:0", feeds)
    assert found == {"decoder/moving_mean", "decoder/moving_variance"}


@pytest.mark.parametrize("build", ["metrics", "averages"])
def test_what_follows_a_decoder_is_no_train_op(build):
    with fresh_graph() as graph:
        x, label = images(), tf.placeholder(tf.float32, [None, 4, 4, 1], "label")
        h = layer(convolution(x, 4, "w1"), flag())
        out = tf.sigmoid(deconvolution(h, 1, "w2"), name="out")
        if build == "metrics":
            tf.metrics.mean_squared_error(label, out)
        else:
            tf.train.ExponentialMovingAverage(0.9).apply([tf.reduce_mean(out)])
        train_with_updates(tf.reduce_mean(tf.square(out - label)), name="train")
    report = bnguard.audit(graph)
    assert report.assumed.train_ops == ("train",)
    assert report.assumed.fetches == ("out:0",)
    assert report.findings == ()


LABELS = {
    "placeholder": lambda: tf.placeholder(tf.float32, [None, 4], "label"),
    "iterator": lambda: tf.data.make_one_shot_iterator(
        tf.data.Dataset.from_tensors(np.ones([3, 4], np.float32)).repeat()
    ).get_next(),
    "queue": lambda: tf.FIFOQueue(8, [tf.float32], [[3, 4]]).dequeue(),
    "constant": lambda: tf.ones([3, 4]),
}
LOSSES = {
    "sigmoid": lambda y, label: tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=y),
    "softmax": lambda y, label: tf.nn.softmax_cross_entropy_with_logits_v2(label, y),
    "square": lambda y, label: tf.square(tf.nn.sigmoid(y) - label),
    "hinge": lambda y, label: tf.nn.relu(1.0 - y * (2.0 * label - 1.0)),
    "logarithm": lambda y, label: -label * tf.log(tf.sigmoid(y)),
}
# Without a prediction beside the loss: what the loss is made of.
IN_LOSS = {"square": "Sigmoid:0", "logarithm": "Sigmoid:0"}


@pytest.mark.parametrize(("labels", "loss", "predict"), combinations(LABELS, LOSSES, [False, True]))
def test_no_part_of_a_loss_is_an_output(labels, loss, predict):
    with fresh_graph() as graph:
        h = tf.nn.relu(layer(dense(inputs()), flag()))
        logits = dense(h, "logits")
        if predict:
            tf.nn.softmax(logits, name="prediction")
        value = tf.reduce_mean(LOSSES[loss](logits, LABELS[labels]()))
        train_with_updates(value + 1e-4 * tf.nn.l2_loss(tf.trainable_variables()[0]))
    (fetch,) = bnguard.audit(graph).assumed.fetches
    assert fetch == ("prediction:0" if predict else IN_LOSS.get(loss, "logits:0"))


def test_an_evaluation_graph_has_its_prediction_for_an_output():
    with fresh_graph() as graph:
        logits = dense(layer(dense(inputs()), False), "logits")
        label = tf.placeholder(tf.float32, [None, 4], "label")
        tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logits))
        tf.sigmoid(logits, name="prediction")
    assert bnguard.audit(graph).assumed.fetches == ("prediction:0",)


def test_the_loss_of_create_train_op_is_no_output():
    with fresh_graph() as graph:
        logits = dense(layer(dense(inputs()), flag()), "logits")
        bnguard.create_train_op(loss_of(logits), optimizer())
    assert bnguard.audit(graph).assumed.fetches == ("logits:0",)


@pytest.mark.parametrize("fused", [False, True])
def test_an_unused_layer_is_no_network(fused):
    with fresh_graph() as graph:
        x = dense(inputs())
        layer(x, True, fused=fused, scope="unused")
        logits = dense(tf.nn.relu(layer(dense(x, "next"), True, fused=fused)), "logits")
        optimizer().minimize(loss_of(logits))
        tf.argmax(logits, 1, name="prediction")
    report = bnguard.audit(graph)
    assert rules(report, "error") == {"BN201"}
    assert report.assumed.possible_fetches == ("prediction:0",)
    (noted,) = {f.layer for f in report.findings if f.rule == "BN103"}
    assert noted == "bn"


class TestSecondNetwork:
    """A network beside one that has a flag."""

    def build(self, is_training, **options):
        with fresh_graph() as graph:
            logits = dense(layer(dense(inputs()), flag(), updates_collections=None), "logits")
            optimizer().minimize(loss_of(logits))
            with tf.variable_scope(tf.get_variable_scope(), reuse=True):
                y = layer(dense(inputs("other")), is_training, updates_collections=None, **options)
                tf.nn.softmax(dense(y, "logits"), name="sample")
        return graph

    def test_in_training_mode_it_is_judged(self):
        graph = self.build(True)
        report = bnguard.audit(graph)
        assert set(report.assumed.fetches) == {"logits:0", "sample:0"}
        found = {(f.variable, f.fetch) for f in report.findings if f.rule == "BN101"}
        moved = written(graph, "sample:0", {"other": np.eye(4)})
        assert found == {(name, "sample:0") for name in moved}
        assert len(moved) == 2

    def test_in_inference_mode_it_has_nothing_to_find(self):
        report = bnguard.audit(self.build(False))
        assert report.findings == ()


class TestTrainedWithoutFlag:
    """One network for training and inference, which nothing turns to inference."""

    def test_a_note_says_what_fetching_its_output_does(self):
        with fresh_graph() as graph:
            y = layer(dense(inputs()), True, updates_collections=None)
            logits = dense(y, "logits")
            tf.nn.softmax(logits, name="probabilities")
            optimizer().minimize(loss_of(logits))
        report = bnguard.audit(graph)
        assert report.ok
        assert report.assumed.possible_fetches == ("probabilities:0",)
        moved = written(graph, "probabilities:0", {"x": np.eye(4)})
        assert {f.variable for f in report.findings if f.rule == "BN101"} == moved
        assert "nothing in this graph turns that off" in str(report)
        assert rules(bnguard.audit(graph, "probabilities"), "error") == {"BN101", "BN103"}

    def test_a_network_for_inference_beside_it_is_all_that_counts(self):
        with fresh_graph() as graph:
            logits = dense(layer(dense(inputs()), True), "logits")
            train_with_updates(loss_of(logits))
            with tf.variable_scope(tf.get_variable_scope(), reuse=True):
                tf.nn.softmax(dense(layer(dense(inputs("other")), False), "logits"), name="sample")
        report = bnguard.audit(graph)
        assert report.findings == ()
        assert report.assumed.possible_fetches == ()

    def test_a_generator_is_fetched_where_its_discriminator_begins(self):
        with fresh_graph() as graph:
            adversaries()
        report = bnguard.audit(graph, select=["BN103"])
        assert set(report.assumed.possible_fetches) == {"image:0", "real/score:0"}
        by_fetch = {f.fetch: f.layer for f in report.findings if f.fetch == "image:0"}
        assert by_fetch == {"image:0": "g/bn"}


def adversaries():
    """A generator, whose output is an activation, and a discriminator without labels."""
    with tf.variable_scope("g"):
        h = layer(dense(inputs("noise")), True, updates_collections=None)
    image = tf.tanh(dense(tf.nn.relu(h), "g/out"), name="image")
    losses = []
    for name, x, sign in (("real", inputs("photo"), -1.0), ("fake", image, 1.0)):
        with tf.variable_scope("d", reuse=tf.AUTO_REUSE), tf.name_scope(f"{name}/"):
            h = layer(dense(x), True, updates_collections=None)
            losses.append(tf.nn.softplus(sign * dense(tf.nn.relu(h), "score")))
    d_loss, g_loss = tf.reduce_mean(losses[0] + losses[1]), -tf.reduce_mean(losses[1])
    optimizer().minimize(d_loss, var_list=tf.trainable_variables("d/"))
    optimizer().minimize(g_loss, var_list=tf.trainable_variables("g/"))


@pytest.mark.parametrize("first_order", [False, True])
def test_a_network_behind_an_inner_gradient_is_a_network(first_order):
    """Meta-learning: the weights of the second pass are computed by the gradients of the first."""
    with fresh_graph() as graph:
        weights, training = tf.get_variable("w", [4, 4]), flag()
        options = {"updates_collections": None, "reuse": tf.AUTO_REUSE}

        def network(x, weights):
            return tf.matmul(layer(tf.matmul(x, weights), training, **options), weights)

        inner = loss_of(network(inputs("support"), weights), "support_label")
        (gradient,) = tf.gradients(inner, [weights])
        fast = weights - 0.1 * (tf.stop_gradient(gradient) if first_order else gradient)
        query = tf.identity(network(inputs("query"), fast), name="query_logits")
        optimizer().minimize(loss_of(query, "query_label"), name="train")
    report = bnguard.audit(graph)
    assert report.assumed.fetches == ("query_logits:0",)
    assert report.assumed.train_ops == ("train",)
    assert {finding.rule for finding in report.findings} == {"BN105"}  # both passes update


@pytest.mark.sampled
@pytest.mark.parametrize("shape", [[], None])
@pytest.mark.parametrize("divides", [True, False])
def test_the_rate_of_dropout_is_no_label(shape, divides):
    with fresh_graph() as graph:
        kept = tf.placeholder(tf.float32, shape, "keep_prob")
        h = tf.nn.relu(layer(dense(inputs()), flag()))
        noise = tf.floor(kept + tf.random_uniform([4])) if divides else 1.0
        h = h / kept * noise if divides else tf.nn.dropout(h, rate=1.0 - kept)
        logits = dense(tf.ensure_shape(h, [None, 4]), "logits")
        train_with_updates(loss_of(logits))
        tf.nn.softmax(logits, name="prediction")
    assert bnguard.audit(graph).assumed.fetches == ("prediction:0",)


def test_data_that_enters_behind_a_layer_is_no_label():
    """The action of a critic."""
    with fresh_graph() as graph:
        h = layer(dense(inputs("state")), flag())
        both = tf.concat([h, tf.placeholder(tf.float32, [None, 4], "action")], 1)
        value = tf.reduce_sum(dense(tf.nn.relu(both), "value"), 1, name="q")
        target = tf.placeholder(tf.float32, [None], "target")
        train_with_updates(tf.reduce_mean(tf.square(target - value)))
    assert bnguard.audit(graph).assumed.fetches == ("q:0",)


def test_an_activation_between_the_layers_of_one_network_is_no_output():
    with fresh_graph() as graph:
        h = tf.tanh(layer(dense(inputs()), True), name="hidden")
        h = tf.tanh(layer(dense(h, "next"), True, scope="bn_2"))
        logits = dense(h, "logits")
        train_with_updates(loss_of(logits))
        tf.nn.softmax(logits, name="prediction")
    assert bnguard.audit(graph).assumed.possible_fetches == ("prediction:0",)
