"""The two ways to normalize: one fused kernel, or moments and elementwise ops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from bnguard.layers.variables import Parameters, Statistics
import tensorflow.compat.v1 as tf


@dataclass(frozen=True)
class FusedKernel:
    """`tf.nn.fused_batch_norm`; its batch variance has Bessel's correction.

    Args:
        inputs: rank 4 in `data_format`, or rank 2.

    """

    inputs: tf.Tensor
    parameters: Parameters
    statistics: Statistics
    epsilon: float
    data_format: str

    name = "FusedBatchNorm"

    def train(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Normalize with the batch's moments: (outputs, mean, variance)."""
        outputs, mean, variance = self._run(is_training=True)
        return self._restore_rank(outputs), mean, variance

    def infer(self) -> tf.Tensor:
        """Normalize with the running statistics."""
        outputs, _, _ = self._run(
            mean=self.statistics.moving_mean,
            variance=self.statistics.moving_variance,
            is_training=False,
        )
        return self._restore_rank(outputs)

    def _run(self, **how: object) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        images, data_format = self._images()
        like = {"shape": self.statistics.moving_mean.shape, "dtype": tf.float32}
        gamma, beta = self.parameters.gamma, self.parameters.beta
        return tf.nn.fused_batch_norm(
            images,
            tf.ones(**like) if gamma is None else gamma,
            tf.zeros(**like) if beta is None else beta,
            epsilon=self.epsilon,
            data_format=data_format,
            **how,
        )

    def _images(self) -> tuple[tf.Tensor, str]:
        if self.inputs.shape.ndims == 4:
            return self.inputs, self.data_format
        # Every kernel has NHWC; for a 1x1 image it is the same as NCHW.
        channels = self.inputs.shape.as_list()[-1]
        return tf.reshape(self.inputs, [-1, 1, 1, channels]), "NHWC"

    def _restore_rank(self, outputs: tf.Tensor) -> tf.Tensor:
        if self.inputs.shape.ndims == 4:
            return outputs
        channels = self.inputs.shape.as_list()[-1]
        return tf.reshape(outputs, [-1, channels], name=self.name)


@dataclass(frozen=True)
class MomentsKernel:
    """`tf.nn.moments` and `tf.nn.batch_normalization`; population variance.

    Args:
        channel_axis: the dimension of `inputs` that is not reduced.

    """

    inputs: tf.Tensor
    parameters: Parameters
    statistics: Statistics
    epsilon: float
    channel_axis: int

    name = "batchnorm"

    def train(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Normalize with the batch's moments: (outputs, mean, variance)."""
        values = tf.cast(self.inputs, self.statistics.moving_mean.dtype.base_dtype)
        rank = self.inputs.shape.ndims
        axes = [axis for axis in range(rank) if axis != self.channel_axis % rank]
        mean, variance = tf.nn.moments(values, axes)
        return self._normalize(mean, variance), mean, variance

    def infer(self) -> tf.Tensor:
        """Normalize with the running statistics."""
        return self._normalize(self.statistics.moving_mean, self.statistics.moving_variance)

    def _normalize(self, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        beta, gamma = self.parameters.beta, self.parameters.gamma
        return tf.nn.batch_normalization(
            self.inputs,
            self._broadcast(mean),
            self._broadcast(variance),
            None if beta is None else self._broadcast(beta),
            None if gamma is None else self._broadcast(gamma),
            self.epsilon,
        )

    def _broadcast(self, value: tf.Tensor) -> tf.Tensor:
        rank = self.inputs.shape.ndims
        if self.channel_axis % rank == rank - 1:
            return value
        shape = [1] * rank
        shape[self.channel_axis] = -1
        return tf.reshape(value, shape)


Kernel = Union[FusedKernel, MomentsKernel]
