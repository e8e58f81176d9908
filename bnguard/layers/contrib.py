"""`batch_norm`: the layer with the signature of `tf.contrib.layers.batch_norm`."""

from __future__ import annotations

from typing import Any, Callable

import tensorflow.compat.v1 as tf

from bnguard.layers import validation
from bnguard.layers.forward import normalize
from bnguard.layers.kernels import FusedKernel, Kernel, MomentsKernel
from bnguard.layers.update_rules import MovingAverages, Renorm, Rule, ZeroDebiased
from bnguard.layers.variables import Parameters, Statistics, VariableFactory, parameter_type


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
    fused: bool | None = None,
    data_format: str = "NHWC",
    zero_debias_moving_mean: bool = False,
    scope: Any = None,
    renorm: bool = False,
    renorm_clipping: Any = None,
    renorm_decay: Any = 0.99,
    adjustment: Any = None,
) -> tf.Tensor:
    """Batch normalization (Ioffe and Szegedy, arXiv:1502.03167) with running statistics.

    ===========  ==============================  ==================  =====================
    is_training  ops created                     statistics read     statistics written
    ===========  ==============================  ==================  =====================
    True         moments, normalize, updates     by the updates      both, by the updates
    False        normalize                       both                none
    tensor       one `tf.cond` of the two above  while False: both   while True: both
    ===========  ==============================  ==================  =====================

    With `updates_collections=None` the outputs wait for the updates. Otherwise the two
    update ops, moving_mean's first, go to these collections, and whoever trains must run
    them, as `create_train_op` does; with a tensor they may also run while it is False, and
    then write the statistics back unchanged, bit for bit, as they do after an empty batch.
    Within a step, every read of a statistic in this call is ordered with its update; another
    call that reuses the variables is not.

    The behaviour is that of TensorFlow 1.15's layer but for the differences listed in
    docs/layers.md.

    Args:
      inputs: floating point, rank at least 2, [batch, ..., channels] or, for `NCHW`,
        [batch, channels, ...]; only rank and channels need to be known.
      decay: of the moving averages, a number or a scalar tensor.
      center: whether to add `beta`.
      scale: whether to multiply by `gamma`.
      epsilon: added to the variance.
      activation_fn: applied to the outputs, or None.
      param_initializers: dict with any of beta, gamma, moving_mean, moving_variance.
      param_regularizers: dict with any of beta, gamma; adds to REGULARIZATION_LOSSES.
      updates_collections: the name or names of collections, or None.
      is_training: a Python bool (or 0 or 1), or a 0-D bool tensor or variable.
      reuse: as for `tf.variable_scope`; needs `scope`.
      variables_collections: more collections for the variables: a list for all of them,
        or a dict of lists by variable name.
      outputs_collections: the name or names of collections for the outputs, which then
        have the scope's name in their `aliases`.
      trainable: whether beta and gamma are added to TRAINABLE_VARIABLES. With False and the
        default updates_collections there are no update ops either, unless with
        batch_weights, with zero_debias_moving_mean, or where fused for rank 2.
      batch_weights: [batch], a frequency weight for each element in the moments.
      fused: None and True use the fused kernel where there is one: rank 2 or 4, at most 32
        bits, no batch_weights, renorm or adjustment. Its moving_variance has Bessel's
        correction; that of False, and elsewhere, is of the population.
      data_format: `NHWC` or `NCHW`, for any rank.
      zero_debias_moving_mean: divide the moving mean by 1 - decay ** updates; adds the
        variables `biased` and `local_step`.
      scope: a name or scope for `tf.variable_scope`; by default a new `BatchNorm`.
      renorm: batch renormalization; adds the variables `moving_stddev`, `renorm_mean` and
        `renorm_stddev`.
      renorm_clipping: dict with any of rmax, rmin, dmax, scalars.
      renorm_decay: of `renorm_mean` and `renorm_stddev`.
      adjustment: a function from the inputs' shape, an int tensor, to a scale and an
        offset of the normalized values, applied before gamma and beta in training only.

    Returns:
      A tensor of the shape and type of `inputs`.

    Raises:
      ValueError: an argument is not as above, or `renorm` is combined with batch_weights,
        with zero_debias_moving_mean or with other updates_collections than UPDATE_OPS.
      RuntimeError: eager execution is enabled.
    """
    validation.check_graph_mode()
    validation.check_data_format(data_format)
    _check_renorm(renorm, batch_weights, updates_collections, zero_debias_moving_mean)
    validation.check_renorm_clipping(renorm_clipping or {})
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
            kinds=(tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES),
            collections=variables_collections,
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
    renorm: bool, batch_weights: Any, updates_collections: Any, zero_debias: bool
) -> None:
    # By identity, as contrib: an equal string that is another object is another collection.
    elsewhere = updates_collections is not tf.GraphKeys.UPDATE_OPS
    if renorm and (batch_weights is not None or elsewhere or zero_debias):
        raise ValueError(
            "batch normalization: leave these at their defaults, or renorm at False; of "
            "updates_collections that is the object tf.GraphKeys.UPDATE_OPS: renorm is not "
            "supported with batch_weights, updates_collections or zero_debias_moving_mean"
        )


def _kernel(
    common: tuple[tf.Tensor, Parameters, Statistics, float],
    data_format: str,
    rule: Rule,
    fused: bool | None,
    batch_weights: Any,
    adjustment: Callable | None,
) -> Kernel:
    """Choose how to normalize; `common` is what both kernels take, the inputs first."""
    inputs = common[0]
    correction = rule.correction if isinstance(rule, Renorm) else None
    only_moments = [each for each in (batch_weights, adjustment, correction) if each is not None]
    if (fused is None or fused) and not only_moments and FusedKernel.accepts(inputs):
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
    trainable: bool, updates_collections: Any, rule: Rule, kernel: Kernel, batch_weights: Any
) -> bool:
    """Say whether contrib leaves such a call to `tf.layers`: it updates only what it trains."""
    is_default = updates_collections is tf.GraphKeys.UPDATE_OPS and batch_weights is None
    is_fused_rank_2 = isinstance(kernel, FusedKernel) and kernel.inputs.shape.ndims == 2
    elsewhere = isinstance(rule, ZeroDebiased) or is_fused_rank_2
    return not trainable and is_default and not elsewhere


def _initializers(given: dict | None) -> dict:
    default = {
        "beta": tf.zeros_initializer(),
        "gamma": tf.ones_initializer(),
        "moving_mean": tf.zeros_initializer(),
        "moving_variance": tf.ones_initializer(),
    }
    validation.check_names("param_initializers", given or {}, tuple(default))
    return {**default, **(given or {})}


def _regularizers(given: dict | None) -> dict:
    validation.check_names("param_regularizers", given or {}, ("beta", "gamma"))
    return given or {}


def _collect(outputs: tf.Tensor, collections: Any, alias: str) -> tf.Tensor:
    """Add the outputs to the collections under the scope's name, as slim's end points."""
    if collections:
        outputs.aliases = [*getattr(outputs, "aliases", []), alias]
        tf.add_to_collections(collections, outputs)
    return outputs
