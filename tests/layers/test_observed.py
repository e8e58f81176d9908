"""The comparison with an original whose inference may spoil its statistics: ours may not."""

import numpy as np
import pytest
from support.layers.observed import assert_same

KEPT = [3.0, 4.0]


def seen(*variances):
    """What is seen of a layer in steps that leave it with these moving variances."""
    steps = [{"moving_mean": np.ones(2), "moving_variance": np.array(one)} for one in variances]
    return {"variables": set(), "collections": {}, "aliases": [], "steps": steps}


@pytest.mark.parametrize("spoilt", [[KEPT, [np.nan, 4.0], [np.nan, 5.0]], [KEPT, KEPT, [4.0, 5.0]]])
def test_both_outcomes_of_the_original_are_possible(spoilt):
    assert_same(seen(KEPT, KEPT, [4.0, 5.0]), seen(*spoilt))


@pytest.mark.parametrize("ours", [[np.nan, 4.0], [3.1, 4.0]])
@pytest.mark.parametrize("theirs", [[np.nan, 4.0], KEPT])
def test_ours_has_one(ours, theirs):
    with pytest.raises(AssertionError):
        assert_same(seen(KEPT, ours), seen(KEPT, theirs))


def test_nothing_excuses_a_first_step():
    with pytest.raises(AssertionError):
        assert_same(seen(KEPT), seen([np.nan, 4.0]))
