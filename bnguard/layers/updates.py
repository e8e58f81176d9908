"""How training moves the running statistics: by which amounts, and in which order."""

from __future__ import annotations

from typing import Any, NamedTuple

from bnguard.layers.variables import Statistics
import tensorflow.compat.v1 as tf


class Change(NamedTuple):
    """What a step subtracts from a variable; computing it writes nothing."""

    variable: tf.Variable
    amount: tf.Tensor


def moving_averages(
    statistics: Statistics, decay: Any, mean: tf.Tensor, variance: tf.Tensor
) -> list[Change]:
    """Move by m <- decay m + (1 - decay) batch, for the mean and the variance."""
    return [
        Change(statistics.moving_mean, _toward(statistics.moving_mean, mean, decay)),
        Change(statistics.moving_variance, _toward(statistics.moving_variance, variance, decay)),
    ]


def _toward(variable: tf.Variable, target: tf.Tensor, decay: Any) -> tf.Tensor:
    rate = tf.cast(tf.convert_to_tensor(1.0 - decay), variable.dtype.base_dtype)
    return (variable - target) * rate


def write(changes: list[Change], after: tf.Tensor) -> list[tf.Tensor]:
    """Subtract each change once `after` is there; one update op each, in that order.

    Every amount is computed before the first variable moves: a ref variable's read is an
    alias of the buffer, and would otherwise see the new value.
    """
    with tf.control_dependencies([after, *(change.amount for change in changes)]):
        return [_subtract(change) for change in changes]


def _subtract(change: Change) -> tf.Tensor:
    with tf.name_scope("AssignMovingAvg") as name:
        updated = change.variable.assign_sub(change.amount, name=name)
        # A tensor also for resource variables, so that a meta graph keeps the collection.
        return tf.convert_to_tensor(updated)


def is_ref(variable: tf.Variable) -> bool:
    """Whether this is a ref variable, not a resource variable."""
    return variable.dtype != variable.dtype.base_dtype
