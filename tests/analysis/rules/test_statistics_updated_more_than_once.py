"""BN105, with what a Session makes of several updates of one statistic."""

import numpy as np
import pytest
from support.analysis.networks import dense, flag, fresh_graph, inputs, layer, loss_of, optimizer
import tensorflow.compat.v1 as tf

import bnguard

pytestmark = pytest.mark.slow

BUILDS = [("ref", "v1"), ("resource", "v1"), ("resource", "v2")]
STATISTICS = {"bn/moving_mean", "bn/moving_variance"}
DECAY = 0.01
FEEDS = {"left:0": 2 * np.eye(4), "right:0": -np.eye(4), "label:0": np.zeros([4, 4])}


def two_calls(ordered, **options):
    """Both calls update in place; if ordered, the second is given the first one's output."""
    first = layer(inputs("left"), True, updates_collections=None, decay=DECAY, **options)
    x = inputs("right") + 0.0 * first if ordered else inputs("right")
    second = layer(x, True, reuse=True, updates_collections=None, decay=DECAY, **options)
    return optimizer().minimize(loss_of(first + second), name="train")


def found(report, rule="BN105"):
    return {(f.variable, f.severity) for f in report.findings if f.rule == rule}


@pytest.mark.sampled
@pytest.mark.parametrize(("variables", "control_flow"), BUILDS)
@pytest.mark.parametrize("ordered", [False, True])
def test_what_a_session_makes_of_two_updates(variables, control_flow, ordered):
    with fresh_graph(variables, control_flow) as graph:
        train = two_calls(ordered, fused=False)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(train, FEEDS)
            (variable,) = (v for v in tf.global_variables() if "moving_variance" in v.op.name)
            variance = session.run(variable)
    a, b = (np.var(FEEDS[name], axis=0) for name in ("left:0", "right:0"))
    step = 1.0 - DECAY

    def updated(value, moment):
        return value - step * (value - moment)

    one = np.ones(4)
    in_order = updated(updated(one, a), b)
    lost_or_both = [updated(one, a), updated(one, b), one - step * (one - a) - step * (one - b)]
    # A resource variable may be read before the first update, also where the updates are ordered.
    races = not ordered or variables == "resource"
    possible = [in_order]
    if races:
        possible += [updated(updated(one, b), a), *lost_or_both]
        assert np.all(lost_or_both[-1] < 0)  # a variance
    assert any(np.allclose(variance, outcome, atol=1e-5) for outcome in possible)
    severity = "error" if races else "warning"
    assert found(bnguard.audit(graph)) == {(name, severity) for name in STATISTICS}


@pytest.mark.sampled
@pytest.mark.parametrize(("variables", "control_flow"), BUILDS)
def test_the_two_sides_of_a_branch_update_once(variables, control_flow):
    with fresh_graph(variables, control_flow) as graph:
        x, other = inputs(), tf.placeholder(tf.bool, [], "other")
        options = {"reuse": tf.AUTO_REUSE, "updates_collections": None}
        if variables == "resource":
            layer(x, False, reuse=tf.AUTO_REUSE)  # creates the variables outside of the branches
        y = tf.cond(
            other,
            lambda: layer(dense(x, "a"), True, **options),
            lambda: layer(dense(x, "b"), True, **options),
        )
        optimizer().minimize(loss_of(y))
    assert found(bnguard.audit(graph)) == set()


@pytest.mark.parametrize(
    "options", [{"zero_debias_moving_mean": True, "updates_collections": None}, {"renorm": True}]
)
def test_one_call_updates_once(options):
    with fresh_graph() as graph:
        y = layer(dense(inputs()), flag(), fused=False, **options)
        average = tf.train.ExponentialMovingAverage(0.9)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train = optimizer().minimize(loss_of(y))
        with tf.control_dependencies([train]):
            average.apply(tf.global_variables("bn"))
    assert found(bnguard.audit(graph)) == set()


def test_updates_that_the_step_does_not_run_do_not_count():
    """Only the labelled batch updates, as in semi-supervised training."""
    with fresh_graph() as graph:
        losses = []
        for name in ("labelled", "unlabelled"):
            with tf.variable_scope("network", reuse=tf.AUTO_REUSE):
                y = layer(dense(inputs(name)), True)
            losses.append(loss_of(y, f"{name}_label"))
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        with tf.control_dependencies(updates[:2]):
            optimizer().minimize(losses[0] + losses[1])
    assert found(bnguard.audit(graph)) == set()


