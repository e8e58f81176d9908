"""The difference between two snapshots, compared with figures worked out by hand."""

import json

import numpy as np
import pytest

from bnguard.statistics.difference import compare
from bnguard.statistics.running_statistics import RunningStatistics


def statistics(**values):
    return RunningStatistics("somewhere", {n: np.asarray(v, np.float32) for n, v in values.items()})


def only_change(before, after, tolerance=0.0):
    (change,) = compare(statistics(v=before), statistics(v=after), tolerance).changes
    return change


def test_equal_snapshots_have_no_difference():
    difference = compare(statistics(a=[1, np.nan], b=[0]), statistics(a=[1, np.nan], b=[0]))
    assert not difference
    assert difference.changed == ()
    assert "2 of 2 common variables are bit-identical" in str(difference)


def test_the_largest_absolute_and_relative_changes_are_over_elements():
    change = only_change([1, -8, 0], [1.5, -10, 0])
    assert (change.absolute, change.relative) == (2.0, 0.5)
    assert not change.identical


def test_a_change_from_zero_has_an_infinite_relative_change():
    assert only_change([0, 2], [1, 2]).relative == np.inf


def test_a_change_of_the_last_bit_is_a_difference():
    assert compare(statistics(v=1.0), statistics(v=np.nextafter(np.float32(1), np.float32(2))))


def test_equal_values_with_different_bits_are_a_difference():
    difference = compare(statistics(v=[0.0, 1]), statistics(v=[-0.0, 1]))
    assert difference.changed[0].absolute == 0
    assert "| bits only |" in str(difference)
    assert not compare(statistics(v=0.0), statistics(v=-0.0), tolerance=1e-9)
    assert "bits only" not in str(compare(statistics(v=0.0), statistics(v=1.0)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_elements_that_become_non_finite_are_counted(bad):
    difference = compare(statistics(v=[1, 2, np.nan]), statistics(v=[bad, bad, np.nan]))
    assert difference.changes[0].newly_non_finite == 2
    assert difference.changes[0].absolute == np.inf
    assert difference.newly_non_finite == ("v",)
    assert "2 newly not finite" in str(difference)


def test_an_element_that_becomes_finite_has_changed():
    change = only_change([np.nan], [1])
    assert (change.absolute, change.newly_non_finite) == (np.inf, 0)


def test_added_removed_and_reshaped_variables_are_distinguished():
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


def test_a_different_type_is_a_difference():
    wide = RunningStatistics("somewhere", {"v": np.ones(2, np.float64)})
    assert compare(statistics(v=[1, 1]), wide).reshaped[0].after == "float64 [2]"


@pytest.mark.parametrize(("tolerance", "moved"), [(0, True), (0.25, True), (0.5, False)])
def test_a_change_within_the_tolerance_is_ignored(tolerance, moved):
    difference = compare(statistics(v=[1]), statistics(v=[1.5]), tolerance)
    assert bool(difference) == moved
    assert [change.name for change in difference.changed] == (["v"] if moved else [])


def test_repr_is_one_line_with_the_sources_and_counts():
    before = RunningStatistics("start.ckpt", {"a": 1.0, "b": 2.0, "c": 3.0})
    after = RunningStatistics("the Session", {"a": 1.0, "b": 2.5, "c": 4.0})
    assert (
        repr(compare(before, before)) == "StatisticsDiff(start.ckpt -> start.ckpt: 0 of 3 changed)"
    )
    assert (
        repr(compare(before, after)) == "StatisticsDiff(start.ckpt -> the Session: 2 of 3 changed)"
    )
    assert repr(compare(before, after, tolerance=0.75)) == (
        "StatisticsDiff(start.ckpt -> the Session: 1 of 3 changed)"
    )


def test_repr_counts_added_removed_and_reshaped_variables():
    before = RunningStatistics("a", {"gone": 1.0, "old": 1.0, "wide": [1.0], "same": 1.0})
    after = RunningStatistics("b", {"new": 1.0, "wide": [1.0, 2.0], "same": 1.0})
    assert repr(compare(before, after)) == (
        "StatisticsDiff(a -> b: 0 of 1 changed, 1 added, 2 removed, 1 reshaped)"
    )


def test_repr_escapes_line_breaks_in_a_source():
    statistics = RunningStatistics("a\nb", {"v": 1.0})
    assert repr(statistics) == r"RunningStatistics(a\nb, 1 variables)"
    assert repr(compare(statistics, statistics)) == (
        r"StatisticsDiff(a\nb -> a\nb: 0 of 1 changed)"
    )


def test_print_shows_a_table_of_the_changes(capsys):
    print(compare(statistics(moved=[1, -8], same=[1]), statistics(moved=[1.5, -10], same=[1])))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "running statistics: somewhere -> somewhere"
    (row,) = [line for line in lines if line.startswith("| moved")]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["moved", "2", "0.5", ""]
    assert lines[-1] == "1 of 2 common variables are bit-identical"


def test_no_tolerance_hides_a_nan():
    assert compare(statistics(v=[1]), statistics(v=[np.nan]), tolerance=1e9)


def test_the_dict_is_valid_json_without_nan_or_infinity():
    document = compare(statistics(v=[0, 1]), statistics(v=[1, 1])).to_dict()
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
            "type_problem": "",
        }
    ]


