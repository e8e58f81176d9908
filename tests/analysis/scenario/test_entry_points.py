"""Which fetches, flags and train ops are found where nobody says them: networks as people write."""

import os

import numpy as np
import pytest
from support.analysis.networks import dense, flag, fresh_graph, inputs, layer, loss_of, optimizer
from support.commands import bnguard as command
from support.samples import combinations
import tensorflow.compat.v1 as tf

import bnguard

pytestmark = pytest.mark.slow

BUILDS = [("ref", "v1"), ("resource", "v1"), ("resource", "v2")]
STATISTICS = {"bn/moving_mean", "bn/moving_variance"}


def found(report, rule):
    return {finding.variable for finding in report.findings if finding.rule == rule}


def changed(graph, fetch, feeds):
    """The variables that a Session changes when it fetches `fetch`."""
    with graph.as_default(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        variables = tf.global_variables()
        before = session.run(variables)
        session.run(fetch, {f"{name}:0": value for name, value in feeds.items()})
        pairs = zip(variables, before, session.run(variables))
        return {variable.op.name for variable, was, now in pairs if not np.array_equal(was, now)}


def after_updates(build):
    """What `build` makes, waiting for UPDATE_OPS: the mistake, where inference fetches it."""
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return build()


def two_branches(x, training, **options):
    """A layer for training and one for inference, both built outside of the tf.cond."""
    trained = layer(x, True, updates_collections=None, **options)
    inferred = layer(x, False, reuse=True, **options)
    return tf.cond(training, lambda: trained, lambda: inferred)


@pytest.mark.sampled
@pytest.mark.parametrize(("variables", "control_flow"), BUILDS)
def test_a_loop_that_is_differentiated(variables, control_flow):
    """Its gradients have the forward loop fill lists, which are none of the gradients."""
    with fresh_graph(variables, control_flow) as graph:
        x, weights = inputs(), tf.get_variable("recurrent", [4, 4])
        hidden = tf.while_loop(
            lambda step, _: step < 3,
            lambda step, h: (step + 1, tf.tanh(tf.matmul(h, weights))),
            (tf.constant(0), x),
        )[1]
        y = tf.identity(dense(two_branches(hidden, flag())), name="logits")
        optimizer().minimize(loss_of(y))
    report = bnguard.audit(graph)
    assert report.assumed.fetches == ("logits:0",)
    assert found(report, "BN101") == found(report, "BN102") == STATISTICS
    assert changed(graph, "logits:0", {"x": np.eye(4), "is_training": False}) == STATISTICS


@pytest.mark.sampled
@pytest.mark.parametrize(("variables", "control_flow"), BUILDS)
def test_a_layer_inside_of_a_loop(variables, control_flow):
    """What is fetched is there for a Session: nothing in a function's body is."""
    with fresh_graph(variables, control_flow) as graph:
        x, training = inputs(), flag()
        layer(x, False)
        hidden = tf.while_loop(
            lambda step, _: step < 3,
            lambda step, h: (step + 1, layer(h, training, reuse=True, updates_collections=None)),
            (tf.constant(0), x),
        )[1]
        y = tf.identity(dense(hidden), name="logits")
        optimizer().minimize(loss_of(y))
    assert bnguard.audit(graph).assumed.fetches == ("logits:0",)


@pytest.mark.sampled
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("trains", [False, True])
def test_what_follows_a_layer_for_inference(fused, trains):
    """Not the layer's own beta - mean * inverse, which a written out layer has for an end."""
    with fresh_graph() as graph:
        x_test = inputs("x_test")
        if trains:
            step = loss_of(dense(layer(dense(inputs()), True, fused=fused), "head"))
            after_updates(lambda: optimizer().minimize(step))
            scope = tf.variable_scope(tf.get_variable_scope(), reuse=True)
        else:
            scope = tf.variable_scope(tf.get_variable_scope())
        with scope:
            y = layer(dense(x_test), False, fused=fused, reuse=trains or None)
        after_updates(lambda: tf.nn.softmax(y, name="probabilities"))
    report = bnguard.audit(graph)
    assert report.assumed.fetches == ("probabilities:0",)
    feeds = {"x": np.eye(4), "x_test": np.eye(4)} if trains else {"x_test": np.eye(4)}
    assert changed(graph, "probabilities:0", feeds) == found(report, "BN101")
    assert found(report, "BN101") == (STATISTICS if trains else set())


def test_a_second_head_that_moves_the_statistics():
    with fresh_graph() as graph:
        x, training = dense(inputs()), flag()
        trained, inferred = layer(x, True), layer(x, False, reuse=True)
        features = tf.cond(training, lambda: tf.identity(trained), lambda: inferred)
        after_updates(lambda: tf.nn.softmax(dense(features, "boxes/dense"), name="boxes"))
        logits = tf.identity(dense(features, "classes/dense"), name="classes")
        after_updates(lambda: optimizer().minimize(loss_of(logits)))
    report = bnguard.audit(graph, select=["BN101"])
    assert report.assumed.fetches == ("boxes:0",)  # it needs all layers, and the updates
    assert changed(graph, "boxes:0", {"x": np.eye(4), "is_training": False}) == STATISTICS
    assert {finding.fetch for finding in report.findings if finding.variable in STATISTICS} >= {
        "boxes:0"
    }


@pytest.mark.sampled
@pytest.mark.parametrize(("variables", "control_flow"), BUILDS)
def test_a_flag_that_only_dropout_is_given(variables, control_flow):
    """The layer beside it trains whatever the flag is, and the same network infers."""
    with fresh_graph(variables, control_flow) as graph:
        y, training = layer(dense(inputs()), True), flag()
        y = tf.cond(training, lambda: tf.nn.dropout(y, rate=0.5), lambda: tf.identity(y))
        logits = tf.identity(dense(y, "head"), name="logits")
        after_updates(lambda: optimizer().minimize(loss_of(logits)))
    report = bnguard.audit(graph)
    assert report.assumed.flags == ("is_training:0=False",)
    assert report.assumed.fetches == ("logits:0",)
    assert {finding.rule for finding in report.findings} == {"BN103"}


@pytest.mark.parametrize(
    ("default", "combine", "trains"),
    [
        (False, lambda fed, other: tf.logical_and(fed, tf.logical_not(other)), False),
        (True, tf.logical_and, False),
        (True, tf.logical_or, True),
        (False, tf.logical_or, False),
    ],
)
def test_a_default_that_trains_only_together_with_what_is_fed(default, combine, trains):
    with fresh_graph() as graph:
        other = tf.placeholder_with_default(default, [], name="other")
        y = layer(dense(inputs()), combine(flag(), other), updates_collections=None)
        optimizer().minimize(loss_of(tf.identity(y, name="logits")))
    assert changed(graph, "logits:0", {"x": np.eye(4), "is_training": False}) == (
        STATISTICS if trains else set()
    )
    assert [finding.rule for finding in bnguard.audit(graph, select=["BN104"]).findings] == (
        ["BN104"] if trains else []
    )


@pytest.mark.parametrize(
    "same", [lambda value: value * 1.0, lambda value: value + 0.0, lambda value: value / 1]
)
def test_a_value_times_one_is_the_value(same):
    with fresh_graph() as graph:
        training, x = flag(), dense(inputs())
        mean, variance = tf.nn.moments(x, [0])
        moving = tf.get_variable("moving_mean", [4], trainable=False)
        kept = tf.cond(training, lambda: moving * 0.9 + mean * 0.1, lambda: same(moving))
        with tf.control_dependencies([tf.assign(moving, kept)]):
            y = tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3, name="y")
            tf.identity(y, name="output")
    assert changed(graph, "output:0", {"x": np.eye(4), "is_training": False}) == set()
    feeds = {"is_training": False}
    assert bnguard.audit(graph, "output", feeds, select=["BN101"]).findings == ()
    feeds = {"is_training": True}
    assert len(bnguard.audit(graph, "output", feeds, select=["BN101"]).findings) == 1


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("follows", "left_behind"),
    [
        (["gamma", "beta", "moving_mean", "moving_variance"], set()),
        (["gamma", "beta", "moving_mean"], {"moving_variance"}),
        (["gamma", "beta"], {"moving_mean", "moving_variance"}),
        ([], set()),  # a network that is to stay, as a teacher is
    ],
)
@pytest.mark.parametrize("copied", [False, True])
def test_a_target_network_that_follows_another(follows, left_behind, copied):
    """Its statistics are moved, if not by its own updates."""
    with fresh_graph() as graph:
        networks = []
        for name in ("online", "target"):
            with tf.variable_scope(name):
                networks.append(layer(dense(inputs()), flag()))
        variables = {variable.op.name: variable for variable in tf.global_variables()}
        for name in follows:
            mine, theirs = (variables[f"{network}/bn/{name}"] for network in ("target", "online"))
            tf.assign(mine, theirs if copied else 0.9 * mine + 0.1 * theirs, name="follow")
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, "online")
        with tf.control_dependencies(updates):
            loss = tf.reduce_mean(tf.square(networks[0] - networks[1]))
            optimizer().minimize(loss, var_list=tf.trainable_variables("online"))
    never_run = found(bnguard.audit(graph), "BN201")
    assert never_run == {f"target/bn/{name}" for name in left_behind}