ELEMENTS = np.random.RandomState(0).randn(5, 8, 4).astype(np.float32)
LOOP_DECAY = 0.5


def the_layer(z):
    options = {"updates_collections": None, "decay": LOOP_DECAY, "fused": False, "scope": "bn"}
    return bnguard.batch_norm(z, is_training=True, reuse=tf.AUTO_REUSE, **options)


def average_of(z, read):
    """An average with neither a layer nor its moments, which reads the variable as told."""
    with tf.variable_scope("bn", reuse=tf.AUTO_REUSE):
        mean = tf.get_variable("moving_mean", [4], initializer=tf.zeros_initializer())
    value = LOOP_DECAY * read(mean) + (1 - LOOP_DECAY) * tf.reduce_mean(z, 0)
    with tf.control_dependencies([mean.assign(value)]):
        return tf.identity(z)


def an_average(z):
    return average_of(z, lambda mean: mean)


def a_careful_average(z):
    return average_of(z, lambda mean: mean.read_value())


def in_a_while(function, x, parallel_iterations):
    return tf.while_loop(
        lambda i, _: i < 5,
        lambda i, total: (i + 1, total + function(x[i])),
        [0, tf.zeros([8, 4])],
        parallel_iterations=parallel_iterations,
    )[1]


def in_a_scan(function, x, parallel_iterations):
    return tf.scan(
        lambda _, z: function(z),
        x,
        initializer=tf.zeros([8, 4]),
        parallel_iterations=parallel_iterations,
    )


LOOPS = {"map_fn": tf.map_fn, "scan": in_a_scan, "while": in_a_while}


class TestLoops:
    def looped(self, loop, function, parallel_iterations):
        x = tf.placeholder(tf.float32, [5, 8, 4], name="x")
        y = LOOPS[loop](function, x, parallel_iterations=parallel_iterations)
        return tf.identity(y, name="y")

    def has_averaged_all(self, y):
        """Whether a Session gives the average over all elements, one after the other."""
        expected = np.zeros(4)
        for element in ELEMENTS:
            expected = LOOP_DECAY * expected + (1 - LOOP_DECAY) * element.mean(0)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(y, {"x:0": ELEMENTS})
            (mean,) = (v for v in tf.global_variables() if "moving_mean" in v.op.name)
            return bool(np.allclose(session.run(mean), expected, atol=1e-5))

    @pytest.mark.sampled
    @pytest.mark.parametrize(("variables", "control_flow"), [*BUILDS, ("ref", "v2")])
    @pytest.mark.parametrize("loop", sorted(LOOPS))
    def test_one_iteration_at_a_time(self, loop, variables, control_flow):
        """A Session says whether the elements overwrite each other; the audit says the same."""
        verdicts = {}
        for function in (the_layer, an_average, a_careful_average):
            with fresh_graph(variables, control_flow) as graph:
                y = self.looped(loop, function, parallel_iterations=1)
                is_right = self.has_averaged_all(y)
            report = bnguard.audit(graph, train_op=y, select=["BN105"])
            verdicts[function.__name__] = is_right
            assert (not found(report)) == is_right, function.__name__
            assert all("read before the loop" in f.problem for f in report.findings)
        assert verdicts["a_careful_average"]
        reads_inside = loop == "while" or (variables, control_flow) == ("ref", "v1")
        assert verdicts["the_layer"]
        assert verdicts["an_average"] == reads_inside

    @pytest.mark.sampled
    @pytest.mark.parametrize(("variables", "control_flow"), BUILDS)
    def test_iterations_that_wait_for_the_update_before(self, variables, control_flow):
        """The next element is made of the output, and so of the update, of the one before."""

        def next_element(i, z):
            with tf.control_dependencies([z]):
                return i + 1, a_careful_average(z) * 0.5

        with fresh_graph(variables, control_flow) as graph:
            x = tf.placeholder(tf.float32, [8, 4], name="x")
            loop = [lambda i, _: i < 5, next_element, [0, x]]
            y = tf.while_loop(*loop, parallel_iterations=10)[1]
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                session.run(y, {x: ELEMENTS[0]})
                (mean,) = tf.global_variables()
                value = session.run(mean)
        np.testing.assert_allclose(value, 5 * 0.5**5 * ELEMENTS[0].mean(0), rtol=1e-5)
        assert bnguard.audit(graph, train_op=y, select=["BN105"]).findings == ()
