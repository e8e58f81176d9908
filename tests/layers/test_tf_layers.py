"""Compare batch_normalization with tf.layers.batch_normalization, where that exists."""

import inspect

import numpy as np
import pytest
from support import originals
from support.layers.layer_session import LayerSession, batches
from support.layers.numpy_layer import NumpyLayer
from support.layers.observed import assert_same, observe
from support.layers.tf_layers_cases import CASES, SHAPES, VARIANTS, halve, observations
import tensorflow.compat.v1 as tf

from bnguard import batch_normalization

pytestmark = pytest.mark.slow

originals.need_tf_layers(__name__)

DEFAULTS = {
    "axis": -1,
    "momentum": 0.99,
    "epsilon": 0.001,
    "center": True,
    "scale": True,
    "beta_regularizer": None,
    "gamma_regularizer": None,
    "beta_constraint": None,
    "gamma_constraint": None,
    "training": False,
    "trainable": True,
    "name": None,
    "reuse": None,
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.99,
    "fused": None,
    "virtual_batch_size": None,
    "adjustment": None,
}


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "mode", "variant"), CASES)
def test_same_as_tf_layers(rank, mode, variant):
    ours = observe(batch_normalization, SHAPES[rank], {"training": mode}, **VARIANTS[variant])
    assert_same(ours, observations()[rank, mode, variant])


def test_order_and_defaults_of_the_arguments_are_those_of_tf_layers():
    parameters = inspect.signature(batch_normalization).parameters
    initializers = [name for name in parameters if name.endswith("_initializer")]
    assert list(parameters) == [
        "inputs",
        *list(DEFAULTS)[:5],
        "beta_initializer",
        "gamma_initializer",
        "moving_mean_initializer",
        "moving_variance_initializer",
        *list(DEFAULTS)[5:],
    ]
    for name, default in DEFAULTS.items():
        assert parameters[name].default == default
    for name in initializers:
        is_one = name in ("gamma_initializer", "moving_variance_initializer")
        expected = tf.ones_initializer if is_one else tf.zeros_initializer
        assert isinstance(parameters[name].default, expected)


def test_variables_are_created_in_the_originals_order():
    batch_normalization(tf.placeholder(tf.float32, [4, 2]), training=True)
    assert [variable.op.name for variable in tf.global_variables()] == [
        "batch_normalization/gamma",
        "batch_normalization/beta",
        "batch_normalization/moving_mean",
        "batch_normalization/moving_variance",
    ]
    assert not tf.model_variables()


def test_the_defaults_train_as_the_closed_form():
    x = tf.placeholder(tf.float32, [6, 3])
    layer = LayerSession(x, batch_normalization(x, training=True))
    expected = NumpyLayer([3], decay=0.99, epsilon=0.001)
    for batch in batches((6, 3)):
        np.testing.assert_allclose(layer.train(batch), expected.train(batch), atol=1e-5)
    values = layer.variables()
    np.testing.assert_allclose(values["moving_mean"], expected.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(values["moving_variance"], expected.moving_variance, rtol=1e-5)


def test_inference_is_the_default():
    x = tf.placeholder(tf.float32, [6, 3])
    layer, batch = LayerSession(x, batch_normalization(x)), batches((6, 3))[0]
    assert not tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    np.testing.assert_allclose(layer.run(layer.y, batch), NumpyLayer([3]).infer(batch), atol=1e-5)


def test_reuse_by_name_adds_update_ops_and_no_variables():
    x = tf.placeholder(tf.float32, [4, 2])
    batch_normalization(x, training=True, name="bn")
    batch_normalization(x, training=True, name="bn", reuse=True)
    assert len(tf.global_variables()) == len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == 4


@pytest.mark.parametrize("name", ["beta", "gamma"])
def test_a_constraint_projects_its_parameter(name):
    x = tf.placeholder(tf.float32, [6, 3])
    y = batch_normalization(x, **{name + "_constraint": halve})
    layer = LayerSession(x, y)
    (parameter,) = [
        variable for variable in tf.trainable_variables() if variable.op.name.endswith(name)
    ]
    assert parameter.constraint is halve
    before = layer.variables()[name]
    optimizer = tf.train.GradientDescentOptimizer(0.0).minimize(tf.reduce_sum(y))
    layer.run(optimizer, batches((6, 3))[0])
    np.testing.assert_allclose(layer.variables()[name], before / 2)


def test_inference_with_virtual_batches_accepts_any_batch_size():
    x, training = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.bool)
    y = batch_normalization(x, training=training, virtual_batch_size=4)
    layer = LayerSession(x, y, training)
    row = batches((1, 3))[0]
    np.testing.assert_allclose(layer.infer(row), NumpyLayer([3]).infer(row), atol=1e-5)
