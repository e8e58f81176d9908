"""`reestimate`: estimators, passes, shares, and what happens if something goes wrong."""

import pickle
import sys
import warnings

import numpy as np
import pytest
from support.graphs import build_with
from support.layers.layer_kinds import CHANNELS, SHAPES, contrib, flag, inputs, moments, rows
from support.samples import combinations
import tensorflow.compat.v1 as tf

import bnguard
from bnguard import BnguardError, batch_norm
from bnguard.statistics import session_values

pytestmark = pytest.mark.slow

SIZES = [4, 9, 3, 7]  # batches of different sizes


@pytest.fixture
def session(graph):
    with tf.Session() as session:
        yield session


def start(session, *builders):
    for build in builders:
        build()
    session.run(tf.global_variables_initializer())


def batches(data, sizes=SIZES):
    return np.split(data, np.cumsum(sizes)[:-1])


def feeds(data, sizes=SIZES):
    return [{"x:0": batch} for batch in batches(data, sizes)]


def values(session, pattern=""):
    return {v.op.name: session.run(v) for v in tf.global_variables() if pattern in v.op.name}


DATA = rows(SHAPES[2], sum(SIZES))


class TestEstimators:
    def test_population_is_the_moments_of_all_values(self, session):
        start(session, contrib(SHAPES[2], fused=False))
        bnguard.reestimate(session, feeds(DATA))
        after = values(session)
        mean, variance = moments(DATA)
        np.testing.assert_allclose(after["bn/moving_mean"], mean, 1e-6)
        np.testing.assert_allclose(after["bn/moving_variance"], variance, 1e-6)

    @pytest.mark.parametrize("fused", [False, True])
    @pytest.mark.parametrize("training", [flag, False])
    def test_moving_is_the_limit_of_the_layers_own_averages(self, session, fused, training):
        data = rows(SHAPES[4], sum(SIZES))
        start(session, contrib(SHAPES[4], training, fused=fused))
        bnguard.reestimate(session, feeds(data), estimator="moving")
        own = [moments(batch) for batch in batches(data)]
        counts = [batch.size // CHANNELS for batch in batches(data)]
        bessel = [n / (n - 1) if fused else 1 for n in counts]
        after = values(session)
        mean = np.mean([mean for mean, _ in own], axis=0)
        variance = np.mean([v * factor for (_, v), factor in zip(own, bessel)], axis=0)
        np.testing.assert_allclose(after["bn/moving_mean"], mean, 1e-5)
        np.testing.assert_allclose(after["bn/moving_variance"], variance, 1e-5)

    @pytest.mark.parametrize("collection", [None, tf.GraphKeys.UPDATE_OPS])
    def test_last_runs_the_updates_with_their_decay(self, session, collection):
        start(session, contrib(SHAPES[2], fused=False, decay=0.8, updates_collections=collection))
        bnguard.reestimate(session, feeds(DATA), estimator="last")
        mean, variance = np.zeros(CHANNELS), np.ones(CHANNELS)
        for batch in batches(DATA):
            mean, variance = (
                0.8 * old + 0.2 * new for old, new in zip((mean, variance), moments(batch))
            )
        after = values(session)
        np.testing.assert_allclose(after["bn/moving_mean"], mean, 1e-5)
        np.testing.assert_allclose(after["bn/moving_variance"], variance, 1e-4)

    def test_moving_averages_the_deviations_of_renormalization(self, session):
        start(session, contrib(SHAPES[2], fused=False, renorm=True))
        bnguard.reestimate(session, feeds(DATA), estimator="moving")
        own = [np.sqrt(moments(batch)[1] + 1e-3) for batch in batches(DATA)]
        found = values(session)["bn/renorm_stddev"]
        np.testing.assert_allclose(found, np.mean(own, axis=0), 1e-4)

    def test_the_weight_of_an_average_of_renormalization_becomes_1(self, session):
        """TensorFlow before 1.14 divides the average by it."""
        start(session, contrib(SHAPES[2], fused=False, renorm=True))
        weight = tf.get_variable(
            "bn/renorm_mean_weight", [], trainable=False, initializer=tf.zeros_initializer()
        )
        session.run(weight.initializer)
        bnguard.reestimate(session, feeds(DATA))
        after = values(session)
        assert after["bn/renorm_mean_weight"] == 1
        np.testing.assert_allclose(after["bn/renorm_mean"], moments(DATA)[0], 1e-5)

    def test_the_average_of_a_statistic_is_the_statistic(self, session):
        start(session, contrib(SHAPES[2], fused=False))
        tf.train.ExponentialMovingAverage(0.9).apply(tf.global_variables("bn/moving_"))
        session.run(tf.global_variables_initializer())
        bnguard.reestimate(session, feeds(DATA))
        after = values(session)
        mean, variance = moments(DATA)
        np.testing.assert_allclose(after["bn/moving_mean/ExponentialMovingAverage"], mean, 1e-5)
        np.testing.assert_allclose(
            after["bn/moving_variance/ExponentialMovingAverage"], variance, 1e-5
        )

    def test_zero_debiasing_stays_consistent(self, session):
        start(session, contrib(SHAPES[2], fused=False, zero_debias_moving_mean=True, decay=0.9))
        for batch in batches(DATA):
            feed = {"x:0": batch * 7, "is_training:0": True}
            session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS), feed)
        bnguard.reestimate(session, feeds(DATA))
        after = values(session)
        (biased,) = [value for name, value in after.items() if name.endswith("/biased")]
        (steps,) = [value for name, value in after.items() if name.endswith("/local_step")]
        assert steps == len(SIZES)
        np.testing.assert_allclose(after["bn/moving_mean"], moments(DATA)[0], 1e-5)
        debiased = biased / (1 - 0.9**steps)
        np.testing.assert_allclose(debiased, after["bn/moving_mean"], 1e-5)


