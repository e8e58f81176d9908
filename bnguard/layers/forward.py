"""The forward pass of a layer and its updates, for each training mode."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import tensorflow.compat.v1 as tf

from bnguard.layers import validation
from bnguard.layers.aliases import Collections
from bnguard.layers.branches import select
from bnguard.layers.kernels import Kernel
from bnguard.layers.update_rules import Rule, check_writable, is_ref, unchanged, write


def normalize(
    kernel: Kernel, rule: Rule, training: bool | tf.Tensor, updates_collections: Collections | None
) -> tf.Tensor:
    """Build the outputs and the update ops; order each read of a statistic with its update.

    Args:
      kernel: a `FusedKernel` or `MomentsKernel`.
      rule: a `MovingAverages`, `ZeroDebiased` or `Renorm`.
      training: a bool, or a 0-D bool tensor.
      updates_collections: the collections that receive the two update ops. If empty, no
        update op is built. None makes the outputs depend on the updates instead.

    Returns:
      The outputs, of the dtype of the kernel's inputs.
    """
    in_place = updates_collections is None
    if training is False:
        return kernel.infer()
    if in_place or updates_collections:
        check_writable(rule.targets)
    channels = kernel.statistics.moving_mean.shape.num_elements()
    validation.warn_of_single_values(kernel.inputs, channels)
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


def _train(kernel: Kernel, rule: Rule, in_branch: bool = False) -> list[tf.Tensor]:
    """Return the outputs, followed by the value for each of the rule's targets."""
    outputs, mean, variance = kernel.train()
    # In a branch, what the values are computed from, a constant too, is dead in inference.
    with tf.control_dependencies([mean] if in_branch else []):
        values = rule.values(mean, variance)
    if kernel.inputs.shape.num_elements():
        return [outputs, *values]
    # An empty batch has no moments. Writing NaN instead would spoil the statistics for good.
    has_values = tf.cast(tf.size(kernel.inputs), tf.bool)
    pairs = zip(values, unchanged(rule.targets))
    return [outputs, *(tf.where_v2(has_values, *pair) for pair in pairs)]


def _write_in_branch(kernel: Kernel, rule: Rule, training: tf.Tensor) -> tf.Tensor:
    """Write in the training branch, so that inference runs no update op."""

    def train(kernel: Kernel) -> list[tf.Tensor]:
        outputs, *values = _train(kernel, rule, in_branch=True)
        return [_write_first(kernel, rule, outputs, values)]

    with _branches_that_can_write(rule):
        (outputs,) = select(training, kernel, train, lambda kernel: [kernel.infer()])
    return outputs


@contextmanager
def _branches_that_can_write(rule: Rule) -> Iterator[None]:
    """Use control flow v1 for ref variables: a branch of v2 cannot assign one."""
    if not (tf.control_flow_v2_enabled() and is_ref(rule.targets[-1].variable)):
        yield
        return
    tf.disable_control_flow_v2()
    try:
        yield
    finally:
        tf.enable_control_flow_v2()


def _choose(kernel: Kernel, rule: Rule, training: tf.Tensor) -> list[tf.Tensor]:
    """Let each branch return the outputs and the values to write; inference changes nothing."""

    def train(kernel: Kernel) -> list[tf.Tensor]:
        return _train(kernel, rule, in_branch=True)

    def infer(kernel: Kernel) -> list[tf.Tensor]:
        outputs = kernel.infer()
        # The values are dead while training, as the outputs are.
        with tf.control_dependencies([outputs]):
            return [outputs, *unchanged(rule.targets)]

    return select(training, kernel, train, infer)


def _readers(kernel: Kernel, outputs: tf.Tensor) -> list[tf.Tensor]:
    """Return the tensors, beside the values to write, that read a statistic in training."""
    return [outputs] if kernel.train_reads_statistics else []


def _write_first(
    kernel: Kernel, rule: Rule, outputs: tf.Tensor, values: list[tf.Tensor]
) -> tf.Tensor:
    updates = write(rule.targets, values, after=_readers(kernel, outputs), read=False)
    with tf.control_dependencies(updates):
        return tf.identity(outputs, name=kernel.name)