def test_a_worker_that_pulls_what_another_network_is_trained_to_with_its_gradients():
    with fresh_graph() as graph:
        for name in ("global", "local"):
            with tf.variable_scope(name):
                y = layer(dense(inputs()), flag())
        mine, theirs = (tf.trainable_variables(name) for name in ("local", "global"))
        gradients = tf.gradients(tf.reduce_mean(tf.square(y)), mine)
        optimizer().apply_gradients(zip(gradients, theirs))
        tf.group(*[tf.assign(*pair) for pair in zip(mine, theirs)], name="pull")
    names = {"local/bn/moving_mean", "local/bn/moving_variance"}
    assert found(bnguard.audit(graph), "BN201") == names


def test_gradients_that_are_fetched_and_applied_elsewhere():
    """The values come back by placeholders, as those of a checkpoint may."""
    with fresh_graph() as graph:
        loss = tf.reduce_mean(tf.square(layer(dense(inputs()), flag())))
        variables = tf.trainable_variables()
        tf.group(*tf.gradients(loss, variables), name="fetched")
        for variable in variables:
            tf.assign(variable, tf.placeholder(tf.float32, variable.shape))
    report = bnguard.audit(graph, train_op="fetched")
    assert found(report, "BN201") == {"bn/moving_mean", "bn/moving_variance"}


