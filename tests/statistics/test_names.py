"""The role of a variable by its name."""

import pytest

from bnguard.statistics.names import mean_beside, role_of


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("moving_mean", "mean"),
        ("resnet/bn_1/moving_variance", "variance"),
        ("bn/moving_stddev", "deviation"),
        ("bn/renorm_mean", "mean"),
        ("bn/renorm_stddev", "deviation"),
        ("bn/renorm_mean_weight", "count"),
        ("bn/renorm_stddev_weight", "count"),
        ("bn/moving_var_1", "variance"),
        ("bn/bn/moving_mean/biased", "biased"),
        ("moving_mean/local_step", "count"),
        ("bn/gamma", "unknown"),
        ("bn/moving_mean/Adam", "unknown"),
        ("bn/biased", "unknown"),
        ("local_step", "unknown"),
        ("w/ExponentialMovingAverage", "unknown"),
        ("w/ExponentialMovingAverage/biased", "unknown"),
        ("bn/gamma/ExponentialMovingAverage", "unknown"),
        ("loss/Mean/ExponentialMovingAverage", "unknown"),
        ("bn/moving_mean/ExponentialMovingAverage", "mean"),
        ("bn/bn/moving_variance/ExponentialMovingAverage", "variance"),
        ("bn/moving_mean/ExponentialMovingAverage/biased", "biased"),
        ("bn/moments/Squeeze/ExponentialMovingAverage", "mean"),
        ("bn_1/moments_2/Squeeze_1/ExponentialMovingAverage_1", "variance"),
        ("moments/moments_1/mean/ExponentialMovingAverage", "mean"),
        ("moments/normalize/variance/ExponentialMovingAverage", "variance"),
        ("moments/normalize/variance/ExponentialMovingAverage/local_step", "count"),
        ("net/batch_var/ExponentialMovingAverage", "variance"),
        ("net/FusedBatchNormV3/ExponentialMovingAverage", "mean"),
        ("net/FusedBatchNormV3_1/ExponentialMovingAverage_1", "variance"),
    ],
)
def test_the_name_determines_the_role(name, role):
    assert role_of(name) == role


def test_companions_of_a_statistic_with_any_name_have_a_role():
    assert role_of("net/net/mu/biased", ["net/mu"]) == "biased"
    assert role_of("net/mu/local_step", ["net/mu"]) == "count"
    assert role_of("net/menu/local_step", ["nu"]) == "unknown"


def test_the_mean_beside_a_variance_has_its_name():
    for name, mean in (
        ("bn/moving_variance", "bn/moving_mean"),
        ("bn/moving_var_1", "bn/moving_mean_1"),
        ("bn/renorm_stddev", "bn/renorm_mean"),
        ("moving_variance/ExponentialMovingAverage", "moving_mean/ExponentialMovingAverage"),
        ("bn/moving_mean", "bn/moving_mean"),
    ):
        assert mean_beside(name) == mean
