"""`batch_norm`: the layer with the signature of `tf.contrib.layers.batch_norm`."""

from __future__ import annotations

from typing import Mapping

import tensorflow.compat.v1 as tf

from bnguard.layers import validation
from bnguard.layers.aliases import (
    Activation,
    Adjustment,
    Collections,
    Initializer,
    Mode,
    Regularizer,
    RenormClipping,
    Reuse,
    Scalar,
    Scope,
    TensorLike,
    VariablesCollections,
)
from bnguard.layers.errors import LayerError
from bnguard.layers.forward import normalize
from bnguard.layers.kernels import FusedKernel, Kernel, MomentsKernel
from bnguard.layers.update_rules import MovingAverages, Renorm, Rule, ZeroDebiased
from bnguard.layers.variables import Parameters, Statistics, VariableFactory, parameter_type


def batch_norm(
    inputs: TensorLike,
    decay: Scalar = 0.999,
    center: bool = True,
    scale: bool = False,
    epsilon: float = 0.001,
    activation_fn: Activation | None = None,
    param_initializers: dict[str, Initializer] | None = None,
    param_regularizers: dict[str, Regularizer] | None = None,
    updates_collections: Collections | None = tf.GraphKeys.UPDATE_OPS,
    is_training: Mode = True,
    reuse: Reuse | None = None,
    variables_collections: VariablesCollections | None = None,
    outputs_collections: Collections | None = None,
    trainable: bool = True,
    batch_weights: TensorLike | None = None,
    fused: bool | None = None,
    data_format: str = "NHWC",
    zero_debias_moving_mean: bool = False,
    scope: Scope | None = None,
    renorm: bool = False,
    renorm_clipping: RenormClipping | None = None,
    renorm_decay: Scalar = 0.99,
    adjustment: Adjustment | None = None,
) -> tf.Tensor:
    """Normalize a batch (Ioffe and Szegedy, arXiv:1502.03167) and keep running statistics.

    The layer behaves as that of TensorFlow 1.15, except for the differences that
    docs/layers.md lists. In training, it normalizes with the mean and variance of the batch,
    and update ops move `moving_mean` and `moving_variance` toward them. In inference, it
    normalizes with `moving_mean` and `moving_variance`.

    `is_training` and `updates_collections` decide what the call builds:

    * True, collections: the outputs are normalized with the batch's moments and read no
      statistic. Two update ops, moving_mean's first, are added to the collections. They read
      and write both statistics when they run. The program must run them in each training
      step, as the train op of `create_train_op` does.
    * True, None: the same, but the update ops are in no collection and the outputs depend on
      them. Computing the outputs reads and writes both statistics.
    * False: the outputs are normalized with the statistics. Computing them reads both and
      writes none. There are no update ops.
    * tensor, collections: its value selects training or inference in each step, and two update
      ops outside both branches are added to the collections. While False, the outputs read
      both statistics, and the update ops write the values that are already there, bit for bit.
    * tensor, None: the update ops are in the training branch. While True, computing the
      outputs reads and writes both statistics; while False, it reads both and runs no update
      op.

    A constant tensor counts as its value. An empty batch leaves both statistics bit for bit
    unchanged. Within a step, each read of a statistic by this call is ordered with its update;
    a second call that reuses the variables is not ordered with this one.

    The variables are `beta` and `gamma` as requested, `moving_mean` and `moving_variance`, of
    shape [channels], float64 for float64 inputs and float32 otherwise.

    Args:
      inputs: floating point, rank at least 2: [batch, ..., channels] or, for `NCHW`,
        [batch, channels, ...]. Only the rank and the number of channels must be known.
      decay: the decay of the moving averages, a number from 0 to 1 or a scalar tensor.
      center: whether to add `beta`.
      scale: whether to multiply by `gamma`.
      epsilon: a number of at least 0, added to the variance.
      activation_fn: a function applied to the outputs, or None.
      param_initializers: dict with any of beta, gamma, moving_mean, moving_variance.
      param_regularizers: dict with any of beta, gamma; the losses are added to
        REGULARIZATION_LOSSES.
      updates_collections: the name or names of the collections for the update ops, or None
        to run the updates before the outputs.
      is_training: a Python bool (or 0 or 1), or a 0-D bool tensor or variable.
      reuse: as for `tf.variable_scope`; needs `scope`.
      variables_collections: more collections for the variables: a list for all of them,
        or a dict of lists by variable name.
      outputs_collections: the name or names of collections for the outputs. The scope's
        name is then added to their attribute `aliases`.
      trainable: whether beta and gamma are added to TRAINABLE_VARIABLES. With False and the
        default updates_collections, no update ops are built, unless with batch_weights,
        with zero_debias_moving_mean, or for fused inputs of rank 2.
      batch_weights: [batch], a frequency weight for each example in the moments.
      fused: None and True use the fused kernel where one exists: rank 2 or 4, at most 32
        bits, no batch_weights, renorm or adjustment. The fused kernel puts the variance with
        Bessel's correction into moving_variance; False, and all other cases, the population
        variance.
      data_format: `NHWC` or `NCHW`, for any rank.
      zero_debias_moving_mean: divide the moving mean by 1 - decay ** updates; adds the
        variables `biased` and `local_step`.
      scope: the name or scope for `tf.variable_scope`; by default a new `BatchNorm`.
      renorm: use batch renormalization (Ioffe, arXiv:1702.03275); adds the variables
        `moving_stddev`, `renorm_mean` and `renorm_stddev`. In training, the outputs read the
        last two.
      renorm_clipping: dict with any of rmax, rmin, dmax, scalars.
      renorm_decay: the decay of `renorm_mean` and `renorm_stddev`.
      adjustment: a function from the inputs' shape, an int tensor, to a scale and an
        offset for the normalized values, applied before gamma and beta in training only.

    Returns:
      A tensor of the shape and dtype of `inputs`, if there is no `activation_fn`.

    Raises:
      LayerError: an argument is not as described, or `renorm` is combined with batch_weights,
        with zero_debias_moving_mean or with updates_collections other than UPDATE_OPS. It is a
        ValueError.
      RuntimeError: eager execution is enabled.
    """
    validation.check_graph_mode()
    validation.check_data_format(data_format)
    _check_renorm(renorm, batch_weights, updates_collections, zero_debias_moving_mean)
    validation.check_renorm_clipping(renorm_clipping or {})
    validation.check_decay(decay, "decay")
    validation.check_decay(renorm_decay, "renorm_decay")
    validation.check_epsilon(epsilon)
    training = validation.training_mode(is_training, "is_training")
    with tf.variable_scope(scope, "BatchNorm", [inputs], reuse=reuse) as variable_scope:
        inputs = tf.convert_to_tensor(inputs)
        validation.check_inputs(inputs)
        variables = VariableFactory(
            shape=[validation.channels(inputs, _channel_axis(inputs, data_format))],
            dtype=parameter_type(inputs),
            trainable=trainable,
            initializers=_initializers(param_initializers),
            regularizers=_regularizers(param_regularizers),
            constraints={},
            common_collections=(tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES),
            extra_collections=variables_collections,
        )
        parameters = Parameters(
            beta=variables.parameter("beta") if center else None,
            gamma=variables.parameter("gamma") if scale else None,
        )
        averages = MovingAverages(variables.statistics(), decay)
        common = (inputs, parameters, averages.statistics, epsilon)
        rule: Rule = averages
        if renorm:
            rule = Renorm.create(averages, variables, epsilon, renorm_clipping, renorm_decay)
        elif zero_debias_moving_mean and training is not False:
            rule = ZeroDebiased.create(averages, variables)
        kernel = _kernel(common, data_format, rule, fused, batch_weights, adjustment)
        if _is_frozen(trainable, updates_collections, rule, kernel, batch_weights):
            updates_collections = ()
        outputs = normalize(kernel, rule, training, updates_collections)
        outputs.set_shape(inputs.shape)
        if activation_fn is not None:
            outputs = activation_fn(outputs)
        return _collect(outputs, outputs_collections, variable_scope.name)


