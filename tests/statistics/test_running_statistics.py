"""Snapshots as values: read-only, comparable and picklable."""

import pickle

import numpy as np
import pytest

from bnguard.statistics.running_statistics import RunningStatistics


def statistics(mean=(1.0, 2.0)):
    values = {"bn/moving_variance": np.ones(2, np.float32), "bn/moving_mean": np.float32(mean)}
    return RunningStatistics("the Session", values)


def test_a_snapshot_is_a_mapping_sorted_by_name():
    assert list(statistics()) == ["bn/moving_mean", "bn/moving_variance"]
    assert len(statistics()) == 2
    np.testing.assert_array_equal(statistics()["bn/moving_mean"], [1, 2])


def test_a_snapshot_contains_read_only_copies():
    buffer = np.zeros(2, np.float32)
    taken = RunningStatistics("the Session", {"v": buffer})
    buffer += 1
    np.testing.assert_array_equal(taken["v"], [0, 0])
    with pytest.raises(ValueError, match="read-only"):
        taken["v"][0] = 1


def test_snapshots_are_equal_if_names_and_bits_are():
    assert statistics() == statistics()
    assert statistics(mean=[np.nan, 1]) == statistics(mean=[np.nan, 1])
    assert statistics() != statistics(mean=[1, 3])
    assert statistics() != RunningStatistics("the Session", {})
    assert statistics() != {"bn/moving_mean": 1}


def test_a_snapshot_survives_pickling():
    again = pickle.loads(pickle.dumps(statistics()))
    assert again == statistics()
    assert again.source == "the Session"
    assert not again["bn/moving_mean"].flags.writeable


def test_print_shows_a_table_of_figures_and_health(capsys):
    print(statistics())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "running statistics of the Session"
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == [
        "bn/moving_mean",
        "[2]",
        "1",
        "1.5",
        "2",
        "ok",
    ]
    assert "never moved from its initial value 1" in lines[4]


def test_a_long_name_is_not_folded():
    name = "/".join(["a_long_scope"] * 20) + "/moving_mean"
    assert name in str(RunningStatistics("the Session", {name: np.ones(1)}))
