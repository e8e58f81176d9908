"""BN304: what is left of the initial values, against sessions that start from other values."""

import re

from conftest import COMBINATIONS
import numpy as np
import pytest
from support.analysis import networks
from support.analysis.networks import fresh_graph, inputs, layer, loss_of
from support.samples import combinations
import tensorflow.compat.v1 as tf

import bnguard

pytestmark = pytest.mark.slow

TENSORFLOW = tuple(map(int, tf.__version__.split(".")[:2]))


def trained(folder, build, steps, start=None):
    """Train what `build` builds and save it; the prefix of the checkpoint, and the statistics.

    Args:
      folder: where the checkpoint goes.
      build: builds the graph and returns the train op.
      steps: how often the train op runs.
      start: what the statistics start from, if not from their initial values.
    """
    ((prefix, statistics),) = trained_from(folder, build, steps, [start])
    return prefix, statistics


def trained_from(folder, build, steps, starts):
    """Yield what `trained` returns for each start; the runs have the same graph and data."""
    with fresh_graph(*build.graph) as graph:
        train, initialize, saver = build(), tf.global_variables_initializer(), tf.train.Saver()
        statistics = [v for v in tf.global_variables() if re.search(build.statistics, v.op.name)]
        assert statistics
        names = {op.name for op in graph.get_operations()}
        mode = {"is_training:0": True} if "is_training" in names else {}
        for start in starts:
            random = np.random.RandomState(1)
            with tf.Session() as session:
                session.run(initialize)
                if start is not None:
                    for variable in statistics:
                        variable.load(np.full(variable.shape, start, np.float32), session)
                for _ in range(steps):
                    batch = {name: random.normal(3, 2, [8, 4]) for name in ("x:0", "label:0")}
                    session.run(train, {**batch, **mode})
                prefix = saver.save(session, str(folder / f"model from {start}"))
                yield prefix, {v.op.name: session.run(v) for v in statistics}


def reported(prefix):
    """The percentages that the rule reports, by statistic."""
    findings = bnguard.audit(f"{prefix}.meta", checkpoint=prefix, select=["BN304"]).findings
    percent = re.compile(r"(\d+) % of the initial value is left")
    return {f.variable: int(percent.search(f.problem).group(1)) for f in findings}


def builder(statistics="moving_(mean|variance)$", graph=("ref", "v1")):
    def decorate(build):
        build.statistics, build.graph = statistics, graph
        return build

    return decorate


def minimize(y, step=None, **options):
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        optimizer = options.get("optimizer") or tf.train.GradientDescentOptimizer(1e-9)
        return optimizer.minimize(loss_of(y), global_step=step)


def of_layer(graph=("ref", "v1"), **options):
    @builder(graph=graph)
    def build():
        step = tf.train.get_or_create_global_step()
        return minimize(layer(inputs(), networks.flag(), **{"decay": 0.99, **options}), step)

    return build


def average(variable, value, decay):
    return tf.assign(variable, variable * decay + value * (1 - decay))


def written_out(update, statistics="moving_(mean|variance)$"):
    """A layer of single ops, whose statistics `update` moves."""

    @builder(statistics)
    def build():
        x = inputs()
        mean, variance = tf.nn.moments(x, [0])
        pairs = [
            (tf.get_variable(name, initializer=[start] * 4, trainable=False), moment)
            for name, start, moment in (
                ("bn/moving_mean", 0.0, mean),
                ("bn/moving_variance", 1.0, variance),
            )
        ]
        for pair in pairs:
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update(*pair))
        gamma = tf.get_variable("bn/gamma", initializer=[1.0] * 4)
        y = tf.nn.batch_normalization(x, mean, variance, None, gamma, 1e-3)
        statistics = [variable for variable, _ in pairs]
        tf.nn.batch_normalization(x, *statistics, None, gamma, 1e-3, name="inference")
        return minimize(y, tf.train.get_or_create_global_step())

    return build


def decay_variable():
    return tf.get_variable("decay", initializer=0.98, trainable=False)


AVERAGES = {
    "assign": lambda v, m: average(v, m, 0.97),
    "assign_sub": lambda v, m: tf.assign_sub(v, (v - m) * 0.03),
    "assign_sub, factor first": lambda v, m: tf.assign_sub(v, 0.03 * (v - m)),
    "assign_add": lambda v, m: tf.assign_add(v, (m - v) / 20.0),
    "negated": lambda v, m: tf.assign_add(v, -((v - m) * 0.03)),
    "computed decay": lambda v, m: tf.assign_sub(v, (v - m) * (1.0 - tf.constant(0.97))),
    "two terms": lambda v, m: tf.assign(v, tf.add_n([0.5 * v, 0.45 * v, 0.05 * m])),
    "only where there are rows": lambda v, m: tf.assign(
        v, tf.where(tf.fill([4], tf.shape(m)[0] > 0), 0.97 * v + 0.03 * m, v)
    ),
}