def changed(before, after, dtype, tolerance=0.0):
    """The difference of two arrays of a type."""
    sides = (np.array(side).astype(dtype) for side in (before, after))
    return compare(*(RunningStatistics("there", {"bn/moving_mean": v}) for v in sides), tolerance)


class TestOtherTypes:
    """Values are compared in their own type; what float64 would round away is a difference."""

    @pytest.mark.parametrize(
        ("dtype", "before", "after", "largest"),
        [
            (np.int64, 2**60, 2**60 + 1, 1),
            (np.int64, -(2**63), 2**63 - 1, 2**64 - 1),
            (np.int64, 2**63 - 1, -1, 2**63),
            (np.uint64, 2**64 - 1, 0, 2**64 - 1),
            (np.int8, -128, 127, 255),
            (np.uint8, 200, 1, 199),
            (np.bool_, False, True, 1),
        ],
    )
    def test_integers_are_exact(self, dtype, before, after, largest):
        difference = changed([before], [after], dtype)
        assert difference.changes[0].absolute == largest == int(difference.changes[0].absolute)
        assert not changed([before], [after], dtype, tolerance=float(largest))
        assert "not of a floating-point type" in str(difference)

    def test_a_tolerance_is_compared_exactly(self):
        assert changed([0], [2**60 + 1], np.int64, tolerance=2**60)
        assert not changed([0], [2**60], np.int64, tolerance=2**60)

    @pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
    def test_the_imaginary_part_counts(self, dtype):
        difference = changed([3 + 4j], [3 + 5j], dtype, tolerance=0.5)
        assert (difference.changes[0].absolute, difference.changes[0].relative) == (1.0, 0.2)
        assert difference
        lost = changed([1j, 1], [complex(0, np.nan), 1], dtype).changes[0]
        assert (lost.absolute, lost.newly_non_finite) == (np.inf, 1)

    def test_a_relative_change_of_a_negative_integer(self):
        assert changed([-(2**63)], [-(2**62)], np.int64).changes[0].relative == 0.5

    def test_types_of_tensorflow(self):
        ml_dtypes = pytest.importorskip("ml_dtypes")
        assert changed([1.0], [1.5], ml_dtypes.bfloat16).changes[0].absolute == 0.5
        assert changed([-8], [7], ml_dtypes.int4).changes[0].absolute == 15
        quantized = [np.array([(value,)], [("qint8", np.int8)]) for value in (-128, 127)]
        sides = (RunningStatistics("there", {"v": value}) for value in quantized)
        assert compare(*sides).changes[0].absolute == 255

    def test_variables_of_one_type_and_shape_are_not_confused(self):
        """They are compared as rows of one matrix, in parts."""
        random = np.random.RandomState(0)
        names = [f"{number}/moving_mean" for number in range(200)]
        sides = [
            {name: np.float32(random.rand(*[3, 2][: k % 3])) for k, name in enumerate(names)}
            for _ in range(2)
        ]
        sides[1]["7/moving_mean"] = sides[0]["7/moving_mean"]
        difference = compare(*(RunningStatistics("there", side) for side in sides))
        for change in difference.changes:
            before, after = (side[change.name].astype(np.float64) for side in sides)
            assert change.absolute == np.max(np.abs(after - before))
            assert change.relative == np.max(np.abs(after - before) / np.abs(before))
            assert change.identical == (change.name == "7/moving_mean")
