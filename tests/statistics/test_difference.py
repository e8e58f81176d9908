"""The difference of two snapshots, against figures that can be worked out by hand."""

import json

import numpy as np
import pytest

from bnguard.statistics.difference import compare
from bnguard.statistics.running_statistics import RunningStatistics


def statistics(**values):
    return RunningStatistics("somewhere", {n: np.asarray(v, np.float32) for n, v in values.items()})


def only_change(before, after, tolerance=0.0):
    (one,) = compare(statistics(v=before), statistics(v=after), tolerance).changes
    return one


def test_equal_snapshots_have_no_difference():
    difference = compare(statistics(a=[1, np.nan], b=[0]), statistics(a=[1, np.nan], b=[0]))
    assert not difference
    assert difference.changed == ()
    assert "2 of 2 variables that both hold are bit-identical" in str(difference)


def test_the_largest_changes_are_of_elements():
    one = only_change([1, -8, 0], [1.5, -10, 0])
    assert (one.absolute, one.relative) == (2.0, 0.5)
    assert not one.identical


def test_a_change_from_zero_is_infinitely_large_relatively():
    assert only_change([0, 2], [1, 2]).relative == np.inf


def test_the_last_bit_counts():
    assert compare(statistics(v=1.0), statistics(v=np.nextafter(np.float32(1), np.float32(2))))


def test_values_that_are_equal_and_bits_that_are_not():
    difference = compare(statistics(v=[0.0, 1]), statistics(v=[-0.0, 1]))
    assert difference.changed[0].absolute == 0
    assert "| bits only |" in str(difference)
    assert not compare(statistics(v=0.0), statistics(v=-0.0), tolerance=1e-9)
    assert "bits only" not in str(compare(statistics(v=0.0), statistics(v=1.0)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_becomes_non_finite_is_counted(bad):
    difference = compare(statistics(v=[1, 2, np.nan]), statistics(v=[bad, bad, np.nan]))
    assert difference.changes[0].newly_non_finite == 2
    assert difference.changes[0].absolute == np.inf
    assert difference.newly_non_finite == ("v",)
    assert "2 newly not finite" in str(difference)


def test_what_becomes_finite_has_changed_too():
    one = only_change([np.nan], [1])
    assert (one.absolute, one.newly_non_finite) == (np.inf, 0)


def test_added_removed_and_reshaped_are_told_apart():
    before = statistics(gone=[1], wide=[1, 2], same=[1])
    difference = compare(before, statistics(new=[1], wide=[1, 2, 3], same=[1]))
    assert (difference.added, difference.removed) == (("new",), ("gone",))
    (reshaped,) = difference.reshaped
    assert (reshaped.name, reshaped.before, reshaped.after) == (
        "wide",
        "float32 [2]",
        "float32 [3]",
    )
    assert difference
    for fragment in ("added", "removed", "float32 [2] became float32 [3]"):
        assert fragment in str(difference)


def test_another_type_is_a_difference():
    wide = RunningStatistics("somewhere", {"v": np.ones(2, np.float64)})
    assert compare(statistics(v=[1, 1]), wide).reshaped[0].after == "float64 [2]"


@pytest.mark.parametrize(("tolerance", "moved"), [(0, True), (0.25, True), (0.5, False)])
def test_a_change_within_the_tolerance_counts_as_none(tolerance, moved):
    difference = compare(statistics(v=[1]), statistics(v=[1.5]), tolerance)
    assert bool(difference) == moved
    assert [one.name for one in difference.changed] == (["v"] if moved else [])


def test_no_tolerance_hides_a_nan():
    assert compare(statistics(v=[1]), statistics(v=[np.nan]), tolerance=1e9)


def test_json_holds_the_figures_and_nothing_that_json_has_not():
    document = compare(statistics(v=[0, 1]), statistics(v=[1, 1])).as_json()
    document = json.loads(json.dumps(document, allow_nan=False))
    assert document["different"] is True
    assert document["changed"] == ["v"]
    assert document["changes"] == [
        {
            "name": "v",
            "identical": False,
            "absolute": 1.0,
            "relative": "inf",
            "newly_non_finite": 0,
        }
    ]
