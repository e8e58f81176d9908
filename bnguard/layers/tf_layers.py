"""`batch_normalization`: the layer with the signature of `tf.layers.batch_normalization`."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from bnguard.layers import validation
from bnguard.layers.forward import normalize
from bnguard.layers.kernels import FusedKernel, Kernel, MomentsKernel
from bnguard.layers.update_rules import MovingAverages, Renorm, Rule
from bnguard.layers.variables import Parameters, VariableFactory, parameter_type


def batch_normalization(
    inputs: Any,
    axis: Any = -1,
    momentum: Any = 0.99,
    epsilon: float = 1e-3,
    center: bool = True,
    scale: bool = True,
    beta_initializer: Any = tf.zeros_initializer(),  # noqa: B008, as the original's
    gamma_initializer: Any = tf.ones_initializer(),  # noqa: B008
    moving_mean_initializer: Any = tf.zeros_initializer(),  # noqa: B008
    moving_variance_initializer: Any = tf.ones_initializer(),  # noqa: B008
    beta_regularizer: Any = None,
    gamma_regularizer: Any = None,
    beta_constraint: Any = None,
    gamma_constraint: Any = None,
    training: Any = False,
    trainable: bool = True,
    name: str | None = None,
    reuse: Any = None,
    renorm: bool = False,
    renorm_clipping: Any = None,
    renorm_momentum: Any = 0.99,
    fused: bool | None = None,
    virtual_batch_size: int | None = None,
    adjustment: Any = None,
) -> tf.Tensor:
    """Batch normalization as `batch_norm`, with the names and defaults of `tf.layers`.

    ===========  ==============================  ==================  =====================
    training     ops created                     statistics read     statistics written
    ===========  ==============================  ==================  =====================
    True         moments, normalize, updates     by the updates      both, by the updates
    False        normalize                       both                none
    tensor       one `tf.cond` of the two above  while False: both   while True: both
    ===========  ==============================  ==================  =====================

    The two update ops, moving_mean's first, go to UPDATE_OPS, and whoever trains must run
    them, as `create_train_op` does; with a tensor they may also run while it is False, and
    then write the statistics back unchanged, bit for bit, as they do after an empty batch.

    The behaviour is that of `tf.compat.v1.layers.batch_normalization` but for the differences
    listed in docs/layers.md.

    Args:
      inputs: floating point, rank at least 2; only rank and channels need to be known.
      axis: the channels' dimension, or a list of several; then the variables have the
        inputs' rank, with 1 for every other dimension.
      momentum: decay of the moving averages.
      epsilon: added to the variance.
      center: whether to add `beta`.
      scale: whether to multiply by `gamma`.
      beta_initializer: of `beta`: an initializer, or "zeros" or "ones".
      gamma_initializer: of `gamma`.
      moving_mean_initializer: of `moving_mean`.
      moving_variance_initializer: of `moving_variance`.
      beta_regularizer: adds its loss to REGULARIZATION_LOSSES, or None.
      gamma_regularizer: the same.
      beta_constraint: projects `beta` after an optimizer's update, or None.
      gamma_constraint: the same.
      training: a Python bool (or 0 or 1), or a 0-D bool tensor or variable.
      trainable: whether beta and gamma are added to TRAINABLE_VARIABLES, and the update ops
        to UPDATE_OPS.
      name: the variable scope, by default a new `batch_normalization`.
      reuse: as for `tf.variable_scope`; needs `name`.
      renorm: batch renormalization; adds the variables `moving_stddev`, `renorm_mean` and
        `renorm_stddev`.
      renorm_clipping: dict with any of rmax, rmin, dmax, scalars.
      renorm_momentum: decay of `renorm_mean` and `renorm_stddev`.
      fused: None and True use the fused kernel where there is one: rank 4, channels in
        dimension 1 or 3, no renorm, virtual_batch_size or adjustment. Its moving_variance
        has Bessel's correction; that of False, and elsewhere, is of the population.
      virtual_batch_size: normalize groups of so many elements, which must divide the
        batch; the running statistics get the groups' average.
      adjustment: a function from the inputs' shape, an int tensor, to a scale and an
        offset of the normalized values, applied before gamma and beta in training only.

    Returns:
      A tensor of the shape and type of `inputs`.

    Raises:
      ValueError: an argument is not as above.
      RuntimeError: eager execution is enabled.
    """
    validation.check_graph_mode()
    mode = validation.training_mode(training, "training")
    validation.check_renorm_clipping(renorm_clipping or {})
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
            kinds=(tf.GraphKeys.GLOBAL_VARIABLES,),
            collections=None,
        )
        # The order of creation is the original's, and the reverse of contrib's.
        gamma = variables.parameter("gamma") if scale else None
        beta = variables.parameter("beta") if center else None
        averages = MovingAverages(variables.statistics(), momentum)
        common = (inputs, Parameters(beta, gamma), averages.statistics, epsilon)
        rule: Rule = averages
        if renorm:
            rule = Renorm.create(averages, variables, epsilon, renorm_clipping, renorm_momentum)
        kernel: Kernel
        only_moments = renorm or virtual_batch_size is not None or adjustment is not None
        data_format = {(4, 1): "NCHW", (4, 3): "NHWC"}.get((inputs.shape.ndims, *axes), "")
        fusible = not only_moments and data_format and FusedKernel.accepts(inputs)
        if (fused is None or fused) and fusible:
            kernel = FusedKernel(*common, data_format)
        else:
            kernel = MomentsKernel(
                *common,
                axes=[each for each in range(inputs.shape.ndims) if each not in axes],
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
        validation.channels(inputs, each) if each in axes else 1
        for each in range(inputs.shape.ndims)
    ]
    return shape if virtual_batch_size is None else [shape[0], 1, *shape[1:]]