@pytest.mark.sampled
@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize(("variables", "control_flow"), BUILDS)
def test_a_target_network_that_is_copied(variables, control_flow, copied):
    """A layer without gamma and beta: nothing else tells that it is not trained here."""
    with fresh_graph(variables, control_flow) as graph:
        networks = []
        for name, training in (("online", True), ("target", False)):
            with tf.variable_scope(name):
                networks.append(layer(dense(inputs()), training, center=False, scale=False))
        statistics = [
            [
                variable
                for variable in tf.global_variables(name + "/")
                if "/moving_" in variable.op.name
            ]
            for name in ("target", "online")
        ]
        if copied:
            tf.group(*[tf.assign(mine, theirs) for mine, theirs in zip(*statistics)], name="copy")
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            loss = tf.reduce_mean(tf.square(networks[0] - networks[1]))
            optimizer().minimize(loss, var_list=tf.trainable_variables("online"))
    names = set() if copied else {"target/bn/moving_mean", "target/bn/moving_variance"}
    assert found(bnguard.audit(graph), "BN202") == names


@pytest.mark.sampled
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("is_training", [False, True])
def test_a_frozen_graph_that_trains(fused, is_training):
    """Gamma and beta are constants then."""
    with fresh_graph() as graph, tf.Session() as session:
        y = layer(dense(inputs()), is_training, fused=fused)
        tf.nn.relu(y, name="output")
        session.run(tf.global_variables_initializer())
        frozen = tf.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["output"]
        )
    findings = bnguard.audit(frozen, fetches="output").findings
    assert [finding.rule for finding in findings] == (["BN103"] if is_training else [])


