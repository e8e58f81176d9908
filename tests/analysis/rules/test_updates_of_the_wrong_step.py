"""A step that runs updates which are not its own: the remedy, followed to the letter, cures it."""

import numpy as np
import pytest
from support.analysis import advice
from support.analysis.networks import dense, fresh_graph, inputs, layer, loss_of, optimizer
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.analysis.findings import NOTE
from bnguard.analysis.rules import (
    statistics_updated_more_than_once,
    updates_pull_other_inputs,
)

pytestmark = pytest.mark.slow

RULES = ["BN105", "BN201", "BN203", "BN204", "BN206"]
UPDATE_OPS = tf.GraphKeys.UPDATE_OPS
KERAS = "which are in no collection; Keras has those of one call in `model.get_updates_for(inputs)`"


class Waits:
    """What each train op of a program depends on: at first on all updates, then on the advice."""

    def __init__(self, found=()):
        self._found = dict(found)

    def __call__(self, step, otherwise=None):
        text = self._found.get(step, self._found.get("the train op"))
        if text is not None:
            return advice.updates(text)
        return tf.get_collection(UPDATE_OPS) if otherwise is None else otherwise

    def minimize(self, loss, name="train", otherwise=None, **options):
        with tf.control_dependencies(self(name, otherwise)):
            return optimizer().minimize(loss, name=name, **options)


def audited(build, waits, as_graph_def=False):
    with fresh_graph() as graph:
        build(waits)
        source = graph.as_graph_def() if as_graph_def else graph
        return bnguard.audit(source, select=RULES).findings


def followed(build, **options):
    """The findings, and those after every remedy among them has been followed."""
    before = audited(build, Waits(), **options)
    found = advice.dependencies([finding.remedy for finding in before])
    assert found, [finding.remedy for finding in before]
    return before, audited(build, Waits(found), **options)


def placeholder(name):
    return inputs(name)


def iterator(name):
    rows = np.ones([8, 4], np.float32)
    return tf.data.make_one_shot_iterator(tf.data.Dataset.from_tensors(rows)).get_next()


def with_validation(source=placeholder, **options):
    """A network for validation that was built with is_training=True, in a scope of its own."""

    def build(waits):
        with tf.name_scope("train"):
            loss = loss_of(dense(layer(dense(source("x")), True, **options), "head"))
        with tf.variable_scope(tf.get_variable_scope(), reuse=True), tf.name_scope("valid"):
            dense(layer(dense(source("other")), True), "head")
        return waits.minimize(loss)

    return build


def in_one_scope(waits):
    """The two calls of a layer differ in their names, but in no scope of the outermost level."""
    with tf.name_scope("model"):
        loss = loss_of(layer(dense(inputs()), True))
        with tf.variable_scope(tf.get_variable_scope(), reuse=True):
            layer(dense(inputs("other")), True)
    waits.minimize(loss)


def keras(waits):
    """A Keras model has the updates of all its calls in a list, and in no collection."""
    with tf.name_scope("train"):
        loss = loss_of(dense(layer(dense(inputs()), True), "head"))
    with tf.variable_scope(tf.get_variable_scope(), reuse=True), tf.name_scope("valid"):
        dense(layer(dense(inputs("other")), True), "head")
    collected = tf.get_default_graph().get_collection_ref(UPDATE_OPS)
    ops = list(collected)
    del collected[:]
    waits.minimize(loss, otherwise=ops)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (with_validation(), "scope='train/'"),
        (with_validation(iterator), "scope='train/'"),
        (in_one_scope, "scope='model/bn/'"),
        (keras, f"on the update ops train/bn/AssignMovingAvg, train/bn/AssignMovingAvg_1, {KERAS}"),
    ],
    ids=["placeholders", "iterators", "one scope", "a list"],
)
def test_updates_of_a_validation_network_are_left_out(build, expected):
    before, after = followed(build)
    assert {finding.rule for finding in before} == {"BN105", "BN204"}
    for finding in before:
        assert expected in finding.remedy
        assert "Build the train op" in finding.remedy or "build the train op" in finding.remedy
    assert after == ()


def test_a_graph_def_has_no_collections():
    before, after = followed(with_validation(), as_graph_def=True)
    for finding in before:
        assert finding.remedy.endswith(
            "alone: tf.control_dependencies on the update ops train/bn/AssignMovingAvg, "
            "train/bn/AssignMovingAvg_1"
        )
    assert after == ()


def mean_after_a_step(waits):
    """The moving mean after one step that is fed its own inputs, and what it should be."""
    rows = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 2.0, 3.0, 0.0]], np.float32)
    with fresh_graph() as graph, tf.Session(graph=graph) as session:
        step = with_validation(decay=0.9)(waits)
        session.run(tf.global_variables_initializer())
        weights = session.run("dense/weights:0")
        session.run(step, {"train/x:0": rows, "train/label:0": rows})
        return session.run("bn/moving_mean:0"), 0.1 * (rows @ weights).mean(axis=0)


def test_a_step_that_follows_the_advice_needs_its_own_inputs_alone():
    with pytest.raises(tf.errors.InvalidArgumentError, match="must feed a value"):
        mean_after_a_step(Waits())
    remedies = {finding.remedy for finding in audited(with_validation(), Waits())}
    mean, expected = mean_after_a_step(Waits(advice.dependencies(remedies)))
    np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-6)


