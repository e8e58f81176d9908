"""Batch normalization for graph mode on `tensorflow.compat.v1` alone.

`batch_norm` is what `tf.contrib.layers.batch_norm` was.
"""

from __future__ import annotations

from bnguard.layers.contrib import batch_norm

__all__ = ["batch_norm"]
