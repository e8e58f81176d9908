"""What the layers accept. Each check names the argument, what it is, and what to pass."""

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


def check_inputs(inputs: tf.Tensor) -> None:
    """Accept floating point of a known rank, at least 2."""
    if inputs.shape.ndims is None:
        raise ValueError(
            "batch_norm: give the inputs a rank with set_shape or in their placeholder: "
            f"Inputs {inputs.name} has undefined rank."
        )
    if inputs.shape.ndims < 2:
        raise ValueError(
            f"batch_norm: inputs {inputs.name} has shape {inputs.shape}; at least 2 dimensions "
            "are expected, such as [batch, channels]. Add one with tf.expand_dims."
        )
    if not inputs.dtype.is_floating:
        raise ValueError(
            f"batch_norm: inputs {inputs.name} is of type {inputs.dtype.name}; a floating type "
            "is expected. Convert it with tf.cast."
        )


def channels(inputs: tf.Tensor, axis: int) -> int:
    """Return the size of dimension `axis`, which must be known when the graph is built."""
    size = inputs.shape.as_list()[axis]
    if size is None:
        raise ValueError(
            "batch_norm: there is one beta, gamma, mean and variance for each channel, so give "
            f"dimension {axis} a size with set_shape: Inputs {inputs.name} of shape "
            f"{inputs.shape} has undefined channels dimension."
        )
    return size


def batch_weights(given: Any, inputs: tf.Tensor) -> tf.Tensor | None:
    """Return the weights as a tensor, which must have one for each element of the batch."""
    if given is None:
        return None
    weights = tf.convert_to_tensor(given)
    if not weights.shape.is_compatible_with(inputs.shape[:1]):
        raise ValueError(
            f"batch_norm: batch_weights has shape {weights.shape}; one weight for each element "
            f"of the batch is expected, shape {inputs.shape[:1]}."
        )
    return weights


def check_names(argument: str, given: dict, known: tuple[str, ...]) -> None:
    """Accept no name that nothing would be done with."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(
            f"batch_norm: {argument} has {', '.join(map(repr, unknown))}, which names nothing "
            f"here; the names are {', '.join(known)}."
        )


def check_renorm_clipping(renorm_clipping: dict) -> None:
    """Accept the clip values of batch renormalization only."""
    known = ["rmax", "rmin", "dmax"]
    if set(renorm_clipping) - set(known):
        raise ValueError(
            "batch_norm: rename or drop the unknown ones: "
            f"renorm_clipping {renorm_clipping} contains keys not in {known}"
        )
