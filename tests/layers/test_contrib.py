"""Test batch_norm argument by argument: each test fails if the argument has no effect."""

import inspect

import numpy as np
import pytest
from support import samples
from support.layers.layer_session import LayerSession, batches
from support.layers.numpy_layer import NumpyLayer, NumpyRenorm
import tensorflow.compat.v1 as tf

from bnguard import batch_norm

pytestmark = pytest.mark.slow

SHAPE = (6, 3)
IMAGES = (4, 5, 5, 3)
FUSED = pytest.mark.parametrize("fused", [None, False])
DEFAULTS = [
    ("decay", 0.999),
    ("center", True),
    ("scale", False),
    ("epsilon", 0.001),
    ("activation_fn", None),
    ("param_initializers", None),
    ("param_regularizers", None),
    ("updates_collections", "update_ops"),
    ("is_training", True),
    ("reuse", None),
    ("variables_collections", None),
    ("outputs_collections", None),
    ("trainable", True),
    ("batch_weights", None),
    ("fused", None),
    ("data_format", "NHWC"),
    ("zero_debias_moving_mean", False),
    ("scope", None),
    ("renorm", False),
    ("renorm_clipping", None),
    ("renorm_decay", 0.99),
    ("adjustment", None),
]


def build(shape=SHAPE, **options):
    x = tf.placeholder(tf.float32, shape)
    return LayerSession(x, batch_norm(x, **options))


def assert_trains_as(layer, expected, shape=SHAPE, **options):
    """Compare the outputs and every statistic in three training steps."""
    for batch in batches(shape):
        np.testing.assert_allclose(layer.train(batch), expected.train(batch, **options), atol=2e-5)
    for name, value in layer.variables().items():
        np.testing.assert_allclose(value, getattr(expected, name), rtol=1e-5, err_msg=name)


def names(collection):
    return [item.op.name for item in tf.get_collection(collection)]


def test_order_and_defaults_of_the_arguments_are_contribs():
    parameters = inspect.signature(batch_norm).parameters
    assert list(parameters) == ["inputs"] + [name for name, _ in DEFAULTS]
    assert [(name, parameters[name].default) for name, _ in DEFAULTS] == DEFAULTS


@FUSED
def test_the_defaults_train_as_the_closed_form(fused):
    expected = NumpyLayer([3], decay=0.999, epsilon=0.001, bessel=fused is None)
    assert_trains_as(build(fused=fused), expected)
    assert names(tf.GraphKeys.TRAINABLE_VARIABLES) == ["BatchNorm/beta"]


@FUSED
def test_decay_sets_the_rate_of_the_moving_averages(fused):
    assert_trains_as(
        build(decay=0.7, fused=fused), NumpyLayer([3], decay=0.7, bessel=fused is None)
    )


def test_decay_may_be_a_tensor():
    layer = build(decay=tf.constant(0.7, tf.float64), fused=False)
    assert_trains_as(layer, NumpyLayer([3], decay=0.7))


@pytest.mark.parametrize(
    ("center", "scale", "expected"),
    [
        (True, True, ["beta", "gamma", "moving_mean", "moving_variance"]),
        (True, False, ["beta", "moving_mean", "moving_variance"]),
        (False, True, ["gamma", "moving_mean", "moving_variance"]),
        (False, False, ["moving_mean", "moving_variance"]),
    ],
)
@FUSED
def test_center_and_scale_create_and_apply_beta_and_gamma(fused, center, scale, expected):
    layer = build(center=center, scale=scale, fused=fused)
    created = ["BatchNorm/" + name for name in expected]
    assert names(tf.GraphKeys.GLOBAL_VARIABLES) == created
    assert names(tf.GraphKeys.MODEL_VARIABLES) == created
    oracle = NumpyLayer([3], decay=0.999, bessel=fused is None)
    for name, applies in (("beta", center), ("gamma", scale)):
        if applies:
            setattr(oracle, name, np.array([2.0, -1.0, 0.5]))
            variable = next(
                variable for variable in tf.global_variables() if variable.op.name.endswith(name)
            )
            layer.session.run(variable.assign(getattr(oracle, name)))
    assert_trains_as(layer, oracle)


