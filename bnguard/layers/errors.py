"""The error of the layers."""

from __future__ import annotations

from bnguard.errors import BnguardError


class LayerError(BnguardError, ValueError):
    """An argument, a variable or a place in the graph with which a layer cannot be built.

    It is a ValueError, because the original layers raise one.
    """
