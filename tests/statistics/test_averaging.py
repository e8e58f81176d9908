"""The average of running statistics, against the moments of all data, and its assignment."""

import numpy as np
import pytest
from support.programs import tf1_programs as programs
from support.programs.tf1_programs import VARIABLE_CLASSES, fails_with
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.statistics import RunningStatistics

pytestmark = pytest.mark.slow

EPSILON = 1e-3
ROWS = (4, 10, 6)
RANDOM = np.random.RandomState(3)
DATA = [RANDOM.normal(5 * rank, 1 + rank, [rows, 2]) for rank, rows in enumerate(ROWS)]
TOGETHER = np.concatenate(DATA)


def statistics(name, **values):
    return RunningStatistics(name, {f"bn/{key}": value for key, value in values.items()})


def of_data(rank, dtype=np.float64):
    rows = DATA[rank]
    return statistics(
        f"rank {rank}",
        moving_mean=rows.mean(0).astype(dtype),
        moving_variance=rows.var(0).astype(dtype),
        moving_stddev=np.sqrt(rows.var(0) + EPSILON).astype(dtype),
        renorm_mean=rows.mean(0).astype(dtype),
        renorm_stddev=np.sqrt(rows.var(0) + EPSILON).astype(dtype),
        renorm_mean_weight=np.array(0.5 + rank / 10, dtype),
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_the_average_is_that_of_all_data_together(dtype):
    result = bnguard.average([of_data(rank, dtype) for rank in range(3)], weights=ROWS)
    tolerance = {np.float64: 1e-12, np.float32: 1e-6, np.float16: 5e-3}[dtype]
    deviation = np.sqrt(TOGETHER.var(0) + EPSILON)
    expected = {
        "bn/moving_mean": TOGETHER.mean(0),
        "bn/moving_variance": TOGETHER.var(0),
        "bn/moving_stddev": deviation,
        "bn/renorm_mean": TOGETHER.mean(0),
        "bn/renorm_stddev": deviation,
        "bn/renorm_mean_weight": np.array(0.7),
    }
    assert set(result) == set(expected)
    for name, value in expected.items():
        assert result[name].dtype == dtype
        np.testing.assert_allclose(result[name], value, rtol=tolerance, err_msg=name)
    assert result.source == "the average of rank 0 and rank 1 and rank 2"


def test_equal_weights_are_those_of_equal_amounts_of_data():
    halves = np.split(TOGETHER, 2)
    result = bnguard.average(
        [statistics("a", moving_mean=h.mean(0), moving_variance=h.var(0)) for h in halves]
    )
    np.testing.assert_allclose(result["bn/moving_variance"], TOGETHER.var(0), rtol=1e-12)
    assert (result["bn/moving_variance"] > np.mean([half.var(0) for half in halves], 0) + 1).all()


def test_one_source_is_its_own_average():
    assert bnguard.average([of_data(1)]) == of_data(1)


@pytest.mark.parametrize(
    ("mean", "variance"),
    [
        ("moments/mean/ExponentialMovingAverage", "moments/variance/ExponentialMovingAverage"),
        ("moments/Squeeze/ExponentialMovingAverage", "moments/Squeeze_1/ExponentialMovingAverage"),
        ("FusedBatchNorm/ExponentialMovingAverage", "FusedBatchNorm/ExponentialMovingAverage_1"),
        ("running_mean", "running_var"),
    ],
)
def test_the_mean_of_a_variance_is_found_in_its_layer(mean, variance):
    taken = [
        RunningStatistics(
            "a",
            {
                **{f"one/{mean}": rows.mean(0), f"one/{variance}": rows.var(0)},
                **{f"two/{mean}": 100 * rows.mean(0), f"two/{variance}": rows.var(0)},
            },
        )
        for rows in DATA
    ]
    result = bnguard.average(taken, ROWS)
    np.testing.assert_allclose(result[f"one/{variance}"], TOGETHER.var(0), rtol=1e-12)


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_zero_debiased_statistics_of_ranks_train_on_as_the_average(variables):
    """The closed form: m <- (b <- d b + (1 - d) mean) / (1 - d ** updates), for the average too."""
    decay, ranks = programs.DECAY, []
    for rank in range(2):
        with programs.session(variables, programs.layers, zero_debias_moving_mean=True) as (
            session,
            layers,
        ):
            for _ in range(3):
                programs.train(session, layers, programs.BATCH * (rank + 1))
            ranks.append(bnguard.snapshot(session, scope="one"))
    result = bnguard.average(ranks)
    with programs.session(variables, programs.layers, zero_debias_moving_mean=True) as (
        session,
        layers,
    ):
        changed = bnguard.assign_statistics(session, result).changed
        assert {change.name for change in changed} == set(result)
        assert bnguard.snapshot(session, scope="one") == result
        programs.train(session, layers)
        after = bnguard.snapshot(session)["one/moving_mean"]
    batch = programs.BATCH.mean(0)
    biased = 0
    for mean in (1.5 * batch, 1.5 * batch, 1.5 * batch, batch):
        biased = decay * biased + (1 - decay) * mean
    np.testing.assert_allclose(after, biased / (1 - decay**4), rtol=1e-5)


@pytest.mark.parametrize("variables", VARIABLE_CLASSES)
def test_checkpoints_are_averaged_and_assigned_to_a_session(variables, tmp_path):
    paths, trained = [], []
    for rank in range(2):
        with programs.session(variables) as (session, layers):
            programs.train(session, layers, programs.BATCH * (rank + 1))
            trained.append(bnguard.snapshot(session))
            paths.append(session.saver.save(session, str(tmp_path / f"rank{rank}")))
    result = bnguard.average(paths)
    for layer in ("one", "two"):
        means, variances = (
            np.array([each[f"{layer}/moving_{role}"] for each in trained], np.float64)
            for role in ("mean", "variance")
        )
        pooled = variances.mean(0) + means.var(0)
        np.testing.assert_allclose(result[f"{layer}/moving_mean"], means.mean(0), rtol=1e-6)
        np.testing.assert_allclose(result[f"{layer}/moving_variance"], pooled, rtol=1e-6)
    with programs.session(variables) as (session, _):  # its graph is finalized
        difference = bnguard.assign_statistics(session, result)
        assert bnguard.snapshot(session) == result
        assert [change.name for change in difference.changed] == sorted(result)
        assert not bnguard.assign_statistics(session, result)
        part = {"two/moving_mean": [7.0, 8.0]}
        (change,) = bnguard.assign_statistics(session, part).changed
        assert change.name == "two/moving_mean"
        np.testing.assert_array_equal(bnguard.snapshot(session)["two/moving_mean"], [7.0, 8.0])


def test_a_failed_assignment_leaves_every_value(monkeypatch):
    with programs.session() as (session, layers):
        programs.train(session, layers)
        before = bnguard.snapshot(session)
        run, calls = session.run, []

        def fails_once(*arguments, **options):
            calls.append(arguments)
            result = run(*arguments, **options)
            if len(calls) == 2:  # the first reads, the second assigns
                raise KeyboardInterrupt
            return result

        monkeypatch.setattr(session, "run", fails_once)
        with pytest.raises(KeyboardInterrupt):
            bnguard.assign_statistics(session, {name: value + 1 for name, value in before.items()})
        assert len(calls) >= 3
        assert bnguard.snapshot(session) == before


def test_an_invalid_assignment_is_refused_in_one_line():
    with programs.session() as (session, _):
        before = bnguard.snapshot(session)
        with fails_with("one/gamma: not a running statistic", "expected some of one/moving_mean"):
            bnguard.assign_statistics(session, {"one/gamma": [1.0, 1.0]})
        with fails_with("one/moving_mean: got a value of the shape [3]; expected [2]"):
            bnguard.assign_statistics(session, {"one/moving_mean": [1.0, 2.0, 3.0]})
        with fails_with("no value: not a running statistic"):
            bnguard.assign_statistics(session, {})
        assert bnguard.snapshot(session) == before
    with fails_with("'model.ckpt': not a session"):
        bnguard.assign_statistics("model.ckpt", before)


def test_sources_that_do_not_fit_are_refused_in_one_line():
    first, second = of_data(0), of_data(1)
    less = RunningStatistics("half", {"bn/moving_mean": first["bn/moving_mean"]})
    for sources in ([first, less], [less, first]):
        with fails_with("average: half has no bn/moving_stddev", "Select a scope"):
            bnguard.average(sources)
    wide = statistics("wide", moving_mean=np.zeros(3))
    with fails_with("bn/moving_mean has the shape [3] in wide, and [2] in half"):
        bnguard.average([less, wide])
    broken = RunningStatistics("broken", {"bn/moving_mean": [np.nan, 1.0]})
    with fails_with("bn/moving_mean of broken has values that are not finite"):
        bnguard.average([less, broken])
    lonely = RunningStatistics("lonely", {"bn/moving_variance": [1.0, 1.0]})
    with fails_with("bn/moving_variance: 0 means that may belong to this variance"):
        bnguard.average([lonely, lonely])
    for weights in ([1], [1, -1], [0, 0], [1, np.nan], [1, np.inf]):
        with fails_with("weights: got", "expected 2 numbers of at least 0"):
            bnguard.average([first, second], weights)
    for sources in ("model.ckpt", [], None):
        with fails_with("expected a list of sessions, checkpoints or snapshots"):
            bnguard.average(sources)


def test_a_scope_selects_the_statistics(graph):
    with tf.Session() as session:
        for scope in ("a", "b"):
            with tf.variable_scope(scope):
                programs.layers()
        session.run(tf.global_variables_initializer())
        result = bnguard.average([session, session], scope="b/one")
    assert list(result) == ["b/one/moving_mean", "b/one/moving_variance"]