def test_a_layer_that_updates_in_place_is_not_waited_for():
    before = audited(with_validation(updates_collections=None), Waits())
    remedies = {finding.rule: finding.remedy for finding in before}
    assert remedies == {
        "BN105": statistics_updated_more_than_once.RULE.remedy,
        "BN204": updates_pull_other_inputs.RULE.remedy,
    }
    waits = Waits({"train": "none"})
    assert audited(with_validation(updates_collections=None), waits) == ()


def accumulates(waits):
    loss = loss_of(layer(dense(inputs()), True))
    variables = tf.trainable_variables()
    with tf.control_dependencies(waits("accumulate", [])):
        gradients = tf.gradients(loss, variables)
    sums = [
        tf.get_variable(f"sum_{number}", variable.shape, trainable=False)
        for number, variable in enumerate(variables)
    ]
    tf.group(*map(tf.assign_add, sums, gradients), name="accumulate")
    with tf.control_dependencies(waits("apply")):
        pairs = [(total.read_value(), v) for total, v in zip(sums, variables)]
        optimizer().apply_gradients(pairs, name="apply")


def test_the_updates_belong_to_the_step_that_accumulates():
    before, after = followed(accumulates)
    assert {(finding.rule, finding.fetch) for finding in before} == {("BN204", "apply")}
    assert {finding.remedy for finding in before} == {
        "Build accumulate, which computes gradients from these inputs, under the updates, so that "
        "each batch is averaged with its gradients, and apply under none: "
        "`tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS))`"
    }
    assert after == ()


def adversaries(waits):
    losses = {}
    for name in ("real", "fake"):
        with tf.variable_scope("g", reuse=tf.AUTO_REUSE), tf.name_scope(f"g_{name}"):
            x = layer(dense(inputs(name)), True) if name == "fake" else inputs(name)
        with tf.variable_scope("d", reuse=tf.AUTO_REUSE), tf.name_scope(f"d_{name}"):
            losses[name] = loss_of(dense(layer(dense(x), True), "score"), f"{name}_label")
    total = losses["real"] + losses["fake"]
    waits.minimize(total, "train_d", var_list=tf.trainable_variables("d/"))
    waits.minimize(-losses["fake"], "train_g", var_list=tf.trainable_variables("g/"))


def test_each_step_of_adversaries_waits_for_its_own_updates():
    before, after = followed(adversaries)
    assert {finding.rule for finding in before} == {"BN105", "BN204", "BN206"}
    for finding in before:
        assert f"uild {finding.fetch} under" in finding.remedy
        assert ("one call alone" in finding.remedy) == (
            finding.rule == "BN105" and finding.fetch == "train_d"
        )
    assert {finding.severity for finding in before if finding.rule == "BN206"} == {NOTE}
    assert after == ()


def actor_and_critic(waits):
    """All updates wait for one step, which does not train the layer of the other."""
    state = inputs("state")
    with tf.variable_scope("actor"):
        action = tf.tanh(layer(dense(state), True))
    with tf.variable_scope("critic"):
        value = dense(layer(dense(tf.concat([state, action], 1)), True), "value")
    variables = {name: tf.trainable_variables(name) for name in ("actor", "critic")}
    waits.minimize(-tf.reduce_mean(value), "act", otherwise=[], var_list=variables["actor"])
    waits.minimize(loss_of(value), "judge", var_list=variables["critic"])


def test_a_layer_that_another_step_trains_is_not_called_frozen():
    before, after = followed(actor_and_critic)
    assert [(finding.rule, finding.severity) for finding in before] == [("BN206", "warning")] * 2
    for finding in before:
        assert finding.variable.startswith("actor/bn/moving_")
        assert finding.problem == (
            "is moved by judge, which trains neither gamma nor beta of the layer; act trains them, "
            "and does not move it"
        )
        assert "judge under `" in finding.remedy
        assert "; act under `" in finding.remedy
    assert after == ()


def siamese(waits):
    with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
        sides = [layer(dense(inputs(name)), True) for name in ("left", "right")]
    waits.minimize(tf.reduce_mean(tf.square(sides[0] - sides[1])))


def test_the_updates_of_one_call_are_enough():
    before, after = followed(siamese)
    assert {finding.rule for finding in before} == {"BN105"}
    for finding in before:
        assert finding.remedy.startswith("Call the layer once on all rows of a step; or build ")
    assert after == ()


def towers(calls_on_all_rows):
    def build(waits):
        x, outputs = inputs(), []
        with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
            for share in tf.split(x, 2):
                outputs.append(layer(share * 2.0, True))
            updates = None
            if calls_on_all_rows:
                layer(x * 2.0, True)
                updates = tf.get_collection(UPDATE_OPS)[-2:]
        y = dense(tf.concat(outputs, 0), "head")
        waits.minimize(loss_of(y), otherwise=updates)

    return build


def test_towers_update_once_from_the_rows_of_all():
    """The updates of one tower alone are a finding, too."""
    before = audited(towers(calls_on_all_rows=False), Waits())
    assert {(finding.rule, finding.remedy) for finding in before} == {
        (
            "BN105",
            "Call the layer once more, on the rows of all towers, and build the train op under "
            "the updates of that call alone",
        )
    }
    assert audited(towers(calls_on_all_rows=True), Waits()) == ()
