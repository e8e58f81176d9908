"""Trainer, evaluator and parameter server in three processes: the evaluator's effect."""

import multiprocessing
import signal

import numpy as np
import pytest
from support import forked
from support.programs import evaluator
from support.programs import tf1_programs as programs
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.harness.cases import cluster

pytestmark = pytest.mark.slow

NAMES = ["bn/moving_mean", "bn/moving_variance"]
BOUND = 120  # seconds


class Evaluator:
    """The evaluator's process; it must answer within BOUND."""

    def __init__(self, spec, outputs):
        self._connection, other = multiprocessing.Pipe()
        self._process = forked.Command(outputs, spec, other, function=evaluator.serve)

    def __enter__(self):
        assert self._answer() == "serving"
        return self

    def __exit__(self, *exc):
        self._process.send(signal.SIGKILL)

    def evaluate(self, mode, guard):
        self._connection.send((mode, guard))
        return self._answer()

    def _answer(self):
        assert self._connection.poll(BOUND)
        return self._connection.recv()


def test_only_an_evaluator_in_training_mode_changes_the_trainers_statistics(tmp_path):
    spec = cluster.spec()
    parameter_server = cluster.serve_elsewhere(spec, "ps")
    with Evaluator(spec, tmp_path) as other, tf.Graph().as_default():
        x, y = evaluator.network(spec, is_training=True)
        server = tf.distribute.Server(spec, "trainer")
        with tf.Session(server.target) as session:
            session.run(tf.global_variables_initializer())
            session.run(y, {x: programs.BATCH})
            trained = bnguard.snapshot(session)

            assert other.evaluate("infer", "frozen") == []
            assert other.evaluate("infer", "hook") == []
            assert bnguard.snapshot(session) == trained

            assert other.evaluate("train", "hook") == NAMES
            assert bnguard.snapshot(session) == trained  # the hook refused the step

            assert other.evaluate("train", "frozen") == NAMES
            moved = bnguard.snapshot(session)
    rows, decay = programs.BATCH.astype(np.float64), programs.DECAY
    for name, moment in zip(NAMES, (rows.mean(axis=0), rows.var(axis=0))):
        expected = decay * trained[name] + (1 - decay) * moment
        np.testing.assert_allclose(moved[name], expected, rtol=1e-6)
        assert not np.allclose(moved[name], trained[name])

    parameter_server.stdin.close()  # the same happens when this process ends or is killed
    assert parameter_server.wait(BOUND) == 0
