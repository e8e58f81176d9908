"""The vote on training flags: one test for each row of its table, at either polarity."""

from functools import partial

import pytest
from support.analysis.networks import fresh_graph
import tensorflow.compat.v1 as tf

from bnguard import batch_norm
from bnguard.analysis.frontend.loader import load
from bnguard.analysis.recognition.recognized_graph import recognize
from bnguard.analysis.scenario.training_flags import find_training_flags

pytestmark = pytest.mark.slow

# The value of the flag in training.
POLARITIES = pytest.mark.parametrize("training", [True, False])


def flags_of(graph):
    (loaded,) = load(graph)
    recognized = recognize(loaded)
    return {recognized.name(flag.tensor): flag.training for flag in find_training_flags(recognized)}


class Network:
    """A graph under construction, with a flag whose value in training is `training`."""

    def __init__(self, training):
        self._training = training
        self.x = tf.placeholder(tf.float32, [None, 2], name="x")
        self.flag = tf.placeholder(tf.bool, [], name="flag")
        self.mean = variable("bn/moving_mean", 0.0)
        self.variance = variable("bn/moving_variance", 1.0)

    def branch(self, in_training, in_inference):
        """A tf.cond with these two branches."""
        if self._training:
            return tf.cond(self.flag, in_training, in_inference)
        return tf.cond(self.flag, in_inference, in_training)

    def normalize(self, x, mean, variance):
        return tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)

    def normalize_by_running_statistics(self, x):
        return self.normalize(x, self.mean, self.variance)


def variable(name, value):
    return tf.get_variable(name, [2], initializer=tf.constant_initializer(value), trainable=False)


@POLARITIES
def test_an_update_votes_for_training(training):
    with fresh_graph() as graph:
        network = Network(training)
        y = network.normalize_by_running_statistics(network.x)

        def update():
            with tf.control_dependencies([tf.assign_sub(network.mean, 0.1 * network.mean)]):
                return tf.identity(y)

        network.branch(update, lambda: tf.identity(y))
    assert flags_of(graph) == {"flag:0": training}


@POLARITIES
def test_a_normalization_by_batch_moments_votes_for_training(training):
    with fresh_graph() as graph:
        network = Network(training)
        network.branch(
            lambda: network.normalize(network.x, *tf.nn.moments(network.x, [0])),
            lambda: tf.identity(network.x),
        )
    assert flags_of(graph) == {"flag:0": training}


@POLARITIES
def test_a_random_number_votes_for_training(training):
    with fresh_graph() as graph:
        network = Network(training)
        y = network.normalize_by_running_statistics(network.x)
        network.branch(lambda: y * tf.random.uniform([2]), lambda: tf.identity(y))
    assert flags_of(graph) == {"flag:0": training}


@POLARITIES
def test_moments_that_leave_a_switch_on_one_side_vote_for_training(training):
    with fresh_graph() as graph:
        network = Network(training)
        mean, variance = tf.nn.moments(network.x, [0])
        chosen = [
            network.branch(lambda: tf.identity(mean), lambda: tf.identity(mean * 0.0)),
            network.branch(lambda: tf.identity(variance), lambda: tf.ones([2])),
        ]
        network.normalize(network.x, *chosen)
    assert flags_of(graph) == {"flag:0": training}


@POLARITIES
def test_moments_that_a_branch_computes_vote_for_training(training):
    """The layer is behind the branches, and the updates are outside."""
    with fresh_graph() as graph:
        network = Network(training)
        chosen = network.branch(
            lambda: tf.nn.moments(network.x, [0]),
            lambda: (tf.identity(network.mean), tf.identity(network.variance)),
        )
        network.normalize(network.x, *chosen)
    assert flags_of(graph) == {"flag:0": training}


@POLARITIES
def test_a_normalization_by_running_statistics_votes_for_inference(training):
    with fresh_graph() as graph:
        network = Network(training)
        network.branch(
            lambda: tf.identity(network.x),
            lambda: network.normalize_by_running_statistics(network.x),
        )
    assert flags_of(graph) == {"flag:0": training}


def test_a_normalization_that_may_use_either_votes_for_nothing():
    with fresh_graph() as graph:
        network = Network(training=True)
        other = tf.placeholder(tf.bool, [], name="other")

        def layer():
            mean, variance = tf.cond(
                other,
                lambda: tf.nn.moments(network.x, [0]),
                lambda: (tf.identity(network.mean), tf.identity(network.variance)),
            )
            return network.normalize(network.x, mean, variance)

        network.branch(layer, lambda: tf.identity(network.x))
    assert "flag:0" not in flags_of(graph)


@POLARITIES
def test_where_the_branches_tie_the_inputs_of_the_first_merge_decide(training):
    with fresh_graph() as graph:
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        flag = tf.placeholder(tf.bool, [], name="flag")
        train = batch_norm(x, is_training=True, updates_collections=None, scope="bn")
        infer = batch_norm(x, is_training=False, reuse=True, scope="bn")
        at_true, at_false = (train, infer) if training else (infer, train)
        tf.cond(flag, lambda: at_true, lambda: at_false)
    assert flags_of(graph) == {"flag:0": training}


def test_a_choice_between_two_networks_in_training_mode_is_no_training_flag():
    """Their gradients, which use one network or the other, decide nothing."""
    with fresh_graph() as graph:
        flag = tf.placeholder(tf.bool, [], name="flag")
        inputs = [variable(name, 1.0) * 2.0 for name in ("a", "b")]
        network = partial(batch_norm, updates_collections=None, scope="bn", reuse=tf.AUTO_REUSE)
        y = tf.cond(flag, *(partial(network, x[tf.newaxis], is_training=True) for x in inputs))
        tf.gradients(y, tf.global_variables())
    assert flags_of(graph) == {}


def test_a_flag_whose_votes_all_tie_is_no_training_flag():
    with fresh_graph() as graph:
        network = Network(training=True)
        x = network.branch(lambda: 2.0 * network.x, lambda: 3.0 * network.x)
        network.normalize_by_running_statistics(x)
    assert flags_of(graph) == {}


@POLARITIES
def test_every_switch_votes_and_the_majority_decides(training):
    with fresh_graph() as graph:
        network = Network(training)
        y = network.normalize_by_running_statistics(network.x)
        for _ in range(100):  # a random number on the side of inference, once
            y = network.branch(lambda y=y: y * tf.random.uniform([2]), lambda y=y: tf.identity(y))
        network.branch(lambda: tf.identity(y), lambda: y * tf.random.uniform([2]))
    assert flags_of(graph) == {"flag:0": training}


@pytest.mark.parametrize("default", [True, False])
def test_the_default_of_a_flag_is_known(default):
    with fresh_graph() as graph:
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        flag = tf.placeholder_with_default(default, [], name="flag")
        batch_norm(x, is_training=flag, updates_collections=None)
    (loaded,) = load(graph)
    (found,) = find_training_flags(recognize(loaded))
    assert found.default is default
    assert found.training is True
