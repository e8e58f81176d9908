"""The two ways to normalize: one fused kernel, or moments and elementwise operations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Mapping, Optional, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from bnguard.layers.aliases import Adjustment, Correction
from bnguard.layers.variables import Parameters, Statistics

# Scale and offset of an affine transform; None stands for 1 and 0.
_Affine = Tuple[Optional[tf.Tensor], Optional[tf.Tensor]]


@dataclass(frozen=True)
class FusedKernel:
    """Normalize with `tf.nn.fused_batch_norm`, whose variance has Bessel's correction.

    Args:
      inputs: rank 4 in `data_format`, or rank 2; float16, bfloat16 or float32.
      parameters: float32 [channels].
      statistics: float32 [channels]; `infer` normalizes with them.
      epsilon: a number added to the variance.
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
        """Return whether the kernel supports the rank, the dtype and the sizes of the inputs."""
        types = (tf.float16, tf.float32, *([tf.bfloat16] if has_fused_bfloat16() else []))
        # The kernel of TensorFlow 1.15 divides by the number of channels; 0 ends the process.
        fits = inputs.shape.ndims in (2, 4) and 0 not in inputs.shape.as_list()
        return bool(fits and inputs.dtype.base_dtype in types)

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

    def tensors(self) -> dict[str, tf.Tensor]:
        """Return what the kernel computes with, by name; the statistics as they are read."""
        values = {"inputs": self.inputs, **vars(self.parameters), **vars(self.statistics)}
        return {name: tf.convert_to_tensor(v) for name, v in values.items() if v is not None}

    def on(self, tensors: Mapping[str, tf.Tensor]) -> FusedKernel:
        """Return the kernel with other tensors for those of `tensors`."""
        return replace(
            self,
            inputs=tensors["inputs"],
            parameters=Parameters(tensors.get("beta"), tensors.get("gamma")),
            statistics=Statistics(tensors["moving_mean"], tensors["moving_variance"]),
        )

    def _run(self, **options: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        beta, gamma = self.parameters.beta, self.parameters.gamma
        shape = self.statistics.moving_mean.shape
        is_image = self.inputs.shape.ndims == 4
        outputs, mean, variance = tf.nn.fused_batch_norm(
            self.inputs if is_image else tf.reshape(self.inputs, [-1, 1, 1, *shape]),
            tf.constant(1.0, shape=shape) if gamma is None else gamma,
            tf.constant(0.0, shape=shape) if beta is None else beta,
            epsilon=self.epsilon,
            # A 1x1 image is the same in both formats, and every device supports NHWC.
            data_format=self.data_format if is_image else "NHWC",
            **options,
        )
        if not is_image:
            outputs = tf.reshape(outputs, [-1, *shape], name=self.name)
        return outputs, mean, variance


def has_fused_bfloat16() -> bool:
    """Return whether this TensorFlow has the bfloat16 kernel on every CPU: 1.15 and from 2.14 on.

    Versions 2.4 and 2.8 to 2.16 were examined. 2.9 to 2.13 have only the kernel of oneDNN, which
    depends on the CPU and on TF_ENABLE_ONEDNN_OPTS.
    """
    major, minor = map(int, tf.__version__.split(".")[:2])
    return major < 2 or (major, minor) >= (2, 14)


@dataclass(frozen=True)
class MomentsKernel:
    """Normalize with `tf.nn.moments` and `tf.nn.batch_normalization`; population variance.

    Args:
      inputs: rank 2 or higher, any floating dtype.
      parameters: of the shape and dtype of the statistics.
      statistics: `infer` normalizes with them. Their shape is [channels]; or the rank of the
        inputs, plus one with `virtual_batch_size`, where every dimension but the channels' is 1.
      epsilon: a number added to the variance.
      axes: the dimensions to reduce.
      batch_weights: [batch], a frequency weight for each example, or None.
      adjustment: the inputs' dynamic shape -> scale and offset while training, or None.
      correction: the batch's moments -> r and d of batch renormalization, or None.
      virtual_batch_size: in training, each group of this many examples is normalized with its
        own moments, and the running statistics receive the average over the groups. None
        treats the batch as one group.
    """

    inputs: tf.Tensor
    parameters: Parameters
    statistics: Statistics
    epsilon: float
    axes: list[int]
    batch_weights: tf.Tensor | None = None
    adjustment: Adjustment | None = None
    correction: Correction | None = None
    virtual_batch_size: int | None = None

    name = "batchnorm"

    @property
    def train_reads_statistics(self) -> bool:
        """Return whether the outputs of `train` read running statistics, as with renorm."""
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

    def _grouped(self, batch_shape: Sequence[Any]) -> tf.Tensor:
        """Reshape the batch dimension to `batch_shape` if the batch is split into groups."""
        if self.virtual_batch_size is None:
            return self.inputs
        # The groups are the second dimension, as in `tf.layers`: a group is not contiguous.
        shape = tf.concat([batch_shape, tf.shape(self.inputs)[1:]], 0)
        grouped = tf.reshape(self.inputs, shape)
        grouped.set_shape([None, None, *self.inputs.shape[1:]])
        return grouped

    def _moments(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        dtype = self.statistics.moving_mean.dtype.base_dtype
        values = tf.cast(inputs, dtype)
        keepdims = self.statistics.moving_mean.shape.ndims > 1
        if self.batch_weights is None:
            mean, variance = tf.nn.moments(values, self._reduced(), keepdims=keepdims)
            return mean, variance
        ones = [1] * (inputs.shape.ndims - 1)
        weights = tf.reshape(tf.cast(self.batch_weights, dtype), [-1, *ones])
        mean, variance = tf.nn.weighted_moments(values, self.axes, weights, keepdims=keepdims)
        return mean, variance

    def _reduced(self) -> list[int]:
        if self.virtual_batch_size is None:
            return self.axes
        return [0, *(axis + 1 for axis in self.axes if axis != 0)]

    def _average_groups(self, moment: tf.Tensor) -> tf.Tensor:
        if self.virtual_batch_size is None:
            return moment
        return tf.reduce_mean(moment, 1, keepdims=True)

    def _transform(self, mean: tf.Tensor, variance: tf.Tensor) -> _Affine:
        """Return scale and offset of the correction, the adjustment, then gamma and beta."""
        transform = self._gamma_and_beta()
        if self.adjustment is not None:
            scale, offset = self.adjustment(tf.shape(self.inputs))
            transform = _compose(scale, offset, transform)
        if self.correction is not None:
            r, d = self.correction(mean, variance)
            transform = _compose(self._broadcast(r), self._broadcast(d), transform)
        return transform

    def _gamma_and_beta(self) -> _Affine:
        beta, gamma = self.parameters.beta, self.parameters.gamma
        return (
            None if gamma is None else self._broadcast(gamma),
            None if beta is None else self._broadcast(beta),
        )

    def _normalize(
        self,
        inputs: tf.Tensor,
        mean: tf.Tensor,
        variance: tf.Tensor,
        scale: tf.Tensor | None,
        offset: tf.Tensor | None,
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

    def _broadcast(self, value: tf.Tensor) -> tf.Tensor:
        """Reshape a value per channel so that it broadcasts over the inputs."""
        last = self.inputs.shape.ndims - 1
        if value.shape.ndims > 1 or last not in self.axes:
            return value
        return tf.reshape(value, [1 if axis in self.axes else -1 for axis in range(last + 1)])


Kernel = Union[FusedKernel, MomentsKernel]


def _compose(scale: Any, offset: Any, then: _Affine) -> _Affine:
    """Return the affine transform that applies scale and offset first, and `then` second."""
    then_scale, then_offset = then
    if then_scale is not None:
        scale, offset = scale * then_scale, offset * then_scale
    if then_offset is not None:
        offset = offset + then_offset
    return scale, offset
