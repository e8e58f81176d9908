"""The audit's model of a live graph: made once for each version, and no reason to keep it."""

import gc
import weakref

import bnguard
from bnguard.statistics import structure
import programs
import tensorflow.compat.v1 as tf


def test_a_graph_is_understood_once_for_each_version(monkeypatch):
    understood = []
    load = structure.load
    monkeypatch.setattr(structure, "load", lambda graph: understood.append(graph) or load(graph))
    with tf.Graph().as_default(), tf.Session() as session:
        programs.layers()
        session.run(tf.global_variables_initializer())
        assert len(bnguard.snapshot(session)) == len(bnguard.snapshot(session)) == 4
        assert len(understood) == 1
        with tf.variable_scope("again"):
            programs.layers()
        session.run(tf.global_variables_initializer())
        assert len(bnguard.snapshot(session)) == 8
        assert len(understood) == 2


def test_a_graph_is_not_kept_alive():
    def snapshot():
        with programs.session() as (session, _):
            bnguard.snapshot(session)
            return weakref.ref(session.graph)

    graph = snapshot()
    gc.collect()
    assert graph() is None
