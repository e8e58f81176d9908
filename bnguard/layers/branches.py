"""Run training or inference in each step, as a tensor decides.

`tf.cond` of control flow v1 sends each input through one Switch for each branch. The gradient comes
back through both: every training step makes zeros of the size of the inputs, for the branch that
did not run, and adds them. One Switch of which both branches take an output has no such cost.
Neither has the `If` of control flow v2. Without the fused kernel one Switch costs more than
`tf.cond`, which costs no more than a mode known in Python.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Callable

import tensorflow.compat.v1 as tf

from bnguard.layers.kernels import FusedKernel, Kernel

Branch = Callable[[Kernel], "list[tf.Tensor]"]


def select(training: tf.Tensor, kernel: Kernel, train: Branch, infer: Branch) -> list[tf.Tensor]:
    """Run `train` in the steps in which `training` is true, and `infer` in the others.

    Args:
      training: a 0-D bool tensor.
      kernel: what the branches compute with.
      train: a function from a kernel to the outputs and other tensors, each of which depends on the
        kernel's. It gets a kernel whose tensors are dead while `training` is false.
      infer: the same for inference; its tensors have the dtypes of those of `train`.

    Returns:
      The tensors of the branch that runs, the first of them of the dtype of the kernel's inputs.
    """
    name: str = kernel.name
    is_v2 = tf.control_flow_v2_enabled() or tf.get_default_graph().building_function
    if isinstance(kernel, FusedKernel) and not is_v2:
        with tf.name_scope(name) as name:
            training = tf.identity(training, name="pred_id")
            # In a branch or a loop of control flow v1, whose operations cannot be fetched, the
            # gradient takes every Switch for one of that branch or loop.
            if training.graph.is_fetchable(training):
                return _switch_once(training, kernel, train, infer)
    dtype = kernel.inputs.dtype.base_dtype
    if _has_gradient_in_branches(dtype, tf.control_flow_v2_enabled()):
        return _cond(training, lambda: train(kernel), lambda: infer(kernel), name)
    wide = tf.cast(kernel.inputs, tf.float32)

    def narrowed(branch: Branch) -> list[tf.Tensor]:
        outputs, *others = branch(replace(kernel, inputs=tf.cast(wide, dtype)))
        return [tf.cast(outputs, tf.float32), *others]

    outputs, *others = _cond(training, lambda: narrowed(train), lambda: narrowed(infer), name)
    return [tf.cast(outputs, dtype), *others]


def _cond(
    training: tf.Tensor,
    train: Callable[[], list[tf.Tensor]],
    infer: Callable[[], list[tf.Tensor]],
    name: str,
) -> list[tf.Tensor]:
    outputs: list[tf.Tensor] = tf.cond(training, train, infer, strict=True, name=name)
    return outputs


@lru_cache(maxsize=None)
def _has_gradient_in_branches(dtype: tf.DType, is_v2: bool) -> bool:
    """Return whether the gradient passes through a `tf.cond`; bfloat16's does not in 1.15.

    Args:
      dtype: the dtype of what the branches return.
      is_v2: whether control flow v2 is enabled, on which the result may depend.
    """
    del is_v2
    with tf.Graph().as_default():
        x = tf.placeholder(dtype, [])
        y = tf.cond(tf.placeholder(tf.bool, []), lambda: x, lambda: -x)
        return tf.gradients(tf.cast(y, tf.float32), x)[0] is not None


def _switch_once(
    training: tf.Tensor, kernel: FusedKernel, train: Branch, infer: Branch
) -> list[tf.Tensor]:
    tensors = kernel.tensors()
    # A write in the training branch comes after the reads, as it comes after the Switches.
    with tf.control_dependencies([tensors["moving_mean"], tensors["moving_variance"]]):
        switches = {
            name: tf.raw_ops.Switch(data=tensor, pred=training, name="Switch")
            for name, tensor in tensors.items()
        }

    def branch(port: int) -> Kernel:
        return kernel.on({name: switch[port] for name, switch in switches.items()})

    trained, inferred = train(branch(1)), infer(branch(0))
    pairs = zip(inferred, trained)
    return [tf.raw_ops.Merge(inputs=list(pair), name="Merge").output for pair in pairs]
