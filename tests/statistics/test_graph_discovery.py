"""The structure of a live graph: analysed once per version, and never keeping it alive."""

import gc
import weakref

import numpy as np
import pytest
from support.programs import tf1_programs as programs
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.statistics import graph_discovery


def test_a_graph_is_analysed_once_per_version(monkeypatch):
    analysed = []
    load = graph_discovery.load
    monkeypatch.setattr(
        graph_discovery, "load", lambda graph: analysed.append(graph) or load(graph)
    )
    with tf.Graph().as_default(), tf.Session() as session:
        programs.layers()
        session.run(tf.global_variables_initializer())
        assert len(bnguard.snapshot(session)) == len(bnguard.snapshot(session)) == 4
        assert len(analysed) == 1
        with tf.variable_scope("again"):
            programs.layers()
        session.run(tf.global_variables_initializer())
        assert len(bnguard.snapshot(session)) == 8
        assert len(analysed) == 2


def test_a_graph_is_not_kept_alive():
    def snapshot():
        with programs.session() as (session, _):
            bnguard.snapshot(session)
            return weakref.ref(session.graph)

    graph = snapshot()
    gc.collect()
    assert graph() is None


@pytest.mark.parametrize("variables", ["ref", "resource"])
@pytest.mark.parametrize(("arguments", "companions"), programs.COMPANIONS)
def test_variables_of_renorm_and_zero_debiasing_are_statistics(
    variables, arguments, companions, tmp_path
):
    names = sorted(["one/moving_mean", "one/moving_variance", *companions])
    with programs.session(variables, **arguments) as (session, layers):
        programs.train(session, layers)
        taken = bnguard.snapshot(session, scope="one")
        path = session.saver.save(session, str(tmp_path / "model.ckpt"))
        assert not bnguard.diff(session, path)
        assert not bnguard.diff(path, session)
    assert list(taken) == names
    assert bnguard.snapshot(path, scope="one") == taken
    assert [health.problems for health in taken.health()] == [()] * len(names)
    mean, _ = programs.after_one_step()
    if "renorm" in arguments:
        np.testing.assert_allclose(taken["one/renorm_mean"], mean / 10, rtol=1e-6)  # decay 0.99
    else:
        np.testing.assert_allclose(taken["one/one/moving_mean/biased"], mean, rtol=1e-6)
        assert taken["one/one/moving_mean/local_step"] == 1
        assert taken.roles["one/one/moving_mean/local_step"] == "count"


def test_partitioned_companions_of_a_statistic_with_any_name_are_found(tmp_path):
    def build():
        mu = tf.get_variable("net/mu", [4], initializer=tf.zeros_initializer(), trainable=False)
        sigma = tf.get_variable("net/s", [4], initializer=tf.ones_initializer(), trainable=False)
        with tf.variable_scope("net/net/mu", partitioner=tf.fixed_size_partitioner(2)):
            tf.get_variable("biased", [4], initializer=tf.ones_initializer())
        x = tf.placeholder(tf.float32, [None, 1, 1, 4])
        return tf.nn.fused_batch_norm(x, [1.0] * 4, [0.0] * 4, mu, sigma, is_training=False)

    with programs.session(build=build) as (session, _):
        taken = bnguard.snapshot(session)
        path = session.saver.save(session, str(tmp_path / "model.ckpt"))
        assert not bnguard.diff(session, path)
    assert taken.roles == {"net/mu": "mean", "net/s": "variance", "net/net/mu/biased": "biased"}
    np.testing.assert_array_equal(taken["net/net/mu/biased"], np.ones(4))
