"""Training flags that are variables, as TFLearn's: what they are at inference and in training."""

import numpy as np
import pytest
from support.analysis.networks import dense, fresh_graph, inputs, layer, loss_of, optimizer
import tensorflow.compat.v1 as tf

import bnguard

pytestmark = pytest.mark.slow

STATISTICS = {"bn/moving_mean", "bn/moving_variance"}
VARIABLES = pytest.mark.parametrize("variables", ["ref", "resource"])


def build(initial, is_settable):
    mode = tf.get_variable("mode", initializer=initial, trainable=False)
    if is_settable:
        tf.assign(mode, True, name="set_on")
        tf.assign(mode, False, name="set_off")
    logits = dense(layer(dense(inputs()), mode, updates_collections=None), "logits")
    optimizer().minimize(loss_of(logits), name="train")


def moved(session, fetch):
    """The statistics that move when a Session runs `fetch`."""
    statistics = [v for v in tf.global_variables() if v.op.name in STATISTICS]
    before = session.run(statistics)
    session.run(fetch, {"x:0": 3.0 + np.eye(4), "label:0": np.eye(4)})
    pairs = zip(statistics, before, session.run(statistics))
    return {variable.op.name for variable, was, now in pairs if not np.array_equal(was, now)}


def found(report, rule):
    return {f.variable for f in report.findings if f.rule == rule}


@VARIABLES
@pytest.mark.parametrize("initial", [False, True])
def test_what_nothing_sets_keeps_its_initial_value(variables, initial):
    with fresh_graph(variables) as graph:
        build(initial, is_settable=False)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            at_inference, in_training = moved(session, "logits:0"), moved(session, "train")
    report = bnguard.audit(graph)
    assert report.assumed.flags == (f"mode={initial}",)
    assert found(report, "BN101") == at_inference
    assert STATISTICS - found(report, "BN203") == in_training
    assert all(finding.certain for finding in report.findings)
    assert any(finding.rule == "BN104" for finding in report.findings) is initial


@VARIABLES
def test_what_an_op_sets_is_set_for_training_and_for_inference(variables):
    with fresh_graph(variables) as graph:
        build(False, is_settable=True)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            assert moved(session, "train") == set()
            session.run("set_on")
            assert moved(session, "train") == STATISTICS
    report = bnguard.audit(graph)
    assert report.assumed.flags == ("mode=False",)
    assert {(f.rule, f.severity) for f in report.findings} == {("BN203", "note")}
    assert found(report, "BN203") == STATISTICS
    assert "set_on, set_off" in report.findings[0].remedy


@VARIABLES
@pytest.mark.parametrize("stored", [False, True])
def test_the_value_in_the_checkpoint_decides_on_inference(variables, stored, tmp_path):
    with fresh_graph(variables) as graph:
        build(False, is_settable=True)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run("set_on" if stored else "set_off")
            prefix = tf.train.Saver().save(session, str(tmp_path / "model"))
            expected = moved(session, "logits:0")
    report = bnguard.audit(graph, checkpoint=prefix)
    assert report.assumed.flags == (f"mode={stored}",)
    assert found(report, "BN101") == expected == (STATISTICS if stored else set())


@VARIABLES
@pytest.mark.parametrize("name", ["mode", "flag"])
def test_what_is_not_certain_names_what_decides(variables, name):
    with fresh_graph(variables) as graph:
        if name == "mode":
            build(False, is_settable=True)
        else:
            training = tf.placeholder(tf.bool, [], name="flag")
            dense(layer(inputs(), training, updates_collections=None), "logits")
    report = bnguard.audit(graph, "logits", {"x": None, name: None}, select=["BN1"])
    assert {finding.rule for finding in report.findings} == {"BN101", "BN103"}
    shown = {"mode": "mode", "flag": "flag:0"}[name]
    for finding in report.findings:
        assert not finding.certain
        assert finding.problem.endswith(f", if {shown} is True")