def network(training, fused=False):
    """Two layers; the input of the second depends on how the first normalizes."""
    x = inputs(SHAPES[2])
    mode = training() if callable(training) else training
    y = batch_norm(x, is_training=mode, scope="one", fused=fused, scale=True)
    y = tf.nn.relu(tf.matmul(y, tf.get_variable("w", [CHANNELS, CHANNELS])), name="hidden")
    tf.identity(batch_norm(y, is_training=mode, scope="two", fused=fused), name="y")


@pytest.mark.parametrize("scale", [1.0, 1 / 20])
def test_weights_of_rows_weigh_the_moments(session, scale):
    """Weights that add up to 1 in a batch are no batch of one value."""
    x, weights = inputs(SHAPES[2]), tf.placeholder(tf.float32, [None, 1], name="weights")
    mean, variance = tf.nn.weighted_moments(x, [0], weights)
    for name, moment in (("mean", mean), ("variance", variance)):
        moving = tf.get_variable(f"bn/moving_{name}", [CHANNELS], trainable=False)
        tf.assign_sub(moving, (moving - moment) * 0.1)
    tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)
    session.run(tf.global_variables_initializer())
    weight = np.float32([[1 + row % 3] for row in range(sum(SIZES))]) * np.float32(scale)
    weight[: SIZES[0]] = 1 / SIZES[0]
    fed = zip(batches(DATA), batches(weight))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bnguard.reestimate(session, [{"x:0": batch, "weights:0": part} for batch, part in fed])
    mean = np.average(DATA.astype(np.float64), 0, weight[:, 0])
    variance = np.average((DATA - mean) ** 2, 0, weight[:, 0])
    np.testing.assert_allclose(values(session)["bn/moving_mean"], mean, 1e-5)
    np.testing.assert_allclose(values(session)["bn/moving_variance"], variance, 1e-5)


