"""Health: problems are named and counted, and healthy statistics have none."""

import numpy as np
import pytest

from bnguard.statistics.health import examine
from bnguard.statistics.names import role_of
from bnguard.statistics.running_statistics import RunningStatistics


def problems(name, *value, dtype=np.float32):
    return list(examine(name, role_of(name), np.array(value, dtype)).problems)


def test_a_healthy_statistic_has_no_problems():
    assert problems("bn/moving_mean", 0, -3, 200) == []
    assert problems("bn/moving_variance", 1, 0.5, 1e6) == []


def test_a_statistic_that_never_moved_is_reported():
    assert problems("moving_mean", 0, 0) == ["never moved from its initial value 0"]
    assert problems("moving_variance", 1, 1) == ["never moved from its initial value 1"]
    assert problems("moving_mean", 1, 1) == []
    assert problems("mu", 0, 0) == []


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ((1.5, 0, 0), "zero in 2 of 3"),
        ((1.5, -1, 2), "negative in 1 of 3"),
        ((1e-37, 1.4e-14, 1e-20), "collapsed in 3 of 3"),
        ((1.5, np.nan, np.inf), "not finite in 2 of 3"),
        ((1.5, 2, 2e10), "above 1e+10 in 1 of 3"),
    ],
)
def test_impossible_elements_of_a_variance_are_counted(value, problem):
    assert problems("bn/moving_variance", *value) == [problem]


def layer(variance, mean, role="variance"):
    """The problems of a layer's variance or deviation."""
    name = {"variance": "bn/moving_variance", "deviation": "bn/renorm_stddev"}[role]
    means = {"bn/moving_mean": mean, "bn/renorm_mean": mean}
    values = {key: np.array(value, np.float32) for key, value in {**means, name: variance}.items()}
    return next(h for h in RunningStatistics("x", values).health() if h.name == name).problems


def test_a_layer_whose_whole_variance_is_below_the_rounding_of_1_has_collapsed():
    eps = np.finfo(np.float32).eps
    assert problems("bn/moving_variance", 1e-37, 0.99 * eps**2) == ["collapsed in 2 of 2"]
    assert problems("bn/moving_variance", 1e-37, 1.01 * eps**2) == []
    assert problems("bn/moving_stddev", 1e-37, 0.99 * eps) == ["collapsed in 2 of 2"]
    assert problems("bn/moving_stddev", 1e-37, 1.01 * eps) == []
    assert problems("bn/moving_mean", 1e-37, 1e-37) == []


def test_a_channel_that_varies_less_than_the_rounding_of_its_mean_has_collapsed():
    eps = np.finfo(np.float32).eps
    assert layer([1.0, (0.99 * 3 * eps) ** 2], [0, 3]) == ("collapsed in 1 of 2",)
    assert layer([1.0, (1.01 * 3 * eps) ** 2], [0, 3]) == ()
    assert layer([1.0, 0.99 * 3 * eps], [0, -3], "deviation") == ("collapsed in 1 of 2",)
    assert layer([1.0, 1.01 * 3 * eps], [0, -3], "deviation") == ()


def test_a_channel_that_is_always_zero_has_not_collapsed():
    """Both averages of a channel behind ReLU that died decay at the same rate."""
    assert layer([1.0, 1e-19], [2, 1e-22]) == ()


def test_coldness_is_a_problem_of_a_statistic_without_others():
    for value, found in ((0.5, ["cold"]), (np.inf, ["not finite in 1 of 1"])):
        health = examine("bn/moving_mean", "mean", np.array([value]), "cold")
        assert list(health.problems) == found


def test_a_mean_may_be_zero_or_negative_but_not_huge_or_non_finite():
    assert problems("bn/moving_mean", 0, -1) == []
    assert problems("bn/moving_mean", -2e5, 1) == ["above 100000 in 1 of 2"]
    assert problems("bn/moving_mean", -np.inf, 1) == ["not finite in 1 of 2"]


def test_a_count_of_updates_is_not_checked_as_a_variance():
    name = "bn/bn/moving_variance/local_step"
    assert problems(name, 1e12) == []
    assert problems(name, 0) == ["never moved from its initial value 0"]
    assert problems(name, -1) == ["negative in 1 of 1"]
    assert problems(name, np.nan) == ["not finite in 1 of 1"]
    assert problems("bn/bn/moving_variance/biased", 0.5, 0) == []


def test_the_figures_are_over_the_finite_elements():
    health = examine("bn/moving_mean", "mean", np.array([1, np.nan, 4, -np.inf], np.float32))
    assert (health.smallest, health.average, health.largest) == (1.0, 2.5, 4.0)
    assert health.shape == (4,)


def test_without_finite_elements_the_figures_are_nan():
    health = examine("bn/moving_mean", "mean", np.array([np.nan], np.float32))
    assert np.isnan([health.smallest, health.average, health.largest]).all()
    assert health.to_dict()["smallest"] == "nan"
