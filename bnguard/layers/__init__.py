"""Batch normalization for graph mode on `tensorflow.compat.v1` alone.

`batch_norm` is what `tf.contrib.layers.batch_norm` was, and `batch_normalization` what
`tf.layers.batch_normalization` was. They differ in their arguments, names and defaults:

    contrib.py, tf_layers.py    the two signatures: which variables, kernel and rule
    arguments.py                what they accept
    core.py                     one forward pass and its updates, for each training mode
    kernels.py                  how to normalize
    updates.py                  how the running statistics move
    variables.py                what a layer's variables are
"""

from __future__ import annotations

from bnguard.layers.contrib import batch_norm
from bnguard.layers.tf_layers import batch_normalization
from bnguard.layers.training import create_train_op

__all__ = ["batch_norm", "batch_normalization", "create_train_op"]