@pytest.mark.filterwarnings("ignore:.*one value for each channel:RuntimeWarning")
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_large_mean_spoils_no_variance(session, fused, size):
    """A mean in float32 has an error of up to 1e-4 here; the means of batches vary by 0.1 to 1."""
    start(session, contrib([None, 2, 1, CHANNELS] if fused else SHAPES[2], fused=fused))
    shape = (400, 2, 1, CHANNELS) if fused else (400, CHANNELS)
    data = np.float32(np.random.RandomState(2).randn(*shape) + 1000)
    bnguard.reestimate(session, feeds(data, [size] * (400 // size)))
    np.testing.assert_allclose(values(session)["bn/moving_mean"], moments(data)[0], 1e-7)
    np.testing.assert_allclose(values(session)["bn/moving_variance"], moments(data)[1], 1e-5)


class TestPasses:
    def test_a_graph_for_inference_is_estimated_layer_by_layer(self, session):
        start(session, lambda: network(False))
        seen, data = [], DATA - np.float32([3, -1, 100])
        bnguard.reestimate(session, feeds(data), progress=seen.append)
        assert {(progress.number, progress.passes) for progress in seen} == {(0, 2), (1, 2)}
        after = values(session)
        mean, variance = moments(data)
        np.testing.assert_allclose(after["one/moving_mean"], mean, 1e-5)
        np.testing.assert_allclose(after["one/moving_variance"], variance, 1e-6)
        normalized = (data - mean) / np.sqrt(variance + 1e-3)
        hidden = np.maximum(normalized @ after["w"], 0)
        np.testing.assert_allclose(after["two/moving_mean"], moments(hidden)[0], 1e-5)
        np.testing.assert_allclose(after["two/moving_variance"], moments(hidden)[1], 1e-5)
        y = session.run("y:0", {"x:0": data})
        np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)

    @pytest.mark.parametrize(("control_flow", "fused"), combinations(["v1", "v2"], [False, True]))
    def test_a_training_graph_takes_one_pass_and_an_iterator(self, session, control_flow, fused):
        with build_with("resource", control_flow):
            start(session, lambda: network(flag, fused=fused))
        seen = []
        bnguard.reestimate(session, iter(feeds(DATA)), progress=seen.append)
        assert [(progress.passes, progress.step) for progress in seen] == [
            (1, step) for step in range(len(SIZES))
        ]

    def test_an_iterator_for_several_passes_is_refused(self, session):
        start(session, lambda: network(False))
        with pytest.raises(BnguardError, match="can be read once"):
            bnguard.reestimate(session, iter(feeds(DATA)))

    def test_inference_equals_training_mode_on_one_batch(self, session):
        start(session, lambda: network(flag))
        bnguard.reestimate(session, feeds(DATA, [len(DATA)]))
        trained, inferred = (
            session.run("y:0", {"x:0": DATA, "is_training:0": mode}) for mode in (True, False)
        )
        np.testing.assert_allclose(trained, inferred, atol=1e-5)


class TestNothingElseChanges:
    def test_every_variable_is_bit_identical(self, session):
        def trained():
            network(flag)
            step = tf.train.get_or_create_global_step()
            noise = tf.random_normal([CHANNELS], seed=3)
            loss = tf.reduce_mean(tf.square(session.graph.get_tensor_by_name("y:0") + noise))
            with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
                tf.train.AdamOptimizer().minimize(loss, step, name="train")

        start(session, trained)
        session.run("train", {"x:0": DATA, "is_training:0": True})
        before = values(session)
        operations = len(session.graph.get_operations())
        bnguard.reestimate(session, feeds(DATA))
        assert len(session.graph.get_operations()) == operations
        after = values(session)
        for name, value in after.items():
            is_statistic = "moving_" in name
            assert (value.tobytes() == before[name].tobytes()) != is_statistic, name

    @pytest.mark.parametrize("wrong", [np.nan, "text", np.zeros([2, 7])])
    def test_a_bad_batch_changes_nothing(self, session, wrong):
        start(session, lambda: network(flag))
        before = values(session)
        bad = DATA * wrong if isinstance(wrong, float) else wrong
        with pytest.raises(BnguardError) as raised:
            bnguard.reestimate(session, [*feeds(DATA), {"x:0": bad}])
        assert "\n" not in str(raised.value)
        assert all(value.tobytes() == before[n].tobytes() for n, value in values(session).items())

    @pytest.mark.parametrize("interrupted", ["measure", "write"])
    def test_ctrl_c_changes_nothing(self, session, interrupted, monkeypatch):
        start(session, lambda: network(flag))
        before = values(session)

        def press(progress):
            if progress.step == 2:
                raise KeyboardInterrupt

        write, calls = session_values.write, []

        def write_half(to, statistics, new):
            calls.append(len(statistics))
            write(to, statistics[:2] if len(calls) == 1 else statistics, new)
            if len(calls) == 1:
                raise KeyboardInterrupt

        if interrupted == "write":
            monkeypatch.setattr(session_values, "write", write_half)
        progress = press if interrupted == "measure" else None
        with pytest.raises(KeyboardInterrupt):
            bnguard.reestimate(session, feeds(DATA), progress=progress)
        assert calls == ([4, 4] if interrupted == "write" else [])
        assert all(value.tobytes() == before[n].tobytes() for n, value in values(session).items())

    def test_only_the_scope_is_estimated(self, session):
        start(session, lambda: network(flag))
        difference = bnguard.reestimate(session, feeds(DATA), scope="two")
        assert {change.name for change in difference.changed} == {
            "two/moving_mean",
            "two/moving_variance",
        }


class TestShares:
    def test_merged_shares_equal_one_run(self, session):
        start(session, lambda: network(flag))
        parts = [bnguard.measure_moments(session, [feed]) for feed in feeds(DATA)]
        parts = [pickle.loads(pickle.dumps(part)) for part in parts]
        merged = parts[2].merge(parts[0]) + parts[3].merge(parts[1])
        whole = bnguard.measure_moments(session, feeds(DATA))
        assert merged.steps == whole.steps == len(SIZES)
        for ours, theirs in zip(merged.values, whole.values):
            np.testing.assert_allclose(ours, theirs, 1e-12)
        for estimator in ("population", "moving"):
            bnguard.assign_moments(session, merged, estimator=estimator)
            by_shares = values(session, "moving_")
            bnguard.reestimate(session, feeds(DATA), estimator=estimator)
            for name, value in values(session, "moving_").items():
                np.testing.assert_allclose(value, by_shares[name], 1e-6)

    def test_a_foreign_share_is_refused(self, session):
        start(session, lambda: network(flag))
        first = bnguard.measure_moments(session, feeds(DATA))
        session.run(tf.assign_add(tf.global_variables("w")[0], np.ones([3, 3])))
        second = bnguard.measure_moments(session, feeds(DATA))
        with pytest.raises(BnguardError, match=r"merge: the (graph|variables) of one"):
            first.merge(second)


class TestWhatIsTold:
    def test_what_cannot_be_estimated_is_named_with_the_reason(self, session):
        def build():
            network(flag)
            other = tf.placeholder(tf.float32, SHAPES[2], name="other")
            batch_norm(other, is_training=True, scope="three", fused=False)
            tf.get_variable("four/moving_mean", [2], trainable=False)
            tf.while_loop(
                lambda step, _: step < 2,
                lambda step, h: (step + 1, batch_norm(h, is_training=True, scope="five")),
                (tf.constant(0), session.graph.get_tensor_by_name("hidden:0")),
            )

        start(session, build)
        with pytest.warns(RuntimeWarning) as caught:
            bnguard.reestimate(session, feeds(DATA))
        told = str(caught[-1].message)
        assert "three/moving_mean: not estimated: its layer needs the placeholder other" in told
        assert "five/moving_mean: not estimated: its layer is inside a loop" in told
        after = values(session)
        assert not after["three/moving_mean"].any()
        assert after["one/moving_mean"].any()

    def test_statistics_that_another_network_with_these_weights_reads(self, session):
        """Training uses gamma and beta with the moments of the batch: nothing has adapted."""
        x = inputs(SHAPES[2])
        y = batch_norm(x, is_training=True, scope="bn", fused=False, scale=True)
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(tf.square(y - x)))
        beta, gamma = tf.trainable_variables()
        mean, variance = (
            tf.get_variable(f"other/moving_{name}", [CHANNELS], trainable=False)
            for name in ("mean", "variance")
        )
        tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)
        session.run(tf.global_variables_initializer())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            bnguard.reestimate(session, feeds(DATA))
        np.testing.assert_allclose(values(session)["other/moving_mean"], moments(DATA)[0], 1e-5)

    def test_a_channel_that_never_varies(self, session):
        start(session, contrib(SHAPES[2], fused=False))
        data = DATA.copy()
        data[:, 1] = 5
        with pytest.warns(RuntimeWarning, match="1 of 3 channels never vary"):
            bnguard.reestimate(session, feeds(data))

    def test_batches_of_one_value(self, session):
        start(session, contrib(SHAPES[2], fused=False))
        with pytest.warns(RuntimeWarning, match="2 of 3 batches have one value for each channel"):
            bnguard.reestimate(session, feeds(DATA[:10], [1, 8, 1]))
        np.testing.assert_allclose(
            values(session)["bn/moving_variance"], moments(DATA[:10])[1], 1e-5
        )

    def test_healthy_layers_give_no_warning(self, session):
        start(session, lambda: network(flag))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            bnguard.reestimate(session, feeds(DATA))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"feeds": 0}, "expected at least 1"),
            ({"feeds": []}, "there is no batch"),
            ({"feeds": {"x:0": 1}}, "expected an iterable of feed dicts"),
            ({"feeds": [3]}, "got a int as one batch"),
            ({"feeds": [{"nosuch": 1}]}, "no tensor of the session's graph"),
            ({"estimator": "best"}, "expected one of population, moving, last"),
            ({"training": True}, "expected a feed dict"),
            ({"training": {"nosuch:0": True}}, "no tensor is called 'nosuch:0'"),
            ({"scope": "nosuch"}, "no running statistics found in scope"),
            ({"progress": "yes"}, "expected a function"),
        ],
    )
    def test_a_wrong_argument_is_one_line(self, session, arguments, message):
        start(session, lambda: network(flag))
        with pytest.raises(BnguardError, match=message) as raised:
            bnguard.reestimate(session, **{"feeds": feeds(DATA), **arguments})
        assert "\n" not in str(raised.value)


