"""The error of the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnguard.errors import BnguardError


class LayerError(BnguardError, ValueError):
    """An argument, a variable or a place in the graph with which a layer cannot be built.

    It is a ValueError, because the original layers raise one.
    """

    if not TYPE_CHECKING:  # without this, AutoGraph, as in `tf.map_fn`, raises another error
        __init__ = Exception.__init__
