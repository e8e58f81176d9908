"""What the layers accept. Each check names the argument, what it is, and what to pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf


def training_mode(given: Any, argument: str) -> bool | tf.Tensor:
    """Turn `is_training` into a Python bool if its value is known, else into a 0-D tensor.

    Args:
      given: a bool, the integer 0 or 1, or a 0-D bool tensor or variable.
      argument: what the caller knows it as.

    Raises:
      ValueError: it is something else.
    """
    if isinstance(given, (bool, np.bool_)) or _is_zero_or_one(given):
        return bool(given)
    try:
        mode = tf.convert_to_tensor(given)
    except (TypeError, ValueError):
        raise _bad_mode(given, argument, f"of type {type(given).__name__}") from None
    if mode.dtype.base_dtype != tf.bool:
        raise _bad_mode(given, argument, f"of type {mode.dtype.base_dtype.name}")
    if mode.shape.ndims not in (None, 0):
        raise _bad_mode(given, argument, f"of shape {mode.shape}")
    value = tf.get_static_value(mode)
    return mode if value is None else bool(value)


def _is_zero_or_one(given: Any) -> bool:
    return isinstance(given, (int, np.integer)) and given in (0, 1)


def _bad_mode(given: Any, argument: str, seen: str) -> ValueError:
    name = getattr(given, "name", repr(given))
    return ValueError(
        f"batch normalization: {argument} is {name}, {seen}; it must be True, False, or a bool "
        "tensor or variable of rank 0. Feed it through tf.placeholder(tf.bool, shape=[])."
    )


def check_graph_mode() -> None:
    """Accept to be called where a graph is built only."""
    if tf.executing_eagerly():
        raise RuntimeError(
            "batch normalization: eager execution is enabled, and collections and update ops "
            "are of graphs; call tf.compat.v1.disable_eager_execution() when the program "
            "starts, or build inside of `with tf.Graph().as_default():`."
        )


def check_data_format(data_format: str) -> None:
    """Accept NHWC and NCHW only."""
    if data_format not in ("NHWC", "NCHW"):
        raise ValueError(
            f"batch normalization: data_format is {data_format!r}; name the layout of the inputs: "
            "data_format has to be either NCHW or NHWC."
        )


def check_inputs(inputs: tf.Tensor) -> None:
    """Accept floating point of a known rank, at least 2."""
    if inputs.shape.ndims is None:
        raise ValueError(
            "batch normalization: give the inputs a rank with set_shape or in their "
            f"placeholder: Inputs {inputs.name} has undefined rank."
        )
    if inputs.shape.ndims < 2:
        raise ValueError(
            f"batch normalization: inputs {inputs.name} has shape {inputs.shape}; at least 2 "
            "dimensions are expected, such as [batch, channels]. Add one with tf.expand_dims."
        )
    if not inputs.dtype.is_floating:
        raise ValueError(
            f"batch normalization: inputs {inputs.name} is of type {inputs.dtype.name}; a floating "
            "type is expected. Convert it with tf.cast."
        )


def warn_of_one(inputs: tf.Tensor, channels: int) -> None:
    """Say what training comes to where each channel is known to have one value in a batch."""
    if inputs.shape.num_elements() == channels > 0:
        tf.logging.warning(
            "batch normalization: inputs %s has shape %s, one value for each channel: in training "
            "their variance is 0, no gradient reaches them, and each step takes moving_variance "
            "closer to 0. Train on larger batches, or build this layer for inference.",
            inputs.name,
            inputs.shape,
        )


def axes(axis: Any, inputs: tf.Tensor) -> list[int]:
    """Return the channels' dimensions, counted from zero."""
    rank = inputs.shape.ndims
    given = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    counted = [each + rank if each < 0 else each for each in given]
    if len(set(counted)) != len(counted) or any(not 0 <= each < rank for each in counted):
        raise ValueError(
            f"batch normalization: axis is {axis}; for inputs {inputs.name} of rank {rank}, one "
            f"or more different dimensions from {-rank} to {rank - 1} are expected."
        )
    return counted


def channels(inputs: tf.Tensor, axis: int) -> int:
    """Return the size of dimension `axis`, which must be known when the graph is built."""
    size = inputs.shape.as_list()[axis]
    if size is None:
        raise ValueError(
            "batch normalization: there is one beta, gamma, mean and variance for each channel, so "
            f"give dimension {axis} a size with set_shape: Inputs {inputs.name} of shape "
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
            f"batch normalization: batch_weights has shape {weights.shape}; one weight for each "
            f"element of the batch is expected, shape {inputs.shape[:1]}."
        )
    return weights


def initializers(given: dict) -> dict:
    """Return the initializers by variable; of the names that Keras has for some, two are known."""
    named = {"zeros": tf.zeros_initializer(), "ones": tf.ones_initializer()}
    for variable, initializer in given.items():
        if isinstance(initializer, str) and initializer.lower() not in named:
            raise ValueError(
                f"batch normalization: {variable}_initializer is {initializer!r}; of names, "
                "'zeros' and 'ones' are known. Pass an initializer, such as "
                "tf.random_normal_initializer(stddev=0.05)."
            )
    return {
        variable: named[initializer.lower()] if isinstance(initializer, str) else initializer
        for variable, initializer in given.items()
    }


def functions(kind: str, given: dict) -> dict:
    """Return regularizers or constraints by variable, each a function or None."""
    for variable, function in given.items():
        if function is not None and not callable(function):
            raise ValueError(
                f"batch normalization: {variable}_{kind} is {function!r}; a function of {variable} "
                "is expected. Names of functions, as Keras has them, mean nothing here."
            )
    return given


def check_names(argument: str, given: dict, known: tuple[str, ...]) -> None:
    """Accept no name that nothing would be done with."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(
            f"batch normalization: {argument} has {', '.join(map(repr, unknown))}, which names "
            f"nothing here; the names are {', '.join(known)}."
        )


def check_renorm_clipping(renorm_clipping: dict) -> None:
    """Accept the clip values of batch renormalization only."""
    known = ["rmax", "rmin", "dmax"]
    if set(renorm_clipping) - set(known):
        raise ValueError(
            "batch normalization: rename or drop the unknown ones: "
            f"renorm_clipping {renorm_clipping} contains keys not in {known}"
        )


def check_virtual_batch_size(size: int | None, axes: list[int], adjustment: Any) -> None:
    """Accept groups of the batch, where the batch is what is reduced."""
    if size is None:
        return
    if size <= 0:
        raise ValueError(
            f"batch normalization: virtual_batch_size is {size}; a positive divisor of the "
            "batch's size is expected."
        )
    if 0 in axes or adjustment is not None:
        raise ValueError(
            "batch normalization: virtual_batch_size cannot be combined with axis 0 or with "
            "adjustment; drop one of them."
        )
