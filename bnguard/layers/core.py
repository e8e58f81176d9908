"""One layer's forward pass and updates, for each training mode."""

from __future__ import annotations

from typing import Callable, List

from bnguard.layers.kernels import Kernel
from bnguard.layers.updates import Change, is_ref, write
import tensorflow.compat.v1 as tf

Rule = Callable[[tf.Tensor, tf.Tensor], List[Change]]


def normalize(
    kernel: Kernel, rule: Rule, training: bool | tf.Tensor, in_place: bool
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Build the outputs, and the update ops where these are not run in place.

    Args:
        kernel: normalizes with the batch's or with the running statistics.
        rule: the batch's mean and variance -> what changes.
        training: a bool, or a 0-D bool tensor.
        in_place: whether the outputs wait for the updates.

    """
    if isinstance(training, bool):
        return _static(kernel, rule, training, in_place)
    if in_place and _branches_can_write(kernel):
        return _write_in_branch(kernel, rule, training), []
    return _write_after_branch(kernel, rule, training, in_place)


def _static(
    kernel: Kernel, rule: Rule, training: bool, in_place: bool
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    if not training:
        return kernel.infer(), []
    outputs, mean, variance = kernel.train()
    return _settle(kernel, outputs, rule(mean, variance), in_place)


def _branches_can_write(kernel: Kernel) -> bool:
    """TensorFlow refuses to assign a ref variable in a branch of control flow v2."""
    return not (tf.control_flow_v2_enabled() and is_ref(kernel.statistics.moving_mean))


def _write_in_branch(kernel: Kernel, rule: Rule, training: tf.Tensor) -> tf.Tensor:
    """Update in the training branch, so that inference runs no update op at all."""

    def train() -> list[tf.Tensor]:
        outputs, mean, variance = kernel.train()
        outputs, _ = _settle(kernel, outputs, rule(mean, variance), in_place=True)
        return [outputs]

    (outputs,) = tf.cond(training, train, lambda: [kernel.infer()], strict=True, name=kernel.name)
    return outputs


def _write_after_branch(
    kernel: Kernel, rule: Rule, training: tf.Tensor, in_place: bool
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Let the branches yield what to subtract, at inference zero; one update op serves both."""
    variables: list[tf.Variable] = []

    def train() -> list[tf.Tensor]:
        outputs, mean, variance = kernel.train()
        changes = rule(mean, variance)
        variables.extend(change.variable for change in changes)
        return [outputs, *(change.amount for change in changes)]

    def infer() -> list[tf.Tensor]:
        zeros = [tf.zeros(variable.shape, variable.dtype.base_dtype) for variable in variables]
        return [kernel.infer(), *zeros]

    outputs, *amounts = tf.cond(training, train, infer, strict=True, name=kernel.name)
    changes = [Change(*pair) for pair in zip(variables, amounts)]
    return _settle(kernel, outputs, changes, in_place)


def _settle(
    kernel: Kernel, outputs: tf.Tensor, changes: list[Change], in_place: bool
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    updates = write(changes, after=outputs)
    if not in_place:
        return outputs, updates
    with tf.control_dependencies(updates):
        return tf.identity(outputs, name=kernel.name), []