@FUSED
def test_epsilon_is_added_to_the_variance(fused):
    layer = build(epsilon=0.5, decay=0.9, fused=fused)
    assert_trains_as(layer, NumpyLayer([3], epsilon=0.5, bessel=fused is None))


@FUSED
def test_activation_fn_is_applied_to_the_outputs(fused):
    layer = build(activation_fn=tf.nn.relu, fused=fused)
    batch = batches(SHAPE)[0]
    np.testing.assert_allclose(
        layer.run(layer.y, batch), np.maximum(NumpyLayer([3]).train(batch), 0), atol=1e-5
    )
    assert layer.y.op.name == "BatchNorm/Relu"


@pytest.mark.parametrize("name", ["beta", "gamma", "moving_mean", "moving_variance"])
@FUSED
def test_param_initializers_set_the_initial_values(fused, name):
    initializer = tf.constant_initializer([2.0, 3.0, 4.0])
    layer = build(scale=True, fused=fused, param_initializers={name: initializer})
    defaults = {"beta": 0, "gamma": 1, "moving_mean": 0, "moving_variance": 1}
    for variable, value in layer.variables().items():
        expected = [2, 3, 4] if variable == name else [defaults[variable]] * 3
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("name", ["beta", "gamma"])
@FUSED
def test_param_regularizers_add_their_losses(fused, name):
    def regularizer(parameter):
        return 0.1 * tf.reduce_sum(parameter + 1)

    layer = build(scale=True, fused=fused, param_regularizers={name: regularizer})
    (loss,) = tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
    assert loss.op.name == f"BatchNorm/{name}/Regularizer/mul"
    expected = {"beta": 0.3, "gamma": 0.6}[name]
    assert layer.session.run(loss) == pytest.approx(expected)


@FUSED
def test_updates_collections_none_runs_the_updates_with_the_outputs(fused):
    layer = build(updates_collections=None, decay=0.9, fused=fused)
    assert not tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    batch, expected = batches(SHAPE)[0], NumpyLayer([3], bessel=fused is None)
    layer.run(layer.y, batch)
    expected.train(batch)
    np.testing.assert_allclose(layer.variables()["moving_mean"], expected.moving_mean, rtol=1e-5)


