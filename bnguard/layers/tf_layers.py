"""`batch_normalization`: the layer with the signature of `tf.layers.batch_normalization`."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from bnguard.layers import validation
from bnguard.layers.aliases import (
    Adjustment,
    Constraint,
    Initializer,
    Mode,
    Regularizer,
    RenormClipping,
    Reuse,
    Scalar,
    TensorLike,
)
from bnguard.layers.forward import normalize
from bnguard.layers.kernels import FusedKernel, Kernel, MomentsKernel
from bnguard.layers.update_rules import MovingAverages, Renorm, Rule
from bnguard.layers.variables import Parameters, VariableFactory, parameter_type


def batch_normalization(
    inputs: TensorLike,
    axis: int | list[int] = -1,
    momentum: Scalar = 0.99,
    epsilon: float = 1e-3,
    center: bool = True,
    scale: bool = True,
    beta_initializer: str | Initializer = tf.zeros_initializer(),  # noqa: B008 - as in tf.layers
    gamma_initializer: str | Initializer = tf.ones_initializer(),  # noqa: B008
    moving_mean_initializer: str | Initializer = tf.zeros_initializer(),  # noqa: B008
    moving_variance_initializer: str | Initializer = tf.ones_initializer(),  # noqa: B008
    beta_regularizer: Regularizer | None = None,
    gamma_regularizer: Regularizer | None = None,
    beta_constraint: Constraint | None = None,
    gamma_constraint: Constraint | None = None,
    training: Mode = False,
    trainable: bool = True,
    name: str | None = None,
    reuse: Reuse | None = None,
    renorm: bool = False,
    renorm_clipping: RenormClipping | None = None,
    renorm_momentum: Scalar = 0.99,
    fused: bool | None = None,
    virtual_batch_size: int | None = None,
    adjustment: Adjustment | None = None,
) -> tf.Tensor:
    """Normalize a batch as `batch_norm` does, with the arguments of `tf.layers`.

    The layer behaves as `tf.compat.v1.layers.batch_normalization`, except for the differences
    that docs/layers.md lists. In training, it normalizes with the mean and variance of the
    batch, and update ops move `moving_mean` and `moving_variance` toward them. In inference,
    it normalizes with `moving_mean` and `moving_variance`.

    `training` decides what the call builds:

    * True: the outputs are normalized with the batch's moments and read no statistic. Two
      update ops, moving_mean's first, are added to UPDATE_OPS. They read and write both
      statistics when they run. The program must run them in each training step, as the train
      op of `create_train_op` does.
    * False: the outputs are normalized with the statistics. Computing them reads both and
      writes none. There are no update ops.
    * tensor: its value selects training or inference in each step, and two update ops outside
      both branches are added to UPDATE_OPS. While False, the outputs read both statistics, and
      the update ops write the values that are already there, bit for bit.

    With `trainable=False`, there are no update ops. A constant tensor counts as its value. An
    empty batch leaves both statistics bit for bit unchanged. Within a step, each read of a
    statistic by this call is ordered with its update; a second call that reuses the variables
    is not ordered with this one.

    The variables are `gamma` and `beta` as requested, `moving_mean` and `moving_variance`, of
    shape [channels], float64 for float64 inputs and float32 otherwise.

    Args:
      inputs: floating point, rank at least 2. Only the rank and the number of channels must
        be known.
      axis: the dimension of the channels, or a list of several dimensions; with several, the
        variables have the rank of the inputs, and 1 for every other dimension.
      momentum: the decay of the moving averages, a number from 0 to 1 or a scalar tensor.
      epsilon: a number of at least 0, added to the variance.
      center: whether to add `beta`.
      scale: whether to multiply by `gamma`.
      beta_initializer: an initializer, or "zeros" or "ones".
      gamma_initializer: the same for `gamma`.
      moving_mean_initializer: the same for `moving_mean`.
      moving_variance_initializer: the same for `moving_variance`.
      beta_regularizer: a function from `beta` to a loss, which is added to
        REGULARIZATION_LOSSES, or None.
      gamma_regularizer: the same for `gamma`.
      beta_constraint: a function that projects `beta` after an optimizer's update, or None.
      gamma_constraint: the same for `gamma`.
      training: a Python bool (or 0 or 1), or a 0-D bool tensor or variable.
      trainable: whether beta and gamma are added to TRAINABLE_VARIABLES, and update ops are
        built.
      name: the name of the variable scope; by default a new `batch_normalization`.
      reuse: as for `tf.variable_scope`; needs `name`.
      renorm: use batch renormalization (Ioffe, arXiv:1702.03275); adds the variables
        `moving_stddev`, `renorm_mean` and `renorm_stddev`. In training, the outputs read the
        last two.
      renorm_clipping: dict with any of rmax, rmin, dmax, scalars.
      renorm_momentum: the decay of `renorm_mean` and `renorm_stddev`.
      fused: None and True use the fused kernel where one exists: rank 4, channels in
        dimension 1 or 3, at most 32 bits, no renorm, virtual_batch_size or adjustment. The
        fused kernel puts the variance with Bessel's correction into moving_variance; False,
        and all other cases, the population variance.
      virtual_batch_size: normalize groups of this many examples, a divisor of the batch's
        size, with their own moments; the running statistics receive the groups' average. The
        variables then have one dimension more than the inputs, and 1 for every dimension that
        is not of the channels.
      adjustment: a function from the inputs' shape, an int tensor, to a scale and an
        offset for the normalized values, applied before gamma and beta in training only.

    Returns:
      A tensor of the shape and dtype of `inputs`.

    Raises:
      LayerError: an argument is not as described. It is a ValueError.
      RuntimeError: eager execution is enabled.
    """
    validation.check_graph_mode()
    mode = validation.training_mode(training, "training")
    validation.check_renorm_clipping(renorm_clipping or {})
    validation.check_decay(momentum, "momentum")
    validation.check_decay(renorm_momentum, "renorm_momentum")
    validation.check_epsilon(epsilon)
    with tf.variable_scope(name, "batch_normalization", [inputs], reuse=reuse):
        inputs = tf.convert_to_tensor(inputs)
        validation.check_inputs(inputs)
        axes = validation.axes(axis, inputs)
        validation.check_virtual_batch_size(virtual_batch_size, axes, adjustment)
        variables = VariableFactory(
            shape=_variable_shape(inputs, axes, virtual_batch_size),
            dtype=parameter_type(inputs),
            trainable=trainable,
            initializers=validation.initializers(
                {
                    "beta": beta_initializer,
                    "gamma": gamma_initializer,
                    "moving_mean": moving_mean_initializer,
                    "moving_variance": moving_variance_initializer,
                }
            ),
            regularizers=validation.functions(
                "regularizer", {"beta": beta_regularizer, "gamma": gamma_regularizer}
            ),
            constraints=validation.functions(
                "constraint", {"beta": beta_constraint, "gamma": gamma_constraint}
            ),
            common_collections=(tf.GraphKeys.GLOBAL_VARIABLES,),
            extra_collections=None,
        )
        # tf.layers creates gamma first, contrib creates beta first.
        gamma = variables.parameter("gamma") if scale else None
        beta = variables.parameter("beta") if center else None
        averages = MovingAverages(variables.statistics(), momentum)
        common = (inputs, Parameters(beta, gamma), averages.statistics, epsilon)
        rule: Rule = averages
        if renorm:
            rule = Renorm.create(averages, variables, epsilon, renorm_clipping, renorm_momentum)
        kernel: Kernel
        needs_moments = renorm or virtual_batch_size is not None or adjustment is not None
        data_format = {(4, 1): "NCHW", (4, 3): "NHWC"}.get((inputs.shape.ndims, *axes), "")
        fusible = not needs_moments and data_format and FusedKernel.accepts(inputs)
        if (fused is None or fused) and fusible:
            kernel = FusedKernel(*common, data_format)
        else:
            kernel = MomentsKernel(
                *common,
                axes=[reduced for reduced in range(inputs.shape.ndims) if reduced not in axes],
                adjustment=adjustment,
                correction=rule.correction if isinstance(rule, Renorm) else None,
                virtual_batch_size=virtual_batch_size,
            )
        outputs = normalize(kernel, rule, mode, tf.GraphKeys.UPDATE_OPS if trainable else ())
        outputs.set_shape(inputs.shape)
        return outputs


def _variable_shape(
    inputs: tf.Tensor, axes: list[int], virtual_batch_size: int | None
) -> list[int]:
    if len(axes) == 1 and virtual_batch_size is None:
        return [validation.channels(inputs, axes[0])]
    shape = [
        validation.channels(inputs, dimension) if dimension in axes else 1
        for dimension in range(inputs.shape.ndims)
    ]
    return shape if virtual_batch_size is None else [shape[0], 1, *shape[1:]]
