"""Limits of the analysis, made small enough for a test to reach."""

import contextlib

import pytest

from bnguard.analysis import limits


@contextlib.contextmanager
def small_limit(name, value):
    """Set the limit `name` to `value` in the block.

    Yield a list, which contains `name` once the limit is reached.
    """
    limit, reached = getattr(limits, name), []

    class SmallLimit(limits.Limit):
        def reach(self):
            reached[:] = [name]
            super().reach()

    with pytest.MonkeyPatch.context() as patch:
        small = SmallLimit(value, limit.unit, limit.reason, limit.consequence)
        patch.setattr(limits, name, small)
        yield reached