@pytest.mark.parametrize(("form", "steps"), combinations(AVERAGES, [5, 40, 20]))
def test_the_share_is_that_of_a_session_however_the_average_is_written(form, steps, tmp_path):
    assert_shares(tmp_path, written_out(AVERAGES[form]), steps, count=2)


@pytest.mark.parametrize(("graph", "fused"), combinations(COMBINATIONS, [True, False]))
def test_the_share_is_that_of_a_session_for_a_layer(graph, fused, tmp_path):
    assert_shares(tmp_path, of_layer(graph, fused=fused), 30, count=2)


def test_the_layers_of_tf_layers(tmp_path):
    layers = getattr(tf.layers, "batch_normalization", None) if TENSORFLOW < (2,) else None
    if layers is None:
        pytest.skip("this TensorFlow has no tf.layers")

    @builder()
    def build():
        y = tf.layers.batch_normalization(inputs(), training=networks.flag(), momentum=0.98)
        return minimize(y, tf.train.get_or_create_global_step())

    assert_shares(tmp_path, build, 30, count=2)


def test_a_fused_op_that_averages(tmp_path):
    if TENSORFLOW < (2, 4):
        pytest.skip("the fused op of this TensorFlow does not average")

    @builder(graph=("resource", "v2"))
    def build():
        gamma = tf.get_variable("bn/gamma", initializer=[1.0] * 4)
        mean, variance = (
            tf.get_variable(f"bn/moving_{role}", initializer=[start] * 4, trainable=False)
            for role, start in (("mean", 0.0), ("variance", 1.0))
        )
        y, new_mean, new_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs()[:, None, None, :],
            scale=gamma,
            offset=[0.0] * 4,
            mean=mean,
            variance=variance,
            exponential_avg_factor=0.03,
            is_training=True,
        )
        for variable, value in ((mean, new_mean), (variance, new_variance)):
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign(variable, value))
        return minimize(y[:, 0, 0], tf.train.get_or_create_global_step())

    assert_shares(tmp_path, build, 30, count=2)


def test_a_decay_that_is_a_variable_has_its_stored_value(tmp_path):
    def update(variable, moment):
        with tf.variable_scope("", reuse=tf.AUTO_REUSE):
            return average(variable, moment, decay_variable())

    assert_shares(tmp_path, written_out(update), 40, count=2)


def test_two_updates_in_a_step_count_twice(tmp_path):
    def update(variable, moment):
        first = tf.assign_sub(variable, (variable - moment) * 0.03)
        with tf.control_dependencies([first]):
            return tf.assign_sub(variable, (variable - moment) * 0.03)

    assert_shares(tmp_path, written_out(update), 20, count=2)


def test_averages_of_moments_under_other_names(tmp_path):
    @builder("ExponentialMovingAverage$")
    def build():
        x = inputs()
        mean, variance = tf.nn.moments(x, [0])
        moments = tf.train.ExponentialMovingAverage(0.98)
        update = moments.apply([mean, variance])
        gamma = tf.get_variable("gamma", initializer=[1.0] * 4)
        tf.nn.batch_normalization(
            x, moments.average(mean), moments.average(variance), None, gamma, 1e-3, name="inference"
        )
        y = tf.nn.batch_normalization(x, mean, variance, None, gamma, 1e-3)
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        return minimize(y, tf.train.get_or_create_global_step())

    assert_shares(tmp_path, build, 30, count=2)


@pytest.mark.parametrize("steps", [12, 300])
def test_adam_counts_steps_without_a_counter(steps, tmp_path):
    @builder()
    def build():
        y = layer(inputs(), networks.flag(), decay=0.999)
        return minimize(y, optimizer=tf.train.AdamOptimizer(1e-9))

    prefix, _ = trained(tmp_path, build, steps)
    left = round(100 * 0.999**steps)
    assert reported(prefix) == {"bn/moving_mean": left, "bn/moving_variance": left}