def test_progress_is_one_line_on_a_terminal_alone(session, monkeypatch, capsys):
    start(session, lambda: network(False))
    bnguard.reestimate(session, feeds(DATA))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bnguard.reestimate(session, feeds(DATA))
    lines = capsys.readouterr().err.split("\r\x1b[K")
    assert lines[1] == "measuring pass 1 of 2, batch 1 of 4"
    assert lines[-1] == "measuring pass 2 of 2, batch 4 of 4\n"
    bnguard.reestimate(session, feeds(DATA), progress=False)
    assert capsys.readouterr().err == ""


def test_a_graph_that_reads_its_own_data(session):
    data = tf.data.Dataset.from_tensor_slices(DATA).batch(5)
    iterator = tf.data.make_initializable_iterator(data)
    batch_norm(iterator.get_next(), is_training=flag(), scope="bn", fused=False)
    session.run([tf.global_variables_initializer(), iterator.initializer])
    first = session.run(iterator.get_next())
    bnguard.reestimate(session, np.int64(3))
    np.testing.assert_allclose(values(session)["bn/moving_mean"], DATA[:15].mean(0), 1e-5)
    assert not np.array_equal(first, session.run(iterator.get_next()))  # its place is its own


@pytest.mark.skipif(sys.version_info >= (3, 8), reason="tf.contrib is in TensorFlow 1.x only")
class TestContrib:
    @pytest.mark.parametrize("fused", [False, True])
    @pytest.mark.parametrize("training", [True, False, None])
    def test_contribs_own_layer(self, session, fused, training):
        from tensorflow.contrib import layers

        x = inputs(SHAPES[4])
        mode = flag() if training is None else training
        layers.batch_norm(x, is_training=mode, scope="bn", fused=fused)
        session.run(tf.global_variables_initializer())
        data = rows(SHAPES[4], sum(SIZES))
        bnguard.reestimate(session, feeds(data))
        np.testing.assert_allclose(values(session)["bn/moving_mean"], moments(data)[0], 1e-5)
        np.testing.assert_allclose(values(session)["bn/moving_variance"], moments(data)[1], 1e-5)

    def test_batch_weights(self, session):
        from tensorflow.contrib import layers

        x, weights = inputs(SHAPES[4]), tf.placeholder(tf.float32, [None], name="weights")
        layers.batch_norm(x, is_training=True, scope="bn", batch_weights=weights, fused=False)
        session.run(tf.global_variables_initializer())
        data = rows(SHAPES[4], sum(SIZES))
        weight = np.arange(len(data), dtype=np.float32)
        bnguard.reestimate(
            session,
            [
                {"x:0": batch, "weights:0": part}
                for batch, part in zip(batches(data), batches(weight))
            ],
        )
        flat, repeated = data.reshape(-1, CHANNELS).astype(np.float64), np.repeat(weight, 20)
        mean = np.average(flat, 0, repeated)
        variance = np.average((flat - mean) ** 2, 0, repeated)
        np.testing.assert_allclose(values(session)["bn/moving_mean"], mean, 1e-5)
        np.testing.assert_allclose(values(session)["bn/moving_variance"], variance, 1e-5)