def _check_renorm(
    renorm: bool,
    batch_weights: TensorLike | None,
    updates_collections: Collections | None,
    zero_debias: bool,
) -> None:
    # Compared by identity, as in contrib: an equal string may still be a different object.
    is_other_collection = updates_collections is not tf.GraphKeys.UPDATE_OPS
    if renorm and (batch_weights is not None or is_other_collection or zero_debias):
        raise LayerError(
            "batch normalization: renorm is not supported with batch_weights, updates_collections "
            "or zero_debias_moving_mean; leave these at their defaults, which for "
            "updates_collections is the object tf.GraphKeys.UPDATE_OPS itself, or pass "
            "renorm=False."
        )


def _kernel(
    common: tuple[tf.Tensor, Parameters, Statistics, float],
    data_format: str,
    rule: Rule,
    fused: bool | None,
    batch_weights: TensorLike | None,
    adjustment: Adjustment | None,
) -> Kernel:
    """Choose the kernel; `common` are the arguments of both, with the inputs first."""
    inputs = common[0]
    correction = rule.correction if isinstance(rule, Renorm) else None
    needs_moments = any(option is not None for option in (batch_weights, adjustment, correction))
    if (fused is None or fused) and not needs_moments and FusedKernel.accepts(inputs):
        return FusedKernel(*common, data_format)
    return MomentsKernel(
        *common,
        axes=_reduced_axes(inputs, data_format),
        batch_weights=validation.batch_weights(batch_weights, inputs),
        adjustment=adjustment,
        correction=correction,
    )


