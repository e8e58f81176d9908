"""Limits: each one that an audit reaches is recorded, with what follows."""

import json

import pytest
from support.analysis import networks
from support.analysis.networks import fresh_graph
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.analysis import limits


def lowered(monkeypatch, name, value):
    """Set a limit to a small value; return it."""
    limit = getattr(limits, name)
    small = limits.Limit(value, limit.unit, limit.reason, limit.consequence)
    monkeypatch.setattr(limits, name, small)
    return small


def reached(source):
    return bnguard.audit(source).limits


def nested_branches():
    """An output behind two branches that nothing decides."""
    x, inner, outer = networks.inputs(), networks.flag(), tf.placeholder(tf.bool, [], name="outer")
    y = networks.layer(x, inner, updates_collections=None)
    tf.cond(outer, lambda: tf.nn.relu(y), lambda: tf.identity(y))


def two_networks():
    for name in ("a", "b"):
        training = tf.placeholder(tf.bool, [], name=f"{name}_training")
        tf.nn.relu(networks.layer(networks.inputs(f"{name}_x"), training, scope=name))


def deep():
    y = networks.layer(networks.inputs(), True, updates_collections=None)
    for _ in range(8):
        y = tf.nn.relu(y)


def two_towers():
    x, towers = networks.inputs(), []
    for name, share in zip("ab", (x[::2], x[1::2])):
        h = networks.layer(
            share * 2.0, True, reuse=tf.AUTO_REUSE, updates_collections=[name], fused=False
        )
        towers.append(networks.dense(h, name))
    with tf.control_dependencies(tf.get_collection("a")):
        networks.optimizer().minimize(networks.loss_of(tf.concat(towers, 0)))


def trains_with_the_updates_of_two_others():
    losses = []
    for name in ("a", "b", "c"):
        y = networks.layer(networks.dense(networks.inputs(f"{name}_x"), name), True, scope=name)
        losses.append(networks.loss_of(y, f"{name}_label"))
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        networks.optimizer().minimize(losses[0])


def written_out():
    """A layer of single ops, which is recognized by walks over them."""
    x = networks.inputs()
    y = networks.layer(x, True, updates_collections=None, fused=False)
    tf.nn.relu(y, name="output")
    tf.train.Saver()


def flag_that_decides_no_normalization():
    """Its branch leads to the one Merge that could tell what training is, and does not."""
    statistics = [
        tf.get_variable(name, initializer=value, trainable=False)
        for name, value in (("bn/moving_mean", [0.0] * 4), ("bn/moving_variance", [1.0] * 4))
    ]
    x, training = networks.inputs(), networks.flag()
    for _ in range(2):
        x = tf.cond(training, lambda x=x: tf.nn.relu(x), lambda x=x: tf.identity(x))
    tf.nn.batch_normalization(x, *statistics, None, None, 1e-3)


@pytest.mark.parametrize(
    ("name", "value", "build"),
    [
        ("PREDICATE_TERMS", 0, nested_branches),
        ("EFFECT_TENSORS", 1, networks.two_branch),
        ("FLAG_CANDIDATES", 1, two_networks),
        ("FLAG_NODES", 1, networks.one_layer),
        ("STEPS", 1, two_networks),
        ("PATH_OPS", 8, deep),
        ("TOWER_SOURCES", 0, two_towers),
        ("FOREIGN_PLACEHOLDERS", 1, trains_with_the_updates_of_two_others),
        ("PROVENANCE_TENSORS", 1, networks.chooses_moments(updates_in_the_branch=True)),
        ("MOMENT_NODES", 1, written_out),
        ("AVERAGE_TENSORS", 1, written_out),
        ("REPLICA_TENSORS", 1, written_out),
        ("FLAG_MERGES", 1, flag_that_decides_no_normalization),
    ],
)
def test_a_limit_that_is_reached_is_recorded(monkeypatch, name, value, build):
    with fresh_graph() as graph:
        build()
    assert reached(graph) == ()
    small = lowered(monkeypatch, name, value)
    assert small.text in reached(graph)


def test_every_form_of_a_report_names_the_limits(monkeypatch):
    with fresh_graph() as graph:
        two_networks()
    small = lowered(monkeypatch, "STEPS", 1)
    report = bnguard.audit(graph)
    assert f"limit reached: {small.text}" in str(report).splitlines()
    assert json.loads(report.to_json())["limits"] == [small.text]
    (run,) = json.loads(report.to_sarif())["runs"]
    (notification,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notification["message"]["text"] == f"tf.Graph: limit reached: {small.text}"


def test_outputs_of_a_switch_beyond_the_limit_are_undecided(monkeypatch):
    small = lowered(monkeypatch, "SWITCH_OUTPUTS", 2)
    with fresh_graph("resource", "v2") as graph:
        x, index = networks.inputs(), tf.placeholder(tf.int32, [], name="index")
        statistic = tf.get_variable("bn/moving_mean", initializer=[1.0])

        def write():
            with tf.control_dependencies([statistic.assign_add([1.0])]):
                return tf.identity(x)

        y = tf.switch_case(index, [lambda: tf.identity(x), lambda: tf.identity(x), write])
    report = bnguard.audit(graph, y, {"x": None, "index": None}, select=["BN101"])
    assert small.text in report.limits
    assert [finding.certain for finding in report.findings] == [False]


def test_signatures_beyond_the_limit_are_ignored(monkeypatch, tmp_path):
    small = lowered(monkeypatch, "SIGNATURES", 1)
    with fresh_graph() as graph, tf.Session() as session:
        x = networks.inputs()
        y = networks.layer(x, False)
        session.run(tf.global_variables_initializer())
        builder = tf.saved_model.Builder(str(tmp_path / "model"))
        signature = tf.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"first": signature, "second": signature}
        )
        builder.save()
    assert graph
    assert small.text in reached(str(tmp_path / "model"))


def test_no_limit_is_recorded_outside_of_a_block():
    limits.STEPS.reach()
    with limits.collect() as found:
        pass
    assert found == {}


def test_blocks_nest():
    with limits.collect() as outer:
        with limits.collect() as inner:
            limits.STEPS.reach()
        limits.SIGNATURES.reach()
    assert list(inner) == [limits.STEPS.text]
    assert list(outer) == [limits.SIGNATURES.text]
