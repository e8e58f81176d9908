"""Check the arguments of the layers.

Each error names the argument, the value that was passed, what is expected, and what to do.
"""

from __future__ import annotations

import sys
from typing import Any, Callable, Mapping, Optional, TypeVar

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.layers.aliases import (
    Adjustment,
    Initializer,
    Mode,
    RenormClipping,
    Scalar,
    TensorLike,
)
from bnguard.layers.errors import LayerError

_Function = TypeVar("_Function", bound=Optional[Callable[..., Any]])


def training_mode(given: Mode, argument: str) -> bool | tf.Tensor:
    """Return the mode as a bool if its value is known, else as a 0-D bool tensor.

    Args:
      given: a bool, the integer 0 or 1, or a 0-D bool tensor or variable.
      argument: the name of the argument, for the error.

    Raises:
      LayerError: `given` is anything else.
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


def _is_zero_or_one(given: Mode) -> bool:
    return isinstance(given, (int, np.integer)) and given in (0, 1)


def _bad_mode(given: Mode, argument: str, seen: str) -> LayerError:
    name = getattr(given, "name", repr(given))
    return LayerError(
        f"batch normalization: {argument} is {name}, {seen}; it must be True, False, or a bool "
        "tensor or variable of rank 0. To switch the mode at run time, pass "
        "tf.placeholder(tf.bool, shape=[])."
    )


def check_graph_mode() -> None:
    """Raise RuntimeError unless the layer is called in graph mode."""
    if tf.executing_eagerly():
        raise RuntimeError(
            "batch normalization: eager execution is enabled, but the layers need graph mode, "
            "where collections and update ops exist; call "
            "tf.compat.v1.disable_eager_execution() when the program starts, or build the layer "
            "inside `with tf.Graph().as_default():`."
        )


def check_data_format(data_format: str) -> None:
    """Raise LayerError unless the format is NHWC or NCHW."""
    if data_format not in ("NHWC", "NCHW"):
        raise LayerError(
            f"batch normalization: data_format is {data_format!r}, but "
            "data_format has to be either NCHW or NHWC. Pass the layout of the inputs."
        )


def check_decay(given: Scalar, argument: str) -> None:
    """Raise LayerError if the decay of a moving average is known and is not from 0 to 1."""
    if not _is_between(given, 0, 1):
        raise LayerError(
            f"batch normalization: {argument} is {_shown(given)}; a number from 0 to 1 is "
            "expected, the share of its value that a running statistic keeps in an update. Pass a "
            "number such as 0.99."
        )


def check_epsilon(given: Scalar) -> None:
    """Raise LayerError if epsilon is known and is negative or not finite."""
    if not _is_between(given, 0, sys.float_info.max):
        raise LayerError(
            f"batch normalization: epsilon is {_shown(given)}; a finite number of at least 0 is "
            "expected, which is added to a variance. Pass a number such as 0.001."
        )


def _is_between(given: Scalar, smallest: float, largest: float) -> bool:
    """Return whether a number is in the interval, or is not known before the graph runs."""
    value = tf.get_static_value(given) if isinstance(given, tf.Tensor) else given
    is_number = isinstance(value, (int, float, np.generic, np.ndarray))
    return not is_number or bool(np.all(np.less_equal([smallest], value) & (value <= largest)))


def _shown(given: Scalar) -> str:
    if isinstance(given, tf.Tensor):
        return f"{given.name}, which is {tf.get_static_value(given)}"
    return str(given)


def check_inputs(inputs: tf.Tensor) -> None:
    """Raise LayerError unless the inputs are floating point, of a known rank of at least 2."""
    if inputs.shape.ndims is None:
        raise LayerError(
            f"batch normalization: Inputs {inputs.name} has undefined rank; a known rank of at "
            "least 2 is expected. Set it with set_shape, or in the placeholder."
        )
    if inputs.shape.ndims < 2:
        raise LayerError(
            f"batch normalization: inputs {inputs.name} has shape {inputs.shape}; at least 2 "
            "dimensions are expected, such as [batch, channels]. Add one with tf.expand_dims."
        )
    if not inputs.dtype.is_floating:
        raise LayerError(
            f"batch normalization: inputs {inputs.name} is of type {inputs.dtype.name}; a floating "
            "point type is expected. Convert the inputs with tf.cast."
        )


def warn_of_single_values(inputs: tf.Tensor, channels: int) -> None:
    """Log a warning if the static shape has a single value for each channel."""
    if inputs.shape.num_elements() == channels > 0:
        tf.logging.warning(
            "batch normalization: inputs %s has shape %s, a single value for each channel: in "
            "training, the batch's variance is 0, the inputs receive no gradient, and each step "
            "moves moving_variance closer to 0. Train on larger batches, or build this layer for "
            "inference.",
            inputs.name,
            inputs.shape,
        )


def axes(axis: int | list[int], inputs: tf.Tensor) -> list[int]:
    """Return the dimensions of the channels, counted from zero.

    Raises:
      LayerError: a dimension does not exist, or is repeated.
    """
    rank = inputs.shape.ndims
    given = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    counted = [dimension + rank if dimension < 0 else dimension for dimension in given]
    is_repeated = len(set(counted)) != len(counted)
    if is_repeated or any(not 0 <= dimension < rank for dimension in counted):
        raise LayerError(
            f"batch normalization: axis is {axis}; for inputs {inputs.name} of rank {rank}, one "
            f"or more different dimensions from {-rank} to {rank - 1} are expected."
        )
    return counted


def channels(inputs: tf.Tensor, axis: int) -> int:
    """Return the static size of the dimension `axis`.

    Raises:
      LayerError: the size is not known when the graph is built.
    """
    size: int | None = inputs.shape.as_list()[axis]
    if size is None:
        raise LayerError(
            f"batch normalization: Inputs {inputs.name} of shape {inputs.shape} has undefined "
            f"channels dimension; a known size of dimension {axis} is expected, because each "
            "channel has its own beta, gamma, mean and variance. Set it with set_shape."
        )
    return size


def batch_weights(given: TensorLike | None, inputs: tf.Tensor) -> tf.Tensor | None:
    """Return the weights as a tensor of shape [batch], or None.

    Raises:
      LayerError: there is not one weight for each example of the batch.
    """
    if given is None:
        return None
    weights = tf.convert_to_tensor(given)
    if not weights.shape.is_compatible_with(inputs.shape[:1]):
        raise LayerError(
            f"batch normalization: batch_weights has shape {weights.shape}; one weight for each "
            f"example of the batch is expected, shape {inputs.shape[:1]}."
        )
    return weights


def initializers(given: Mapping[str, str | Initializer]) -> dict[str, Initializer]:
    """Return the initializers by variable; the names "zeros" and "ones" are resolved.

    Raises:
      LayerError: any other name; Keras, which knows more, is not used.
    """
    named = {"zeros": tf.zeros_initializer(), "ones": tf.ones_initializer()}
    for variable, initializer in given.items():
        if isinstance(initializer, str) and initializer.lower() not in named:
            raise LayerError(
                f"batch normalization: {variable}_initializer is {initializer!r}; the names "
                "'zeros' and 'ones' are known. Pass an initializer, such as "
                "tf.random_normal_initializer(stddev=0.05)."
            )
    return {
        variable: named[initializer.lower()] if isinstance(initializer, str) else initializer
        for variable, initializer in given.items()
    }


def functions(role: str, given: Mapping[str, _Function]) -> Mapping[str, _Function]:
    """Return the regularizers or constraints by variable.

    Args:
      role: "regularizer" or "constraint", for the error.
      given: variable name -> function or None.

    Raises:
      LayerError: a value is neither a function nor None.
    """
    for variable, function in given.items():
        if function is not None and not callable(function):
            raise LayerError(
                f"batch normalization: {variable}_{role} is {function!r}; a function of {variable} "
                "is expected. Keras's names of functions are not supported."
            )
    return given


def check_names(argument: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise LayerError if `given` has a key that is not known."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise LayerError(
            f"batch normalization: {argument} has {', '.join(map(repr, unknown))}, which is no "
            f"variable of the layer; the names are {', '.join(known)}."
        )


def check_renorm_clipping(renorm_clipping: RenormClipping) -> None:
    """Raise LayerError if a key is not rmax, rmin or dmax."""
    known = ["rmax", "rmin", "dmax"]
    if set(renorm_clipping) - set(known):
        raise LayerError(
            f"batch normalization: renorm_clipping {renorm_clipping} contains keys not in {known}; "
            "rename or drop them."
        )


def check_virtual_batch_size(
    size: int | None, axes: list[int], adjustment: Adjustment | None
) -> None:
    """Raise LayerError unless the batch can be split into groups of this size.

    The batch dimension must be reduced, and virtual batches have no adjustment.
    """
    if size is None:
        return
    if size <= 0:
        raise LayerError(
            f"batch normalization: virtual_batch_size is {size}; a positive divisor of the "
            "batch's size is expected."
        )
    if 0 in axes or adjustment is not None:
        raise LayerError(
            "batch normalization: virtual_batch_size cannot be combined with axis 0 or with "
            "adjustment; drop one of them."
        )
