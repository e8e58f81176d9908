"""The two ways to normalize: one fused kernel, or moments and elementwise ops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Union

from bnguard.layers.variables import Parameters, Statistics
import tensorflow.compat.v1 as tf


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

    @staticmethod
    def accepts(inputs: tf.Tensor) -> bool:
        """Say whether the kernel exists for this rank and type."""
        types = (tf.float16, tf.bfloat16, tf.float32)
        return inputs.shape.ndims in (2, 4) and inputs.dtype.base_dtype in types

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


@dataclass(frozen=True)
class MomentsKernel:
    """`tf.nn.moments` and `tf.nn.batch_normalization`; population variance.

    Args:
        inputs: any rank from 2, any floating type.
        parameters: of the statistics' shape and type.
        statistics: what `infer` normalizes with; their shape is [channels], or that of the
            inputs with 1 for each dimension that is reduced.
        epsilon: added to the variance.
        axes: the dimensions to reduce.
        groups: a dimension whose elements have moments of their own; the running statistics
            get the average of these.
        batch_weights: a frequency weight for each element of the batch, or None.
        adjustment: the inputs' dynamic shape -> scale and offset while training, or None.
        correction: the batch's moments -> renorm's r and d, or None.

    """

    inputs: tf.Tensor
    parameters: Parameters
    statistics: Statistics
    epsilon: float
    axes: list[int]
    groups: int | None = None
    batch_weights: Any = None
    adjustment: Callable | None = None
    correction: Callable | None = None

    name = "batchnorm"

    def train(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Normalize with the batch's moments: outputs, mean, variance."""
        mean, variance = self._moments()
        averages = [self._average_groups(moment) for moment in (mean, variance)]
        scale, offset = self._transform(*averages)
        return (self._normalize(mean, variance, scale, offset), *averages)

    def infer(self) -> tf.Tensor:
        """Normalize with the running statistics."""
        statistics = self.statistics
        return self._normalize(
            statistics.moving_mean, statistics.moving_variance, *self._gamma_and_beta()
        )

    def _moments(self) -> tuple[tf.Tensor, tf.Tensor]:
        dtype = self.statistics.moving_mean.dtype.base_dtype
        values = tf.cast(self.inputs, dtype)
        keepdims = self.statistics.moving_mean.shape.ndims > 1
        if self.batch_weights is None:
            return tf.nn.moments(values, self.axes, keepdims=keepdims)
        ones = [1] * (self.inputs.shape.ndims - 1)
        weights = tf.reshape(tf.cast(self.batch_weights, dtype), [-1, *ones])
        return tf.nn.weighted_moments(values, self.axes, weights, keepdims=keepdims)

    def _average_groups(self, moment: tf.Tensor) -> tf.Tensor:
        if self.groups is None:
            return moment
        return tf.reduce_mean(moment, self.groups, keepdims=True)

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

    def _normalize(self, mean: Any, variance: Any, scale: Any, offset: Any) -> tf.Tensor:
        return tf.nn.batch_normalization(
            self.inputs,
            self._broadcast(mean),
            self._broadcast(variance),
            offset,
            scale,
            self.epsilon,
        )

    def _broadcast(self, value: Any) -> Any:
        """Align a value per channel with the inputs."""
        last = self.inputs.shape.ndims - 1
        if value.shape.ndims > 1 or last not in self.axes:
            return value
        kept = [-1 if axis not in self.axes else 1 for axis in range(last + 1)]
        return tf.reshape(value, kept)


Kernel = Union[FusedKernel, MomentsKernel]


def _compose(scale: Any, offset: Any, then_scale: Any, then_offset: Any) -> tuple:
    """Scale and offset of one affine transform followed by another; None is the identity."""
    if then_scale is not None:
        scale, offset = scale * then_scale, offset * then_scale
    if then_offset is not None:
        offset = offset + then_offset
    return scale, offset
