"""Pause the garbage collector while much is made and nothing thrown away."""

from __future__ import annotations

from contextlib import contextmanager
import gc
from typing import Iterator


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector: a graph, or an index, makes very many objects and no garbage.

    In a program that has imported TensorFlow, each collection visits the objects of that, too.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
