"""Test that the layers refuse invalid arguments, and that the error says what to do."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bnguard import batch_norm, batch_normalization
from bnguard.errors import BnguardError
from bnguard.layers.errors import LayerError


def refusal(function, *arguments, **options):
    with pytest.raises(LayerError, match=r"^batch normalization: ") as error:
        function(*arguments, **options)
    return str(error.value)


def inputs(*shape):
    return tf.placeholder(tf.float32, shape or None, name="images")


@pytest.mark.parametrize("layer", [batch_norm, batch_normalization])
def test_eager_execution_is_refused(layer, monkeypatch):
    # A process cannot enable eager execution again after disabling it.
    monkeypatch.setattr(tf, "executing_eagerly", lambda: True)
    with pytest.raises(RuntimeError, match="eager execution is enabled") as error:
        layer(np.zeros([4, 2], np.float32))
    assert "disable_eager_execution()" in str(error.value)


@pytest.mark.parametrize(
    ("mode", "seen"),
    [
        (2, "is 2, of type int32"),
        (-1, "is -1, of type int32"),
        (np.array(1), "of type int64"),
        (0.0, "of type float32"),
        ("yes", "of type string"),
        (None, "is None, of type NoneType"),
        (object(), "of type object"),
        ([True], "of shape (1,)"),
        (np.array([True, False]), "of shape (2,)"),
    ],
)
def test_a_mode_that_is_not_a_bool_is_refused(mode, seen):
    message = refusal(batch_norm, inputs(4, 2), is_training=mode)
    assert seen in message
    assert "must be True, False, or a bool tensor or variable of rank 0" in message
    assert "tf.placeholder(tf.bool, shape=[])" in message


def test_the_error_names_the_mode_argument_and_the_tensor():
    placeholder = tf.placeholder(tf.float32, [], name="phase")
    assert "is_training is phase:0, of type float32" in refusal(
        batch_norm, inputs(4, 2), is_training=placeholder
    )
    assert "training is phase:0" in refusal(batch_normalization, inputs(4, 2), training=placeholder)


def test_a_mode_of_unknown_shape_is_accepted():
    batch_norm(inputs(4, 2), is_training=tf.placeholder(tf.bool))


def test_a_refusal_is_an_error_of_the_user_and_a_value_error():
    assert issubclass(LayerError, BnguardError)
    assert issubclass(LayerError, ValueError)


@pytest.mark.parametrize("decay", [2, -0.1, np.nan, np.float32(1.5), np.inf])
def test_a_decay_outside_of_0_to_1_is_refused(decay):
    for layer, argument in [
        (batch_norm, "decay"),
        (batch_norm, "renorm_decay"),
        (batch_normalization, "momentum"),
        (batch_normalization, "renorm_momentum"),
    ]:
        message = refusal(layer, inputs(4, 2), **{argument: decay})
        assert f"{argument} is {decay}; a number from 0 to 1 is expected," in message
    constant = tf.constant(decay, tf.float32, name="rate")
    assert "decay is rate:0, which is" in refusal(batch_norm, inputs(4, 2), decay=constant)


def test_a_decay_that_is_not_known_or_at_an_end_is_accepted():
    rate = tf.get_variable("rate", initializer=2.0)
    for decay in (0, 1, 1.0, np.float32(0), tf.placeholder(tf.float32, []), rate):
        batch_norm(inputs(4, 2), decay=decay, is_training=True)


@pytest.mark.parametrize("epsilon", [-1e-3, np.nan, np.inf])
@pytest.mark.parametrize("layer", [batch_norm, batch_normalization])
def test_a_negative_or_infinite_epsilon_is_refused(layer, epsilon):
    message = refusal(layer, inputs(4, 2), epsilon=epsilon)
    assert f"epsilon is {epsilon}; a finite number of at least 0" in message
    layer(inputs(4, 2), epsilon=0.0)


@pytest.mark.parametrize("layer", [batch_norm, batch_normalization])
def test_inputs_of_unknown_rank_are_refused(layer):
    message = refusal(layer, inputs())
    assert "Inputs images:0 has undefined rank" in message
    assert "set_shape" in message


@pytest.mark.parametrize("layer", [batch_norm, batch_normalization])
@pytest.mark.parametrize("shape", [[], [3]])
def test_inputs_of_rank_0_or_1_are_refused(layer, shape):
    message = refusal(layer, tf.placeholder(tf.float32, shape, name="images"))
    assert "images:0" in message
    assert "at least 2 dimensions" in message
    assert "tf.expand_dims" in message


@pytest.mark.parametrize(
    ("shape", "data_format"), [((5, 3, 3, None), "NHWC"), ((5, None, 3, 3), "NCHW")]
)
def test_batch_norm_refuses_an_unknown_number_of_channels(shape, data_format):
    message = refusal(batch_norm, inputs(*shape), data_format=data_format)
    assert "Inputs images:0" in message
    assert "undefined channels dimension" in message
    assert "set_shape" in message


def test_batch_normalization_refuses_an_unknown_number_of_channels():
    assert "undefined channels" in refusal(batch_normalization, inputs(5, 3, None), axis=2)


@pytest.mark.parametrize("layer", [batch_norm, batch_normalization])
def test_integer_inputs_are_refused(layer):
    message = refusal(layer, tf.placeholder(tf.int32, [4, 2], name="images"))
    assert "images:0 is of type int32" in message
    assert "tf.cast" in message


def test_an_unknown_data_format_is_refused():
    message = refusal(batch_norm, inputs(), data_format="CHWN")
    assert "data_format is 'CHWN'" in message
    assert "data_format has to be either NCHW or NHWC." in message


def test_batch_weights_of_the_wrong_length_are_refused():
    message = refusal(batch_norm, inputs(4, 2), batch_weights=[1.0, 2.0])
    assert "batch_weights has shape (2,)" in message
    assert "shape (4,)" in message


@pytest.mark.parametrize("argument", ["param_initializers", "param_regularizers"])
def test_an_unknown_variable_name_is_refused(argument):
    message = refusal(batch_norm, inputs(4, 2), **{argument: {"betta": tf.zeros_initializer()}})
    assert f"{argument} has 'betta'" in message
    assert "the names are beta, gamma" in message


@pytest.mark.parametrize(
    "options",
    [
        {"batch_weights": [1.0] * 4},
        {"updates_collections": None},
        {"updates_collections": "mine"},
        {"updates_collections": "".join(["update_", "ops"])},  # equal, but a different object
        {"zero_debias_moving_mean": True},
    ],
)
def test_renorm_is_refused_with_arguments_it_does_not_support(options):
    message = refusal(batch_norm, inputs(4, 2), renorm=True, **options)
    assert "at their defaults" in message
    assert "the object tf.GraphKeys.UPDATE_OPS itself, or pass renorm=False" in message
    assert (
        "renorm is not supported with batch_weights, updates_collections or "
        "zero_debias_moving_mean" in message
    )


@pytest.mark.parametrize("renorm", [True, False])
@pytest.mark.parametrize("layer", [batch_norm, batch_normalization])
def test_an_unknown_renorm_clipping_key_is_refused(layer, renorm):
    message = refusal(layer, inputs(4, 2), renorm=renorm, renorm_clipping={"max": 3})
    assert "rename or drop" in message
    assert "contains keys not in ['rmax', 'rmin', 'dmax']" in message


@pytest.mark.parametrize("axis", [2, -3, [0, 0], [1, -1]])
def test_an_axis_out_of_range_or_repeated_is_refused(axis):
    message = refusal(batch_normalization, inputs(4, 2), axis=axis)
    assert f"axis is {axis}" in message
    assert "different dimensions from -2 to 1" in message


def test_an_unusable_virtual_batch_size_is_refused():
    assert "virtual_batch_size is 0; a positive divisor" in refusal(
        batch_normalization, inputs(4, 2), virtual_batch_size=0
    )
    for options in ({"axis": 0}, {"adjustment": lambda shape: (1.0, 0.0)}):
        assert "cannot be combined with axis 0 or with adjustment" in refusal(
            batch_normalization, inputs(4, 2), virtual_batch_size=2, **options
        )


@pytest.mark.parametrize("argument", ["beta_initializer", "moving_variance_initializer"])
def test_an_unknown_initializer_name_is_refused(argument):
    message = refusal(batch_normalization, inputs(4, 2), **{argument: "random_normal"})
    assert f"{argument} is 'random_normal'" in message
    assert "'zeros' and 'ones' are known" in message
    assert "tf.random_normal_initializer(stddev=0.05)" in message


@pytest.mark.parametrize(
    ("argument", "name"), [("gamma_regularizer", "l2"), ("beta_constraint", "non_neg")]
)
def test_a_regularizer_or_constraint_by_name_is_refused(argument, name):
    message = refusal(batch_normalization, inputs(4, 2), **{argument: name})
    assert f"{argument} is '{name}'; a function of" in message