def test_a_standardization_with_no_gamma_or_beta_is_none():
    """Advantages, say: a scalar is no gamma."""
    with fresh_graph() as graph:
        x = inputs()
        mean, variance = tf.nn.moments(x, [0])
        tf.identity((x - mean) * tf.rsqrt(variance + 1e-8) * 0.5, name="output")
    assert bnguard.audit(graph, fetches="output").findings == ()


@pytest.mark.parametrize("key", ["fit", "serving_default"])
def test_a_signature_that_applies_gradients_trains(tmp_path, key):
    path = str(tmp_path / "saved")
    with fresh_graph(), tf.Session() as session:
        x, label = inputs(), inputs("label")
        y = tf.identity(layer(dense(x), False), name="logits")
        trained = layer(dense(x, "other"), True, scope="bn_train")
        loss = tf.reduce_mean(tf.square(trained - label))
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            step = optimizer().minimize(loss)
        with tf.control_dependencies([step]):
            done = tf.identity(loss, name="done")
        session.run(tf.global_variables_initializer())
        builder = tf.saved_model.Builder(path)
        signatures = {"predict": ({"x": x}, y), key: ({"x": x, "label": label}, done)}
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                name: tf.saved_model.predict_signature_def(fed, {"output": fetched})
                for name, (fed, fetched) in signatures.items()
            },
        )
        builder.save()
    report = bnguard.audit(path)
    assert report.assumed.fetches == ("signature predict",)
    assert found(report, "BN101") == set()
    named = bnguard.audit(path, signature=key)
    assert found(named, "BN101") == {"bn_train/moving_mean", "bn_train/moving_variance"}


class TestCommand:
    @pytest.fixture
    def meta(self, tmp_path):
        path = str(tmp_path / "model.meta")
        with fresh_graph():
            y = tf.identity(layer(dense(inputs()), False), name="logits")
            optimizer().minimize(loss_of(y))
            tf.train.export_meta_graph(path)
        return path

    def test_what_had_no_step_to_look_at_is_said(self, meta):
        process = command("audit", meta, "--select", "BN1")
        last = process.stdout.decode().splitlines()[-1]
        assert process.returncode == 0
        assert last.endswith("nothing found; the rules about inference had no step to judge")

    def test_a_note_sets_the_exit_status_if_that_is_asked_for(self, tmp_path):
        meta = str(tmp_path / "trained.meta")
        with fresh_graph():
            logits = tf.identity(dense(layer(dense(inputs()), True), "head"), name="logits")
            after_updates(lambda: optimizer().minimize(loss_of(logits)))
            tf.train.export_meta_graph(meta)
        assert command("audit", meta).returncode == 0
        assert command("audit", meta, "--strict").returncode == 1
        assert command("audit", meta, "--fetch", "logits").returncode == 1

    def test_tags_are_of_a_saved_model(self, meta):
        for path in (meta, os.path.dirname(meta)):
            process = command("audit", path, "--tags", "serve")
            (line,) = process.stderr.decode().splitlines()
            assert (process.returncode, process.stdout) == (2, b"")
            assert "model.meta: contains one graph, with no tags to choose it by" in line
            assert "expected a SavedModel with the tags 'serve'" in line


WRITTEN_OUT = {
    "gamma first": lambda x, m, v, gamma: gamma * (x - m) / tf.sqrt(v + 1e-5),
    "gamma first, a power": lambda x, m, v, gamma: gamma * (x - m) * tf.pow(v + 1e-5, -0.5),
    "gamma first, 1 / root": lambda x, m, v, gamma: gamma * (x - m) * (1.0 / tf.sqrt(v + 1e-5)),
    "reciprocal": lambda x, m, v, gamma: (x - m) * tf.reciprocal(tf.sqrt(v + 1e-5)) * gamma,
    "no less than": lambda x, m, v, gamma: gamma * (x - m) * tf.rsqrt(tf.maximum(v, 1e-5)),
    "minus mean added": lambda x, m, v, gamma: (x + (-m)) * tf.rsqrt(v + 1e-5) * gamma,
    "division of its own": lambda x, m, v, g: tf.div_no_nan(g * (x - m), tf.sqrt(v + 1e-5)),
    "folded": lambda x, m, v, g: x * (g / tf.sqrt(v + 1e-5)) - m * (g / tf.sqrt(v + 1e-5)),
    "root plus epsilon": lambda x, m, v, gamma: gamma * ((x - m) / (tf.sqrt(v) + 1e-5)),
}


