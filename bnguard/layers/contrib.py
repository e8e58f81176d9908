"""`batch_norm`: the layer with the signature of `tf.contrib.layers.batch_norm`."""

from __future__ import annotations

from typing import Any

from bnguard.layers.arguments import check_data_format, check_inputs, training_mode
from bnguard.layers.core import normalize
from bnguard.layers.kernels import FusedKernel, Kernel, MomentsKernel
from bnguard.layers.updates import moving_averages
from bnguard.layers.variables import Parameters, Statistics, VariableFactory
import tensorflow.compat.v1 as tf

_FUSED_TYPES = (tf.float16, tf.bfloat16, tf.float32)


def batch_norm(
    inputs: Any,
    decay: Any = 0.999,
    center: bool = True,
    scale: bool = False,
    epsilon: float = 0.001,
    activation_fn: Any = None,
    param_initializers: Any = None,
    param_regularizers: Any = None,
    updates_collections: Any = tf.GraphKeys.UPDATE_OPS,
    is_training: Any = True,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    batch_weights: Any = None,
    fused: Any = None,
    data_format: str = "NHWC",
    zero_debias_moving_mean: bool = False,
    scope: Any = None,
    renorm: bool = False,
    renorm_clipping: Any = None,
    renorm_decay: Any = 0.99,
    adjustment: Any = None,
) -> tf.Tensor:
    """Batch normalization, as `tf.contrib.layers.batch_norm` of TensorFlow 1.15.

    | is_training | ops created                 | statistics read | statistics written        |
    |-------------|-----------------------------|-----------------|---------------------------|
    | True        | moments, normalize, 2 update ops | none, but by their own update | both |
    | False       | normalize                   | both            | none                      |
    | tensor      | both sides in a `tf.cond`, 2 update ops | at False both | at True both  |

    With `updates_collections=None` the outputs wait for the update ops; else these are added
    to the collections, and whoever trains must run them.

    Args:
        inputs: floating point, rank at least 2, [batch, ..., channels] (`NHWC`) or
            [batch, channels, ...] (`NCHW`); the number of channels must be known.
        decay: of the moving averages.
        center: whether to add `beta`.
        scale: whether to multiply by `gamma`.
        epsilon: added to the variance.
        updates_collections: None, or the name or names of the collections for update ops.
        is_training: a Python bool, or a 0-D bool tensor or variable.
        reuse: whether the variables exist already, as for `tf.variable_scope`.
        trainable: whether `beta` and `gamma` are added to TRAINABLE_VARIABLES.
        fused: None and True use the fused kernel where it can be used (rank 2 and 4); its
            moving_variance has Bessel's correction. False never does: population variance.
        scope: the variable scope, `BatchNorm` if None.

    Returns:
        A tensor of the type and shape of `inputs`.

    Raises:
        ValueError: an argument is outside of what is said above.

    """
    for name, given, default in [
        ("activation_fn", activation_fn, None),
        ("param_initializers", param_initializers, None),
        ("param_regularizers", param_regularizers, None),
        ("variables_collections", variables_collections, None),
        ("outputs_collections", outputs_collections, None),
        ("batch_weights", batch_weights, None),
        ("zero_debias_moving_mean", zero_debias_moving_mean, False),
        ("renorm", renorm, False),
        ("renorm_clipping", renorm_clipping, None),
        ("renorm_decay", renorm_decay, 0.99),
        ("adjustment", adjustment, None),
    ]:
        if given is not default and given != default:
            raise NotImplementedError(f"batch_norm: {name} is not supported yet")
    check_data_format(data_format)
    training = training_mode(is_training)
    with tf.variable_scope(scope, "BatchNorm", [inputs], reuse=reuse):
        inputs = tf.convert_to_tensor(inputs)
        channel_axis = 1 if data_format == "NCHW" else -1
        check_inputs(inputs, channel_axis)
        factory = VariableFactory(
            shape=[inputs.shape.as_list()[channel_axis]],
            dtype=tf.float64 if inputs.dtype == tf.float64 else tf.float32,
            trainable=trainable,
            initializers={},
            regularizers={},
            collections=None,
        )
        parameters = Parameters(
            beta=factory.parameter("beta", tf.zeros_initializer()) if center else None,
            gamma=factory.parameter("gamma", tf.ones_initializer()) if scale else None,
        )
        statistics = Statistics(
            moving_mean=factory.statistic("moving_mean", tf.zeros_initializer()),
            moving_variance=factory.statistic("moving_variance", tf.ones_initializer()),
        )
        kernel: Kernel
        if fused is not False and inputs.shape.ndims in (2, 4) and inputs.dtype in _FUSED_TYPES:
            kernel = FusedKernel(inputs, parameters, statistics, epsilon, data_format)
        else:
            kernel = MomentsKernel(inputs, parameters, statistics, epsilon, channel_axis)
        outputs, updates = normalize(
            kernel,
            lambda mean, variance: moving_averages(statistics, decay, mean, variance),
            training,
            in_place=updates_collections is None,
        )
        if updates_collections is not None:
            for update in updates:
                tf.add_to_collections(updates_collections, update)
        outputs.set_shape(inputs.shape)
        return outputs