def _reduced_axes(inputs: tf.Tensor, data_format: str) -> list[int]:
    channel_axis = _channel_axis(inputs, data_format)
    return [axis for axis in range(inputs.shape.ndims) if axis != channel_axis]


def _channel_axis(inputs: tf.Tensor, data_format: str) -> int:
    return 1 if data_format == "NCHW" else inputs.shape.ndims - 1


def _is_frozen(
    trainable: bool,
    updates_collections: Collections | None,
    rule: Rule,
    kernel: Kernel,
    batch_weights: TensorLike | None,
) -> bool:
    """Return whether the layer builds no update ops because it is not trainable.

    These are the calls that contrib delegates to `tf.layers`.
    """
    is_default = updates_collections is tf.GraphKeys.UPDATE_OPS and batch_weights is None
    is_fused_rank_2 = isinstance(kernel, FusedKernel) and kernel.inputs.shape.ndims == 2
    always_updates = isinstance(rule, ZeroDebiased) or is_fused_rank_2
    return not trainable and is_default and not always_updates


def _initializers(given: Mapping[str, Initializer] | None) -> dict[str, Initializer]:
    default = {
        "beta": tf.zeros_initializer(),
        "gamma": tf.ones_initializer(),
        "moving_mean": tf.zeros_initializer(),
        "moving_variance": tf.ones_initializer(),
    }
    validation.check_names("param_initializers", given or {}, tuple(default))
    return {**default, **(given or {})}


def _regularizers(given: Mapping[str, Regularizer] | None) -> Mapping[str, Regularizer]:
    validation.check_names("param_regularizers", given or {}, ("beta", "gamma"))
    return given or {}


def _collect(outputs: tf.Tensor, collections: Collections | None, alias: str) -> tf.Tensor:
    """Add the outputs to the collections; slim reads the alias as the name of an end point."""
    if collections:
        outputs.aliases = [*getattr(outputs, "aliases", []), alias]
        tf.add_to_collections(collections, outputs)
    return outputs
