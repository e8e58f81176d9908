"""BN202 and BN205: statistics that do not move with their weights, or by no average of theirs."""

import numpy as np
import pytest
from support.analysis.networks import dense, flag, fresh_graph, inputs, layer, loss_of, optimizer
from support.samples import combinations
import tensorflow.compat.v1 as tf

import bnguard

pytestmark = pytest.mark.slow

VARIABLES = pytest.mark.parametrize("variables", ["ref", "resource"])


def found(report, rule):
    return {finding.variable for finding in report.findings if finding.rule == rule}


def statistics(scope):
    return {f"{scope}/moving_mean", f"{scope}/moving_variance"}


def minimize(loss, **options):
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return optimizer().minimize(loss, **options)


def network(x, training, scope):
    with tf.variable_scope(scope):
        return dense(tf.nn.relu(layer(dense(x, "hidden"), training)), "out")


@pytest.mark.parametrize(
    ("with_statistics", "variables", "soft", "in_step"),
    [
        (with_statistics, *others)
        for with_statistics in (False, True)
        for others in combinations(["ref", "resource"], [False, True], [False, True])
    ],
)
def test_a_target_network_whose_weights_are_copied(variables, soft, with_statistics, in_step):
    """The target's value is computed in the training step, or in a step of its own and fed."""
    with fresh_graph(variables) as graph:
        value = network(inputs(), flag(), "online")
        target = network(inputs("next"), False, "target")
        wanted = tf.stop_gradient(target) if in_step else inputs("wanted")
        minimize(tf.reduce_mean(tf.square(value - wanted)))
        chosen = tf.global_variables if with_statistics else tf.trainable_variables
        for variable in chosen("target/"):
            name = variable.op.name.replace("target/", "online/")
            online = next(v for v in tf.global_variables() if v.op.name == name)
            tf.assign(variable, 0.99 * variable + 0.01 * online if soft else online, name="follow")
    report = bnguard.audit(graph)
    assert found(report, "BN202") == (set() if with_statistics else statistics("target/bn"))
    for finding in report.findings:
        assert finding.remedy.startswith("Copy the statistics with the weights")


@VARIABLES
@pytest.mark.parametrize("shared", [False, True])
def test_a_test_network_with_a_layer_of_its_own(variables, shared):
    with fresh_graph(variables) as graph:
        minimize(loss_of(layer(dense(inputs(), "hidden"), True)))
        with tf.variable_scope(tf.get_variable_scope(), reuse=True):
            x = dense(inputs("test"), "hidden")
        options = {"reuse": True} if shared else {"scope": "bn_1"}
        tf.nn.softmax(layer(x, False, **options), name="prediction")
    report = bnguard.audit(graph)
    assert report.assumed.fetches == ("prediction:0",)
    assert found(report, "BN202") == (set() if shared else statistics("bn_1"))


def averaging_layer(x, training, applied):
    """A layer written out by hand; `applied` is the average and what it was applied to, or None."""
    with tf.variable_scope("bn", reuse=tf.AUTO_REUSE):
        gamma = tf.get_variable("gamma", [4], initializer=tf.ones_initializer())
        beta = tf.get_variable("beta", [4], initializer=tf.zeros_initializer())
    moments = tf.nn.moments(x, [0])
    average, averaged = applied or (tf.train.ExponentialMovingAverage(0.9), moments)
    update = None if applied else average.apply(averaged)
    used = moments if training else [average.average(moment) for moment in averaged]
    y = tf.nn.batch_normalization(x, *used, beta, gamma, 1e-3)
    return y, update, (average, averaged)


@pytest.mark.parametrize("shared", [False, True])
def test_an_average_that_is_applied_a_second_time(shared):
    with fresh_graph() as graph:
        y, update, applied = averaging_layer(dense(inputs(), "hidden"), True, None)
        with tf.control_dependencies([update]):
            optimizer().minimize(loss_of(y))
        with tf.variable_scope(tf.get_variable_scope(), reuse=True):
            x = dense(inputs("test"), "hidden")
        y, _, _ = averaging_layer(x, False, applied if shared else None)
        tf.nn.softmax(y, name="prediction")
    names = found(bnguard.audit(graph, select=["BN202"]), "BN202")
    assert len(names) == (0 if shared else 2)
    assert all(name.endswith("/ExponentialMovingAverage") for name in names)


def test_a_pretrained_network_beside_the_trained_one_is_healthy():
    """Its weights do not move: they come from a checkpoint, and so do its statistics."""
    with fresh_graph() as graph:
        features = network(inputs(), False, "pretrained")
        minimize(loss_of(dense(features, "head")), var_list=tf.trainable_variables("head"))
        tf.nn.softmax(network(inputs("other"), False, "judge"), name="score")
    assert found(bnguard.audit(graph), "BN202") == set()


