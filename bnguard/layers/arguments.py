"""What the layers accept: every check is made here, before an op is created."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf


def training_mode(is_training: Any) -> bool | tf.Tensor:
    """Turn `is_training` into a Python bool if its value is known, else into a 0-D tensor.

    Raises:
        ValueError: it is neither a bool nor a 0-D bool tensor or variable.

    """
    if isinstance(is_training, (bool, np.bool_)):
        return bool(is_training)
    try:
        mode = tf.convert_to_tensor(is_training)
    except (TypeError, ValueError):
        raise _bad_mode(is_training, f"of type {type(is_training).__name__}") from None
    if mode.dtype.base_dtype != tf.bool:
        raise _bad_mode(is_training, f"of type {mode.dtype.base_dtype.name}")
    if mode.shape.ndims not in (None, 0):
        raise _bad_mode(is_training, f"of shape {mode.shape}")
    value = tf.get_static_value(mode)
    return mode if value is None else bool(value)


def _bad_mode(is_training: Any, seen: str) -> ValueError:
    name = getattr(is_training, "name", repr(is_training))
    return ValueError(
        f"batch_norm: is_training is {name}, {seen}; it must be True, False, or a bool tensor "
        "or variable of rank 0. Feed it through tf.placeholder(tf.bool, shape=[])."
    )


def check_data_format(data_format: str) -> None:
    """Accept NHWC and NCHW only."""
    if data_format not in ("NHWC", "NCHW"):
        raise ValueError(
            f"batch_norm: data_format is {data_format!r}; name the layout of the inputs: "
            "data_format has to be either NCHW or NHWC."
        )


def check_inputs(inputs: tf.Tensor, channel_axis: int) -> None:
    """Accept inputs whose rank and number of channels are known when the graph is built."""
    rank = inputs.shape.ndims
    if rank is None:
        raise ValueError(
            "batch_norm: give the inputs a rank with set_shape or in their placeholder: "
            f"Inputs {inputs.name} has undefined rank."
        )
    if rank < 2:
        raise ValueError(
            f"batch_norm: inputs {inputs.name} has shape {inputs.shape}, rank {rank}; at least "
            "2 dimensions are expected, [batch, ..., channels]. Add one with tf.expand_dims."
        )
    if inputs.shape[channel_axis : channel_axis + 1 or None].num_elements() is None:
        raise ValueError(
            "batch_norm: there is one beta, gamma, mean and variance for each channel, so give "
            f"dimension {channel_axis} a size with set_shape: Inputs {inputs.name} of shape "
            f"{inputs.shape} has undefined channels dimension."
        )
