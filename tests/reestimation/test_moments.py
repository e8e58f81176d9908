"""Merged moments are those of all values, in any order and grouping, to 1e-12."""

import numpy as np
import pytest

from bnguard import BnguardError
from bnguard.reestimation.moments import BatchMoments, Moments


def batch(values):
    """Return the moments of the rows of an array, without correction."""
    weight = np.full(values.shape[1], float(len(values)))
    variance = values.var(0) if len(values) else np.full(values.shape[1], np.nan)
    mean = values.mean(0) if len(values) else np.full(values.shape[1], np.nan)
    return BatchMoments(weight, mean, variance, variance, np.sqrt(variance))


def measured(*batches):
    moments = Moments({"graph": "g"}, {"a": 2, "b": 3})
    for values in batches:
        moments.add(batch(values))
    return moments


DATA = np.random.RandomState(0).randn(1000, 5) * [1, 2, 1e-3, 1e3, 1] + [1e4, 0, 1, -5, 3]
PARTS = np.split(DATA, [1, 8, 300, 301, 777])


def test_any_grouping_gives_the_moments_of_all_values():
    whole = measured(*PARTS)
    merged = measured(PARTS[4], PARTS[1]).merge(measured(PARTS[5]), measured(PARTS[0])) + measured(
        PARTS[3], PARTS[2]
    )
    for moments in (whole, merged):
        np.testing.assert_allclose(moments.values.mean, DATA.mean(0), 1e-12, 1e-12)
        np.testing.assert_allclose(moments.values.squares / 1000, DATA.var(0), 1e-9)
    np.testing.assert_allclose(merged.values, whole.values, 1e-12, 1e-12)


@pytest.mark.filterwarnings("ignore:.*empty slice|invalid value:RuntimeWarning")
def test_an_empty_batch_changes_nothing():
    moments, before = measured(*PARTS), measured(*PARTS).values
    moments.add(batch(DATA[:0]))
    np.testing.assert_array_equal(moments.values, before)


def test_a_site_has_its_own_channels():
    both = measured(DATA).of(["b"])
    np.testing.assert_allclose(both.mean, DATA[:, 2:].mean(0))


def test_what_is_no_measurement_of_the_job_is_refused():
    with pytest.raises(BnguardError, match="the graph of one measurement is other"):
        measured(DATA).merge(Moments({"graph": "other"}, {"a": 2, "b": 3}))
    with pytest.raises(BnguardError, match="different layers"):
        measured(DATA).merge(Moments({"graph": "g"}, {"a": 5}))
    with pytest.raises(BnguardError, match="got int"):
        measured(DATA).merge(3)
