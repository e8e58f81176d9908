"""A layer's forward pass and its updates, for each training mode."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Iterator

import tensorflow.compat.v1 as tf

from bnguard.layers import validation
from bnguard.layers.kernels import Kernel
from bnguard.layers.update_rules import Rule, is_ref, unchanged, write


def normalize(
    kernel: Kernel, rule: Rule, training: bool | tf.Tensor, updates_collections: Any
) -> tf.Tensor:
    """Build the outputs; within a step, each read of a statistic is ordered with its update.

    Args:
      kernel: a `FusedKernel` or `MomentsKernel`.
      rule: a `MovingAverages`, `ZeroDebiased` or `Renorm`.
      training: a bool, or a 0-D bool tensor.
      updates_collections: where the two update ops go; if empty there are none; None runs
        them before the outputs.
    """
    in_place = updates_collections is None
    if training is False:
        return kernel.infer()
    validation.warn_of_one(kernel.inputs, kernel.statistics.moving_mean.shape.num_elements())
    if training is True:
        outputs, *values = _train(kernel, rule)
        if in_place:
            return _write_first(kernel, rule, outputs, values)
        readers = _readers(kernel, outputs)
    elif in_place:
        return _write_in_branch(kernel, rule, training)
    else:
        outputs, *values = _choose(kernel, rule, training)
        readers = [outputs]
    for update in write(rule.targets, values, after=readers, read=True):
        tf.add_to_collections(updates_collections, update)
    return outputs


def _train(kernel: Kernel, rule: Rule) -> list[tf.Tensor]:
    """Return the outputs, and the value for each of the rule's targets."""
    outputs, mean, variance = kernel.train()
    values = rule.values(mean, variance)
    if kernel.inputs.shape.num_elements():
        return [outputs, *values]
    # An empty batch has no moments, and the NaN in their place would never leave the statistics.
    has_values = tf.cast(tf.size(kernel.inputs), tf.bool)
    pairs = zip(values, unchanged(rule.targets))
    return [outputs, *(tf.where_v2(has_values, *pair) for pair in pairs)]


def _write_in_branch(kernel: Kernel, rule: Rule, training: tf.Tensor) -> tf.Tensor:
    """Write in the training branch, so that inference runs no update op at all."""

    def train() -> list[tf.Tensor]:
        outputs, *values = _train(kernel, rule)
        return [_write_first(kernel, rule, outputs, values)]

    with _branches_that_can_write(rule):
        (outputs,) = _cond(training, train, lambda: [kernel.infer()], kernel.name)
    return outputs


@contextmanager
def _branches_that_can_write(rule: Rule) -> Iterator[None]:
    """Have control flow v1 where v2 is on: only its branches can assign a ref variable."""
    if not (tf.control_flow_v2_enabled() and is_ref(rule.targets[-1].variable)):
        yield
        return
    tf.disable_control_flow_v2()
    try:
        yield
    finally:
        tf.enable_control_flow_v2()


def _choose(kernel: Kernel, rule: Rule, training: tf.Tensor) -> list[tf.Tensor]:
    """Let the branches yield what to write, at inference what changes nothing."""

    def infer() -> list[tf.Tensor]:
        return [kernel.infer(), *unchanged(rule.targets)]

    return _cond(training, lambda: _train(kernel, rule), infer, kernel.name)


def _cond(training: tf.Tensor, train: Callable, infer: Callable, name: str) -> list[tf.Tensor]:
    return tf.cond(training, train, infer, strict=True, name=name)


def _readers(kernel: Kernel, outputs: tf.Tensor) -> list[tf.Tensor]:
    """Say what reads a statistic in training beside the values to write."""
    return [outputs] if kernel.train_reads_statistics else []


def _write_first(kernel: Kernel, rule: Rule, outputs: tf.Tensor, values: list) -> tf.Tensor:
    updates = write(rule.targets, values, after=_readers(kernel, outputs), read=False)
    with tf.control_dependencies(updates):
        return tf.identity(outputs, name=kernel.name)
