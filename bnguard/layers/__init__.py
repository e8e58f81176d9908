"""Batch normalization and train ops for graph mode, on `tensorflow.compat.v1` alone.

`batch_norm` replaces `tf.contrib.layers.batch_norm`, `batch_normalization` replaces
`tf.layers.batch_normalization`, and `create_train_op` replaces `slim.learning.create_train_op`.
The two layers differ in their arguments, names and defaults, and share the rest:

    contrib.py, tf_layers.py    the two signatures: choose variables, kernel and update rule
    training.py                 create_train_op
    validation.py               check the arguments of the layers
    forward.py                  build the outputs and the updates for each training mode
    branches.py                 select training or inference by a tensor: one Switch, or tf.cond
    kernels.py                  normalize, fused or with moments
    update_rules.py             compute and write the new running statistics
    variables.py                create the variables of a layer, or find them for reuse
    aliases.py                  types of the arguments
    errors.py                   the error of the layers
"""

from __future__ import annotations

from bnguard.layers.contrib import batch_norm
from bnguard.layers.tf_layers import batch_normalization
from bnguard.layers.training import create_train_op

__all__ = ["batch_norm", "batch_normalization", "create_train_op"]