class TestNotCold:
    def test_the_bound_is_5_percent(self, tmp_path):
        for steps, is_cold in ((298, True), (299, False)):  # 0.99 ** 298.07 is 0.05
            assert (0.99**steps > 0.05) is is_cold
            prefix, _ = trained(tmp_path, of_layer(), steps)
            assert bool(reported(prefix)) is is_cold

    def test_a_mean_without_bias_is_not_cold(self, tmp_path):
        prefix, _ = trained(tmp_path, of_layer(zero_debias_moving_mean=True, fused=False), 30)
        assert set(reported(prefix)) == {"bn/moving_variance"}

    def test_a_step_that_does_not_count_itself_says_nothing(self, tmp_path):
        @builder()
        def build():
            return minimize(layer(inputs(), networks.flag(), decay=0.999))

        assert reported(trained(tmp_path, build, 5)[0]) == {}

    def test_a_rate_that_decays_from_another_value_counts_nothing(self, tmp_path):
        @builder()
        def build():
            train = minimize(layer(inputs(), networks.flag(), decay=0.999))
            rate = tf.get_variable("rate", initializer=10.0, trainable=False)
            return tf.group(train, tf.assign(rate, rate * 0.9))

        assert reported(trained(tmp_path, build, 30)[0]) == {}

    def test_an_untrained_checkpoint_says_nothing(self, tmp_path):
        assert reported(trained(tmp_path, of_layer(), 0)[0]) == {}

    def test_a_decay_that_grows_with_the_steps_says_nothing(self, tmp_path):
        def update(variable, moment):
            step = tf.cast(tf.train.get_or_create_global_step(), tf.float32)
            return average(variable, moment, tf.minimum(0.999, (1.0 + step) / (10.0 + step)))

        assert reported(trained(tmp_path, written_out(update), 30)[0]) == {}

    def test_updates_that_no_step_runs_say_nothing(self, tmp_path):
        @builder()
        def build():
            step = tf.train.get_or_create_global_step()
            loss = loss_of(layer(inputs(), networks.flag(), decay=0.99))
            return networks.optimizer().minimize(loss, global_step=step)

        assert reported(trained(tmp_path, build, 5)[0]) == {}

    @pytest.mark.parametrize(("start", "is_cold"), [(0.2, False), (5.0, True)])
    def test_a_layer_that_started_from_other_values_says_nothing(self, start, is_cold, tmp_path):
        build = of_layer(decay=0.999)  # 20 updates leave 98 %, and add at most 2 % of 7
        prefix, statistics = trained(tmp_path, build, 20, start=start)
        assert (statistics["bn/moving_variance"].min() < 0.98) is not is_cold
        assert bool(reported(prefix)) is is_cold

    def test_without_a_checkpoint_nothing_is_known(self, tmp_path):
        prefix, _ = trained(tmp_path, of_layer(), 5)
        assert bnguard.audit(f"{prefix}.meta", select=["BN304"]).findings == ()


def test_two_steps_with_one_counter_count_once(tmp_path):
    """As of a GAN: both steps move the statistics, and one passes the global step."""

    def both(pass_on):
        @builder()
        def build():
            step = tf.train.get_or_create_global_step()
            y = layer(inputs(), True, decay=0.99)
            first = minimize(y, step)
            minimize(y * 2.0, step if pass_on else None)
            return first

        return build

    prefix, _ = trained(tmp_path, both(True), 30)
    left = round(100 * 0.99**30)
    assert reported(prefix) == {"bn/moving_mean": left, "bn/moving_variance": left}
    prefix, _ = trained(tmp_path, both(False), 30)
    assert reported(prefix) == {}


def test_the_finding_says_what_to_do(tmp_path):
    prefix, _ = trained(tmp_path, of_layer(decay=0.999), 100)
    first, _ = bnguard.audit(f"{prefix}.meta", checkpoint=prefix, select=["BN304"]).findings
    assert "90 % of the initial value is left after 100 updates with a decay of 0.999" in str(first)
    updates, decay = re.search(
        r"until there are (\d+) .* of at most (0\.\d+)", first.remedy
    ).groups()
    assert 0.999 ** int(updates) <= 0.05 < 0.999 ** (int(updates) - 1)
    assert float(decay) ** 100 == pytest.approx(0.05, rel=0.1)


def assert_shares(folder, build, steps, count):
    """Compare the reported shares with those of a session.

    Two runs on the same data differ only in where the statistics started.
    """
    far = 1000.0
    (_, high), (prefix, usual) = trained_from(folder, build, steps, [far, None])
    expected = {}
    for name, value in usual.items():
        initial = 0.0 if "mean" in name or "moments/Squeeze/" in name else 1.0
        expected[name] = round(100 * float(np.mean(high[name] - value)) / (far - initial))
    assert len(expected) == count
    assert all(5 < percent < 100 for percent in expected.values())
    assert reported(prefix) == expected