@pytest.mark.parametrize(("form", "build"), combinations(WRITTEN_OUT, BUILDS))
def test_a_layer_written_out_by_hand(form, build):
    """The source's defect, with names that say nothing."""
    normalize = WRITTEN_OUT[form]
    with fresh_graph(*build) as graph:
        x, training = dense(inputs()), flag()
        average, spread = (
            tf.get_variable(name, initializer=np.full(4, value, np.float32), trainable=False)
            for name, value in (("a", 0), ("s", 1))
        )
        gamma = tf.get_variable("g", [4])
        mean, variance = tf.nn.moments(x, [0])
        updates = [
            tf.assign(average, average * 0.9 + mean * 0.1),
            tf.assign(spread, spread * 0.9 + variance * 0.1),
        ]
        with tf.control_dependencies(updates):
            trained = normalize(x, mean, variance, gamma)
        inferred = normalize(x, average, spread, gamma)
        tf.identity(tf.cond(training, lambda: trained, lambda: inferred), name="output")
    report = bnguard.audit(graph)
    assert report.statistics == ("a", "s")
    assert found(report, "BN101") == {"a", "s"}
    assert changed(graph, "output:0", {"x": np.eye(4), "is_training": False}) == {"a", "s"}


@pytest.mark.sampled
@pytest.mark.parametrize("gain", [True, False])
@pytest.mark.parametrize(("variables", "control_flow"), BUILDS)
def test_weight_standardization_is_no_layer(variables, control_flow, gain):
    with fresh_graph(variables, control_flow) as graph:
        weights = tf.get_variable("weights", [4, 4])
        mean, variance = tf.nn.moments(weights, [0])
        scale = tf.get_variable("gain", [4]) if gain else None
        standardized = tf.nn.batch_normalization(weights, mean, variance, None, scale, 1e-5)
        tf.identity(layer(tf.matmul(inputs(), standardized), False), name="output")
    assert bnguard.audit(graph, fetches="output", select=["BN103"]).findings == ()


@pytest.mark.sampled
@pytest.mark.parametrize(("variables", "control_flow"), BUILDS)
def test_what_inference_is_fed_says_nothing_of_training(variables, control_flow):
    """A mode that is an int is no flag that can be found; its value is for the fetch alone."""
    with fresh_graph(variables, control_flow) as graph:
        mode = tf.placeholder(tf.int32, [], name="mode")
        y = layer(dense(inputs()), tf.equal(mode, 1), updates_collections=None)
        optimizer().minimize(loss_of(tf.identity(y, name="output")), name="train_op")
    assert bnguard.audit(graph, "output", {"mode": 0}, "train_op").findings == ()
    written = bnguard.audit(graph, "output", {"mode": 1}, "train_op", select=["BN101"])
    assert {finding.certain for finding in written.findings} == {True}


@pytest.mark.sampled
@pytest.mark.parametrize("of_all", [True, False])
@pytest.mark.parametrize(("variables", "control_flow"), BUILDS)
def test_the_mean_of_replicas_is_saved(variables, control_flow, of_all):
    """As a distribution strategy saves what each replica has of its own."""
    with fresh_graph(variables, control_flow) as graph:
        for name in ("first", "second"):
            with tf.variable_scope(name):
                layer(dense(inputs()), False)
        means = [
            [
                variable
                for variable in tf.global_variables()
                if variable.op.name.endswith(f"/{name}")
            ]
            for name in ("moving_mean", "moving_variance")
        ]
        saved = [tf.add_n(both) * 0.5 if of_all else both[0] + 0.0 for both in means]
        saved += [variable + 0.0 for variable in tf.trainable_variables()]
        names = [f"name_{number}" for number in range(len(saved))]
        tf.raw_ops.SaveV2(
            prefix="p", tensor_names=names, shape_and_slices=[""] * len(saved), tensors=saved
        )
    left_out = set() if of_all else {"second/bn/moving_mean", "second/bn/moving_variance"}
    assert found(bnguard.audit(graph), "BN301") == left_out
