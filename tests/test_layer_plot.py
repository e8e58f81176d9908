"""Plots of snapshots: the figures that are drawn, and what cannot be drawn."""

import sys

import numpy as np
import pytest

from bnguard.errors import BnguardError
from bnguard.statistics.difference import StatisticsDiff, compare
from bnguard.statistics.running_statistics import RunningStatistics

pytestmark = pytest.mark.slow

pytest.importorskip("matplotlib")

MEANS, VARIANCES = 0, 1
VALUES = {
    "net/bn/moving_mean": [-3.0, 0.0, 6.0],
    "net/bn/moving_variance": [0.01, 100.0, 1.0],
    "net/bn_1/moving_mean": [1.0, 2.0, 3.0],
    "net/bn_1/moving_variance": [-1.0, np.inf, 4.0],
    "net/bn_1/renorm_mean_weight": [1.0],
    "moments/Squeeze/ExponentialMovingAverage": [5.0],
}


def statistics(source="the Session", **changed):
    values = {**VALUES, **{name.replace("__", "/"): value for name, value in changed.items()}}
    return RunningStatistics(source, {n: np.asarray(v, np.float32) for n, v in values.items()})


def ranges(axis):
    """The rows and ends of each line, and the average of each dot."""
    found = []
    for lines, dots in zip(axis.collections, [dot for dot in axis.lines if len(dot.get_xdata())]):
        for segment, average in zip(lines.get_segments(), dots.get_xdata()):
            (smallest, row), (largest, _) = segment
            found.append((row, smallest, average, largest))
    return found


def rows(figure):
    return [label.get_text() for label in figure.axes[MEANS].get_yticklabels()]


def test_a_layer_has_a_row_with_its_smallest_average_and_largest_channel():
    figure = statistics().plot()
    assert rows(figure) == ["moments/Squeeze/ExponentialMovingAverage", "net/bn", "net/bn_1"]
    np.testing.assert_allclose(
        ranges(figure.axes[MEANS]), [(0, 5, 5, 5), (1, -3, 1, 6), (2, 1, 2, 3)]
    )
    variances = figure.axes[VARIANCES]
    np.testing.assert_allclose(
        ranges(variances), [(1, 0.01, (0.01 + 100 + 1) / 3, 100), (2, 4, 4, 4)], rtol=1e-6
    )
    assert (figure.axes[MEANS].get_xscale(), variances.get_xscale()) == ("linear", "log")


def test_what_is_not_positive_or_not_finite_is_a_cross():
    axes = statistics().plot().axes
    crosses = [next(line for line in axis.lines if line.get_marker() == "x") for axis in axes]
    assert [list(cross.get_ydata()) for cross in crosses] == [[], [2]]


def test_a_difference_has_both_snapshots_one_above_the_other():
    after = statistics("after.ckpt", net__bn__moving_mean=[9.0, 9.0, 9.0])
    figure = compare(statistics(), after).plot()
    drawn = ranges(figure.axes[MEANS])
    before, now = (row for row in drawn if round(row[0]) == 1)
    assert before[0] < 1 < now[0]
    np.testing.assert_allclose([before[1:], now[1:]], [(-3, 1, 6), (9, 9, 9)])
    legend = figure.axes[MEANS].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        "before: the Session",
        "after: after.ckpt",
        "also values that are not finite, or not positive",
    ]


def test_the_values_do_not_count_when_differences_are_compared_or_printed():
    difference = compare(statistics(), statistics())
    assert difference == StatisticsDiff(*list(vars(difference).values())[:-1])
    assert "snapshots" not in difference.to_dict()


@pytest.mark.parametrize(("name", "magic"), [("plot.png", b"\x89PNG"), ("plot.svg", b"<?xml")])
def test_a_file_is_written(tmp_path, name, magic):
    path = tmp_path / name
    statistics().plot(str(path))
    assert path.read_bytes().startswith(magic)


@pytest.mark.parametrize("name", ["none/plot.png", "plot.xyz"])
def test_a_file_that_cannot_be_written_is_one_line(tmp_path, name):
    with pytest.raises(BnguardError, match="the plot cannot be written") as raised:
        statistics().plot(str(tmp_path / name))
    assert "\n" not in str(raised.value)


def test_without_matplotlib_the_line_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = "Matplotlib is not installed.*pip install 'bnguard\\[plot\\]'"
    with pytest.raises(BnguardError, match=message):
        statistics().plot()


def test_nothing_to_draw_is_one_line():
    with pytest.raises(BnguardError, match="no running mean or variance to draw"):
        RunningStatistics("model.ckpt", {}).plot()
    made_by_hand = StatisticsDiff("a", "b", (), (), (), ())
    with pytest.raises(BnguardError, match="has no snapshots to draw"):
        made_by_hand.plot()


def test_pyplot_is_left_alone():
    """A figure of pyplot's would stay open, and choosing a backend would change the program's."""
    before = sys.modules.get("matplotlib.pyplot")
    statistics().plot()
    assert sys.modules.get("matplotlib.pyplot") is before


def test_many_layers_can_be_drawn(tmp_path):
    values = {
        f"block_{n:03}/bn/moving_{k}": np.ones(4) for n in range(80) for k in ("mean", "variance")
    }
    path = tmp_path / "plot.png"
    figure = RunningStatistics("model.ckpt", values).plot(str(path))
    assert len(rows(figure)) == 80
    assert path.stat().st_size
