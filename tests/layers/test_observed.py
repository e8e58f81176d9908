"""Test `assert_same` for originals whose statistics inference may corrupt."""

import numpy as np
import pytest
from support.layers.observed import assert_same

UNCHANGED = [3.0, 4.0]


def seen(*variances):
    """Return an observation of steps that leave the layer with these moving variances."""
    steps = [
        {"moving_mean": np.ones(2), "moving_variance": np.array(variance)} for variance in variances
    ]
    return {"variables": set(), "collections": {}, "aliases": [], "steps": steps}


@pytest.mark.parametrize(
    "original", [[UNCHANGED, [np.nan, 4.0], [np.nan, 5.0]], [UNCHANGED, UNCHANGED, [4.0, 5.0]]]
)
def test_both_outcomes_of_the_original_are_possible(original):
    assert_same(seen(UNCHANGED, UNCHANGED, [4.0, 5.0]), seen(*original))


@pytest.mark.parametrize("ours", [[np.nan, 4.0], [3.1, 4.0]])
@pytest.mark.parametrize("theirs", [[np.nan, 4.0], UNCHANGED])
def test_only_unchanged_statistics_are_accepted_of_ours(ours, theirs):
    with pytest.raises(AssertionError):
        assert_same(seen(UNCHANGED, ours), seen(UNCHANGED, theirs))


def test_nan_in_the_first_step_is_never_accepted():
    with pytest.raises(AssertionError):
        assert_same(seen(UNCHANGED), seen([np.nan, 4.0]))
