"""The closed form agrees with the source's figures and with outcomes computed by hand."""

import numpy as np
import pytest
from support.closed_form import SOURCE_ROWS, output, source_data

from bnguard.harness.results.closed_form import (
    Affine,
    LayerStatistics,
    advance,
    normalize,
    which_data,
    which_statistics,
)

PLAIN = Affine(beta=np.zeros(2), gamma=np.ones(2), epsilon=0.001)
BEFORE = LayerStatistics(np.array([0.0, 100.0]), np.array([1.0, 4.0]))
AFTER = LayerStatistics(np.array([0.5, 99.0]), np.array([0.9, 3.6]))
X = np.array([[1.0, 101.0]])


def test_advance_gives_the_sources_table():
    batches, rows = source_data()
    now = LayerStatistics(np.zeros(2), np.ones(2))
    for batch in batches:
        now = advance(now, batch, decay=0.9, bessel=False)
    for row, x in zip(SOURCE_ROWS, rows):
        now = advance(now, x, decay=0.9, bessel=False)
        np.testing.assert_allclose(now.mean, row["moving_mean"], atol=5e-4)
        np.testing.assert_allclose(now.variance, row["moving_variance"], atol=5e-4)


def test_bessels_correction_is_n_over_n_minus_1():
    batch = np.array([[0.0], [2.0], [4.0], [6.0]])  # population variance 5
    now = advance(LayerStatistics(np.zeros(1), np.zeros(1)), batch, decay=0.0, bessel=True)
    assert now.variance == pytest.approx([20 / 3])


def test_bessels_correction_of_one_row_does_not_divide_by_zero():
    now = advance(
        LayerStatistics(np.zeros(1), np.ones(1)), np.array([[3.0]]), decay=0.9, bessel=True
    )
    assert now.variance == pytest.approx([0.9])


def test_images_count_every_pixel():
    image = np.arange(8.0).reshape(1, 2, 2, 2)
    now = advance(LayerStatistics(np.zeros(2), np.zeros(2)), image, decay=0.0, bessel=False)
    assert now.mean == pytest.approx([3, 4])
    assert now.variance == pytest.approx([5, 5])


def test_normalize_applies_gamma_and_beta():
    affine = Affine(beta=np.array([1.0, 2.0]), gamma=np.array([3.0, 4.0]), epsilon=0.0)
    np.testing.assert_allclose(normalize(X, BEFORE, affine), [[4.0, 4.0]])


@pytest.mark.parametrize(
    ("mean", "variance", "reads"),
    [
        (BEFORE.mean, BEFORE.variance, "before"),
        (AFTER.mean, AFTER.variance, "after"),
        (BEFORE.mean, AFTER.variance, "mixed"),
        (AFTER.mean, BEFORE.variance, "mixed"),
        ([BEFORE.mean[0], AFTER.mean[1]], BEFORE.variance, "mixed"),
        (BEFORE.mean + 0.1, BEFORE.variance, "other"),
    ],
)
def test_which_statistics_names_the_outcome(mean, variance, reads):
    y = output(X, np.array(mean), np.array(variance))
    assert which_statistics(X, y, BEFORE, AFTER, PLAIN) == reads


def test_an_outcome_is_recognised_within_float32_but_not_beyond():
    y = output(X, BEFORE.mean, BEFORE.variance)
    assert which_statistics(X, y.astype(np.float32), BEFORE, AFTER, PLAIN) == "before"
    assert which_statistics(X, y + 2e-4, BEFORE, AFTER, PLAIN) == "other"


def test_nan_matches_no_statistics():
    assert which_statistics(X, X * np.nan, BEFORE, AFTER, PLAIN) == "other"


def test_nan_is_what_a_negative_variance_gives():
    negative = LayerStatistics(BEFORE.mean, np.array([-4.0, 4.0]))
    y = output(X, *BEFORE)
    y[:, 0] = np.nan
    assert which_statistics(X, y, negative, AFTER, PLAIN) == "before"
    assert which_statistics(X, output(X, *BEFORE), negative, AFTER, PLAIN) == "other"


def test_an_output_normalized_by_its_own_rows_is_recognised():
    x = np.array([[1.0, 101.0], [3.0, 107.0]])
    y = output(x, x.mean(axis=0), x.var(axis=0))
    assert which_statistics(x, y, BEFORE, AFTER, PLAIN) == "batch"


DATA = {"real": np.array([[0.0], [2.0]]), "fake": np.array([[10.0], [16.0]])}
START = LayerStatistics(np.array([4.0]), np.array([2.0]))


def absorbed(mean, variance, data=DATA, bessel=False):
    after = LayerStatistics(np.array([mean]), np.array([variance]))
    return which_data(START, after, data, decay=0.9, bessel=bessel)


@pytest.mark.parametrize(
    ("mean", "variance", "data"),
    [
        (4.0, 2.0, "nothing"),
        (3.7, 1.9, "real"),  # 0.9 4 + 0.1 1; 0.9 2 + 0.1 1
        (4.9, 2.7, "fake"),  # 0.9 4 + 0.1 13; 0.9 2 + 0.1 9
        (4.6, 2.6, "fake + real"),  # both from what was before: 0.8 4 + 0.1 14; 0.8 2 + 0.1 10
        (4.63, 2.61, "fake + real"),  # real, then fake
        (4.51, 2.53, "fake + real"),  # fake, then real
        (4.63, 2.53, "fake + real"),  # each statistic has its own order
        (3.7, 2.7, "fake + real"),  # each overwrote one statistic of the other
        (4.0, 1.9, "other"),
        (3.71, 1.9, "other"),
        (np.nan, np.nan, "other"),
    ],
)
def test_which_data_names_what_the_statistics_absorbed(mean, variance, data):
    assert absorbed(mean, variance) == data


def test_which_data_applies_bessels_correction():
    assert absorbed(3.7, 2.0, bessel=True) == "real"  # 0.9 2 + 0.1 2
    assert absorbed(3.7, 1.9, bessel=True) == "other"


@pytest.mark.parametrize("bessel", [False, True])
def test_statistics_are_absorbed_as_they_are(bessel):
    online = LayerStatistics(np.array([14.0], np.float32), np.array([7.0], np.float32))
    assert absorbed(5.0, 2.5, {"online": online}, bessel) == "online"  # 0.9 4 + 1.4; 0.9 2 + 0.7
    assert absorbed(5.0, 2.6, {"online": online}, bessel) == "other"
    now = advance(START, online, decay=0.9, bessel=bessel)
    assert (now.mean, now.variance) == (pytest.approx([5.0]), pytest.approx([2.5]))


def test_nothing_was_absorbed_only_if_every_bit_is_the_same():
    assert absorbed(np.nextafter(4.0, 5.0), 2.0) == "other"
    same = {"same": np.array([[4 + np.sqrt(2)], [4 - np.sqrt(2)]])}  # its mean 4, its variance 2
    assert absorbed(4.0, 2.0, data=same) == "nothing"