@pytest.mark.parametrize(
    ("fused", "mode", "updates_collections"),
    samples.combinations([None, False], ["known", "tensor"], ["update_ops", "mine", "both"]),
)
def test_updates_collections_get_the_mean_then_the_variance(fused, mode, updates_collections):
    is_training = True if mode == "known" else tf.placeholder_with_default(True, [])
    keys = ["mine", "yours"] if updates_collections == "both" else [updates_collections]
    layer = build(
        updates_collections=keys if updates_collections == "both" else updates_collections,
        is_training=is_training,
        decay=0.9,
        fused=fused,
    )
    for key in keys:
        assert names(key) == ["BatchNorm/AssignMovingAvg", "BatchNorm/AssignMovingAvg_1"]
    batch, expected = batches(SHAPE)[0], NumpyLayer([3], bessel=fused is None)
    mean, variance = layer.run(tf.get_collection(keys[0]), batch)
    expected.train(batch)
    np.testing.assert_allclose(mean, expected.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(variance, expected.moving_variance, rtol=1e-5)


@FUSED
def test_is_training_false_adds_no_update_op(fused):
    layer = build(is_training=False, fused=fused)
    assert not tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    batch = batches(SHAPE)[0]
    np.testing.assert_allclose(layer.run(layer.y, batch), NumpyLayer([3]).infer(batch), atol=1e-5)


@pytest.mark.parametrize(
    ("fused", "is_tensor", "resource"),
    samples.combinations([None, False], [False, True], [False, True]),
)
def test_is_training_may_be_a_variable(fused, is_tensor, resource):
    variable = tf.Variable(True, trainable=False, use_resource=resource)
    is_training = tf.identity(variable) if is_tensor else variable
    layer = build(is_training=is_training, fused=fused, decay=0.9)
    expected = NumpyLayer([3], bessel=fused is None)
    batch = batches(SHAPE)[0]
    np.testing.assert_allclose(layer.train(batch), expected.train(batch), atol=1e-5)
    layer.session.run(variable.assign(False))
    np.testing.assert_allclose(layer.infer(batch), expected.infer(batch), atol=1e-5)
    values = layer.variables()
    np.testing.assert_allclose(values["moving_mean"], expected.moving_mean, rtol=1e-5)


@pytest.mark.parametrize("constant", [True, False, np.bool_(True)])
def test_is_training_known_when_the_graph_is_built(constant):
    layer = build(is_training=tf.constant(constant) if constant is not np.bool_ else constant)
    assert "Merge" not in {op.type for op in layer.y.graph.get_operations()}
    assert len(layer.updates) == (2 if constant else 0)


def test_reuse_adds_update_ops_and_no_variables():
    x = tf.placeholder(tf.float32, SHAPE)
    first = batch_norm(x, scope="bn", scale=True)
    variables = tf.global_variables()
    second = batch_norm(x, scope="bn", scale=True, reuse=True)
    assert tf.global_variables() == variables
    assert len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == 4
    assert first is not second


@pytest.mark.parametrize("name", ["beta", "gamma", "moving_mean", "moving_variance"])
@FUSED
def test_variables_collections_by_name_receive_that_variable(fused, name):
    build(scale=True, fused=fused, variables_collections={name: ["mine", "yours"]})
    assert names("mine") == names("yours") == ["BatchNorm/" + name]


@FUSED
def test_variables_collections_as_a_list_receive_each_variable_once(fused):
    x = tf.placeholder(tf.float32, SHAPE)
    options = {"scale": True, "fused": fused, "variables_collections": ["mine"], "scope": "bn"}
    batch_norm(x, **options)
    batch_norm(x, reuse=True, **options)
    assert names("mine") == ["bn/beta", "bn/gamma", "bn/moving_mean", "bn/moving_variance"]


@FUSED
def test_outputs_collections_receive_the_outputs_with_an_alias(fused):
    with tf.variable_scope("net"):
        layer = build(outputs_collections=["mine", "yours"], fused=fused)
    assert tf.get_collection("mine") == tf.get_collection("yours") == [layer.y]
    assert layer.y.aliases == ["net/BatchNorm"]


@FUSED
def test_trainable_false_keeps_the_parameters_out_of_the_collection(fused):
    build(scale=True, fused=fused, trainable=False)
    assert not tf.trainable_variables()
    build(scale=True, fused=fused)
    assert names(tf.GraphKeys.TRAINABLE_VARIABLES) == ["BatchNorm_1/beta", "BatchNorm_1/gamma"]


@pytest.mark.parametrize("updates_collections", [None, "update_ops"])
def test_batch_weights_weight_the_moments(updates_collections):
    weights = [1.0, 0.0, 2.0, 0.5, 0.0, 3.0]
    layer = build(batch_weights=weights, decay=0.9, updates_collections=updates_collections)
    assert_trains_as(layer, NumpyLayer([3]), weights=weights)


@pytest.mark.parametrize(
    ("options", "name", "bessel"),
    [
        ({}, "FusedBatchNorm", True),
        ({"fused": None}, "FusedBatchNorm", True),
        ({"fused": True}, "FusedBatchNorm", True),
        ({"fused": False}, "batchnorm", False),
    ],
)
def test_fused_selects_the_kernel_and_its_variance(options, name, bessel):
    layer = build(IMAGES, decay=0.9, **options)
    assert layer.y.op.name.startswith("BatchNorm/" + name)
    assert_trains_as(layer, NumpyLayer([3], (0, 1, 2), bessel=bessel), IMAGES)


def test_data_format_nchw_reduces_all_but_dimension_1():
    layer = build((4, 3, 5, 6), data_format="NCHW", fused=False, scale=True, decay=0.9)
    assert_trains_as(layer, NumpyLayer([3], (0, 2, 3)), (4, 3, 5, 6))


@pytest.mark.parametrize(
    ("fused", "updates_collections", "mode"),
    samples.combinations([None, False], [None, "update_ops"], ["known", "tensor"]),
)
def test_zero_debias_moving_mean_removes_the_bias(fused, updates_collections, mode):
    is_training = True if mode == "known" else tf.placeholder_with_default(True, [])
    layer = build(
        decay=0.9,
        zero_debias_moving_mean=True,
        fused=fused,
        updates_collections=updates_collections,
        is_training=is_training,
    )
    prefix = "BatchNorm/BatchNorm/moving_mean/"
    assert names(tf.GraphKeys.MODEL_VARIABLES)[-2:] == [prefix + "biased", prefix + "local_step"]
    assert_trains_as(layer, NumpyLayer([3], bessel=fused is None, zero_debias=True))


def test_zero_debias_moving_mean_creates_nothing_for_inference():
    build(zero_debias_moving_mean=True, is_training=False)
    assert len(tf.global_variables()) == 3


def test_scope_names_the_variables():
    build(scope="mine", scale=True)
    assert names(tf.GraphKeys.GLOBAL_VARIABLES)[0] == "mine/beta"
    build(), build()
    assert {name.split("/")[0] for name in names(tf.GraphKeys.GLOBAL_VARIABLES)} == {
        "mine",
        "BatchNorm",
        "BatchNorm_1",
    }


CLIPPING = {"rmin": 0.9, "rmax": 1.1, "dmax": 0.05}


CLIPPINGS = [None, {"rmax": 1.1}, {"rmin": 2.9}, {"dmax": 0.05}, CLIPPING]


@pytest.mark.parametrize(
    ("mode", "clipping"),
    [
        (mode, CLIPPINGS[number])
        for mode, number in samples.combinations(["known", "tensor"], range(len(CLIPPINGS)))
    ],
)
def test_renorm_trains_as_the_closed_form(mode, clipping):
    is_training = True if mode == "known" else tf.placeholder_with_default(True, [])
    layer = build(
        renorm=True,
        renorm_clipping=clipping,
        renorm_decay=0.8,
        decay=0.9,
        scale=True,
        is_training=is_training,
    )
    expected = NumpyRenorm([3], renorm_decay=0.8, clipping=clipping)
    assert_trains_as(layer, expected)
    assert len(layer.updates) == 2
    names = [variable.op.name for variable in tf.model_variables()]
    assert names[-3:] == [
        "BatchNorm/moving_stddev",
        "BatchNorm/renorm_mean",
        "BatchNorm/renorm_stddev",
    ]


def test_renorm_decay_defaults_to_contribs():
    layer = build(renorm=True, decay=0.9)
    assert_trains_as(layer, NumpyRenorm([3], renorm_decay=0.99))


def test_renorm_starts_from_the_given_initial_values():
    layer = build(
        renorm=True,
        param_initializers={
            "moving_mean": tf.constant_initializer(3.0),
            "moving_variance": tf.constant_initializer(4.0),
        },
    )
    values = layer.variables()
    assert values["moving_stddev"].tolist() == values["renorm_stddev"].tolist() == [2, 2, 2]
    assert values["renorm_mean"].tolist() == [3, 3, 3]


@pytest.mark.parametrize("updates_collections", [None, "update_ops"])
@pytest.mark.parametrize("batch_weights", [None, [1.0] * 6])
def test_adjustment_applies_in_training_only(batch_weights, updates_collections):
    training = tf.placeholder_with_default(True, [])
    layer = build(
        adjustment=lambda shape: (tf.fill(shape[-1:], 2.0), tf.fill(shape[-1:], 0.5)),
        is_training=training,
        decay=0.9,
        batch_weights=batch_weights,
        updates_collections=updates_collections,
        param_initializers={"beta": tf.constant_initializer(3.0)},
    )
    expected = NumpyLayer([3])
    batch = batches(SHAPE)[0]
    adjusted = expected.train(batch) * 2 + 0.5 + 3
    np.testing.assert_allclose(layer.train(batch), adjusted, atol=1e-5)
    layer.training = training
    np.testing.assert_allclose(layer.infer(batch), expected.infer(batch) + 3, atol=1e-5)


def test_a_partitioner_in_scope_leaves_the_statistics_whole():
    with tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(3)):
        layer = build(scale=True, decay=0.9, variables_collections=["mine"])
    assert names("mine") == [
        "net/BatchNorm/beta/part_0",
        "net/BatchNorm/beta/part_1",
        "net/BatchNorm/beta/part_2",
        "net/BatchNorm/gamma/part_0",
        "net/BatchNorm/gamma/part_1",
        "net/BatchNorm/gamma/part_2",
        "net/BatchNorm/moving_mean",
        "net/BatchNorm/moving_variance",
    ]
    batch = batches(SHAPE)[0]
    np.testing.assert_allclose(layer.train(batch), NumpyLayer([3]).train(batch), atol=1e-5)