def test_pretrained_weights_behind_layers_of_two_domains_are_healthy():
    """Neither layer's statistics move: both come from a checkpoint, as the weights do."""
    with fresh_graph() as graph:
        outputs = []
        for domain in ("first", "second"):
            with tf.variable_scope("pretrained", reuse=tf.AUTO_REUSE):
                outputs.append(dense(layer(inputs(domain), False, scope=domain), "shared"))
        minimize(
            loss_of(dense(inputs("features"), "head")), var_list=tf.trainable_variables("head")
        )
        tf.nn.softmax(outputs[0] + outputs[1], name="prediction")
    assert found(bnguard.audit(graph, fetches="prediction"), "BN202") == set()


DECAYS = {
    "decay by a number": lambda variable: tf.assign_sub(variable, 0.01 * variable),
    "decay by a rate": lambda variable: tf.assign(variable, variable * (1.0 - 0.1 * rate())),
    "clip": lambda variable: tf.assign(variable, tf.clip_by_value(variable, -1.0, 1.0)),
    "clip the norm": lambda variable: tf.assign(variable, tf.clip_by_norm(variable, 1.0)),
    "decay by a schedule": lambda variable: tf.assign_sub(variable, scheduled() * variable),
    "decay by a fed rate": lambda variable: tf.assign_sub(variable, fed_rate() * variable),
}


def scheduled():
    return tf.train.exponential_decay(0.1, tf.train.get_or_create_global_step(), 10, 0.9)


def fed_rate():
    """A placeholder whose shape is not given, as in many programs."""
    return tf.placeholder_with_default(0.1, None)


def rate():
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        return tf.get_variable("rate", [], initializer=tf.ones_initializer(), trainable=False)


@VARIABLES
@pytest.mark.parametrize("trained_behind_it", [False, True])
def test_a_test_network_with_a_layer_of_its_own_before_the_weights(variables, trained_behind_it):
    """The layer is the first; if training has none there, as on stored features, it is healthy."""
    with fresh_graph(variables) as graph:
        x = inputs()
        minimize(loss_of(dense(layer(x, True) if trained_behind_it else x, "hidden")))
        with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
            y = dense(layer(inputs("test"), False, scope="bn_1"), "hidden")
        tf.nn.softmax(y, name="prediction")
    report = bnguard.audit(graph, fetches="prediction")
    assert found(report, "BN202") == (statistics("bn_1") if trained_behind_it else set())


@pytest.mark.parametrize("shape", [[None, 4], None])
def test_an_update_from_data_is_an_average_however_it_computes_the_moments(shape):
    """Its mean is of no layer's batch, so only its input tells that it follows data."""
    with fresh_graph() as graph:
        train = minimize(loss_of(layer(dense(inputs()), flag())), name="train")
        data = tf.placeholder(tf.float32, shape, name="data")
        (mean,) = (v for v in tf.global_variables() if v.op.name == "bn/moving_mean")
        y = layer(tf.reshape(data, [-1, 4]), False, reuse=True)
        tf.identity(y, name="other")
        with tf.control_dependencies([train]):
            median = tf.reduce_max(tf.reshape(data, [-1, 4]), 0)
            tf.group(tf.assign(mean, 0.9 * mean + 0.1 * median), name="step")
    assert found(bnguard.audit(graph, train_op="step"), "BN205") == set()


@pytest.mark.parametrize(
    ("of_all", "change", "variables"),
    combinations([False, True], sorted(DECAYS), ["ref", "resource"]),
)
def test_weight_decay_over_all_variables(variables, change, of_all):
    with fresh_graph(variables) as graph:
        rate()
        train = minimize(loss_of(layer(dense(inputs()), flag())), name="train")
        chosen = [
            variable
            for variable in (tf.global_variables() if of_all else tf.trainable_variables())
            if "Momentum" not in variable.op.name
            and variable.op.name not in ("rate", "global_step")
        ]
        with tf.control_dependencies([train]):
            tf.group(*map(DECAYS[change], chosen), name="step")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            (mean,) = (v for v in tf.global_variables() if v.op.name == "bn/moving_mean")
            feeds = {"x:0": np.eye(4), "label:0": np.eye(4), "is_training:0": False}
            session.run(mean.assign([4.0] * 4))
            session.run("step", feeds)
            moved = not np.array_equal(session.run(mean), [4.0] * 4)
    report = bnguard.audit(graph)
    assert found(report, "BN205") == (statistics("bn") if of_all else set())
    assert moved is of_all


@pytest.mark.parametrize("in_training", [False, True])
def test_a_swap_for_the_average(in_training):
    with fresh_graph() as graph:
        train = minimize(loss_of(layer(dense(inputs()), flag())), name="train")
        average = tf.train.ExponentialMovingAverage(0.9)
        with tf.control_dependencies([train]):
            averaged = average.apply(tf.global_variables("bn"))
        with tf.control_dependencies([averaged] if in_training else []):
            pairs = [(v, average.average(v)) for v in tf.global_variables("bn/moving")]
            pairs = [(v, shadow) for v, shadow in pairs if shadow is not None]
            tf.group(*[tf.assign(v, shadow) for v, shadow in pairs], name="swap")
    report = bnguard.audit(graph, train_op="swap" if in_training else None)
    assert found(report, "BN205") == (statistics("bn") if in_training else set())
