"""The two ways to normalize: one fused kernel, or moments and elementwise ops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Union

import tensorflow.compat.v1 as tf

from bnguard.layers.variables import Parameters, Statistics


@dataclass(frozen=True)
class FusedKernel:
    """`tf.nn.fused_batch_norm`; the variance that it reports has Bessel's correction.

    Args:
      inputs: rank 4 in `data_format`, or rank 2; float16, bfloat16 or float32.
      parameters: float32, as are the statistics.
      statistics: what `infer` normalizes with.
      epsilon: added to the variance.
      data_format: `NHWC` or `NCHW`.
    """

    inputs: tf.Tensor
    parameters: Parameters
    statistics: Statistics
    epsilon: float
    data_format: str

    name = "FusedBatchNorm"
    train_reads_statistics = False

    @staticmethod
    def accepts(inputs: tf.Tensor) -> bool:
        """Say whether the kernel exists for this rank and type, and can do these sizes."""
        types = (tf.float16, tf.float32, *([tf.bfloat16] if has_fused_bfloat16() else []))
        # TensorFlow 1.15's divides by the number of channels, and 0 kills the process.
        fits = inputs.shape.ndims in (2, 4) and 0 not in inputs.shape.as_list()
        return fits and inputs.dtype.base_dtype in types

    def train(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Normalize with the batch's moments: outputs, mean, variance."""
        return self._run(is_training=True)

    def infer(self) -> tf.Tensor:
        """Normalize with the running statistics."""
        outputs, _, _ = self._run(
            mean=self.statistics.moving_mean,
            variance=self.statistics.moving_variance,
            is_training=False,
        )
        return outputs

    def _run(self, **how: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        beta, gamma = self.parameters.beta, self.parameters.gamma
        shape = self.statistics.moving_mean.shape
        is_image = self.inputs.shape.ndims == 4
        outputs, mean, variance = tf.nn.fused_batch_norm(
            self.inputs if is_image else tf.reshape(self.inputs, [-1, 1, 1, *shape]),
            tf.constant(1.0, shape=shape) if gamma is None else gamma,
            tf.constant(0.0, shape=shape) if beta is None else beta,
            epsilon=self.epsilon,
            # A 1x1 image is the same in both formats, and every device has NHWC.
            data_format=self.data_format if is_image else "NHWC",
            **how,
        )
        if not is_image:
            outputs = tf.reshape(outputs, [-1, *shape], name=self.name)
        return outputs, mean, variance


def has_fused_bfloat16() -> bool:
    """Whether any CPU has the kernel: in 1.15 and from 2.14 on.

    It was looked for in 2.4 and in every minor version from 2.8 to 2.16. 2.9 to 2.13 have only
    oneDNN's, which depends on the CPU and on TF_ENABLE_ONEDNN_OPTS.
    """
    major, minor = map(int, tf.__version__.split(".")[:2])
    return major < 2 or (major, minor) >= (2, 14)


@dataclass(frozen=True)
class MomentsKernel:
    """`tf.nn.moments` and `tf.nn.batch_normalization`; population variance.

    Args:
      inputs: any rank from 2, any floating type.
      parameters: of the statistics' shape and type.
      statistics: what `infer` normalizes with; their shape is [channels] or has the inputs'
        rank, or one more with `virtual_batch_size`, with 1 for what is not a channel.
      epsilon: added to the variance.
      axes: the dimensions to reduce.
      batch_weights: a frequency weight for each element of the batch, or None.
      adjustment: the inputs' dynamic shape -> scale and offset while training, or None.
      correction: the batch's moments -> renorm's r and d, or None.
      virtual_batch_size: the size of groups that have moments of their own while training;
        the running statistics get the average of these.
    """

    inputs: tf.Tensor
    parameters: Parameters
    statistics: Statistics
    epsilon: float
    axes: list[int]
    batch_weights: tf.Tensor | None = None
    adjustment: Callable | None = None
    correction: Callable | None = None
    virtual_batch_size: int | None = None

    name = "batchnorm"

    @property
    def train_reads_statistics(self) -> bool:
        """Whether the outputs of `train` depend on running statistics: renorm's do."""
        return self.correction is not None

    def train(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Normalize with the batch's moments: outputs, mean, variance."""
        inputs = self._grouped([self.virtual_batch_size, -1])
        mean, variance = self._moments(inputs)
        averages = self._average_groups(mean), self._average_groups(variance)
        outputs = self._normalize(inputs, mean, variance, *self._transform(*averages))
        return (outputs, *averages)

    def infer(self) -> tf.Tensor:
        """Normalize with the running statistics."""
        mean, variance = self.statistics.moving_mean, self.statistics.moving_variance
        return self._normalize(self._grouped([-1, 1]), mean, variance, *self._gamma_and_beta())

    def _grouped(self, batch_shape: list) -> tf.Tensor:
        """Give the inputs the dimensions `batch_shape` for the batch, if it has groups."""
        if self.virtual_batch_size is None:
            return self.inputs
        # The group is the second dimension, as in `tf.layers`: its elements lie apart.
        shape = tf.concat([batch_shape, tf.shape(self.inputs)[1:]], 0)
        grouped = tf.reshape(self.inputs, shape)
        grouped.set_shape([None, None, *self.inputs.shape[1:]])
        return grouped

    def _moments(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        dtype = self.statistics.moving_mean.dtype.base_dtype
        values = tf.cast(inputs, dtype)
        keepdims = self.statistics.moving_mean.shape.ndims > 1
        if self.batch_weights is None:
            return tf.nn.moments(values, self._reduced(), keepdims=keepdims)
        ones = [1] * (inputs.shape.ndims - 1)
        weights = tf.reshape(tf.cast(self.batch_weights, dtype), [-1, *ones])
        return tf.nn.weighted_moments(values, self.axes, weights, keepdims=keepdims)

    def _reduced(self) -> list[int]:
        if self.virtual_batch_size is None:
            return self.axes
        return [0, *(axis + 1 for axis in self.axes if axis != 0)]

    def _average_groups(self, moment: tf.Tensor) -> tf.Tensor:
        if self.virtual_batch_size is None:
            return moment
        return tf.reduce_mean(moment, 1, keepdims=True)

    def _transform(self, mean: tf.Tensor, variance: tf.Tensor) -> tuple:
        """Scale and offset of: correct, then adjust, then gamma and beta."""
        scale, offset = self._gamma_and_beta()
        if self.adjustment is not None:
            then = (scale, offset)
            scale, offset = self.adjustment(tf.shape(self.inputs))
            scale, offset = _compose(scale, offset, *then)
        if self.correction is not None:
            r, d = self.correction(mean, variance)
            scale, offset = _compose(self._broadcast(r), self._broadcast(d), scale, offset)
        return scale, offset

    def _gamma_and_beta(self) -> tuple:
        beta, gamma = self.parameters.beta, self.parameters.gamma
        return (
            None if gamma is None else self._broadcast(gamma),
            None if beta is None else self._broadcast(beta),
        )

    def _normalize(
        self, inputs: tf.Tensor, mean: Any, variance: Any, scale: Any, offset: Any
    ) -> tf.Tensor:
        outputs = tf.nn.batch_normalization(
            inputs,
            self._broadcast(mean),
            self._broadcast(variance),
            offset,
            scale,
            self.epsilon,
        )
        if self.virtual_batch_size is None:
            return outputs
        return tf.reshape(outputs, tf.shape(self.inputs), name=self.name)

    def _broadcast(self, value: Any) -> Any:
        """Align a value per channel with the inputs."""
        last = self.inputs.shape.ndims - 1
        if value.shape.ndims > 1 or last not in self.axes:
            return value
        return tf.reshape(value, [1 if axis in self.axes else -1 for axis in range(last + 1)])


Kernel = Union[FusedKernel, MomentsKernel]


def _compose(scale: Any, offset: Any, then_scale: Any, then_offset: Any) -> tuple:
    """Scale and offset of one affine transform followed by another; None is the identity."""
    if then_scale is not None:
        scale, offset = scale * then_scale, offset * then_scale
    if then_offset is not None:
        offset = offset + then_offset
    return scale, offset
