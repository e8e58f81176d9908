"""The recorded runs of a session: distinct, in order, bounded, with those that completed."""

import pytest
from support.programs import tf1_programs as programs
import tensorflow.compat.v1 as tf

from bnguard.guard import run_recorder
from bnguard.guard.run_recorder import record_runs


def test_distinct_runs_are_recorded_once_and_in_order():
    with programs.session() as (session, layers), record_runs(session) as runs:
        for _ in range(3):
            programs.infer(session, layers)
            programs.train(session, layers)
    assert [dict(run_key.feeds)["is_training:0"] for run_key in runs] == [False, True]
    assert len(runs) == 2


def test_arguments_results_and_errors_of_a_run_are_passed_through():
    with programs.session() as (session, layers), record_runs(session):
        metadata = tf.RunMetadata()
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        feed = {layers.x: programs.BATCH, layers.is_training: False}
        y = session.run(fetches=layers.y, feed_dict=feed, options=options, run_metadata=metadata)
        assert y.shape == programs.BATCH.shape
        assert metadata.step_stats.dev_stats
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run(layers.y)


def test_a_failed_run_is_recorded_as_not_completed():
    with programs.session() as (session, layers), record_runs(session) as runs:
        programs.infer(session, layers)
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run("y:0")
        assert [run_key.fetches for run_key in runs] == [("y:0",), ("y:0",)]
        assert [dict(run_key.feeds) for run_key in runs.completed()] == [
            {"x:0": None, "is_training:0": False}
        ]


def test_invalid_arguments_are_refused_by_the_session_and_not_recorded():
    with programs.session() as (session, _), record_runs(session) as runs:
        with pytest.raises(TypeError, match="dict"):
            session.run("y:0", [1])
        with pytest.raises(ValueError, match="nosuch"):
            session.run("nosuch:0")
        assert len(runs) == 0


@pytest.mark.parametrize("fails_first", [True, False])
def test_a_run_that_completed_once_is_completed(fails_first):
    runs = run_recorder.RecordedRuns()
    for is_completed in (not fails_first, fails_first):
        runs.add("a run", is_completed)
    assert runs.completed() == ["a run"]


def test_only_the_first_hundred_runs_are_recorded():
    runs = run_recorder.RecordedRuns()
    for number in range(250):
        runs.add(number)
    assert list(runs) == list(range(100))


def test_a_cached_step_is_not_looked_up_in_the_graph(monkeypatch):
    with programs.session() as (session, layers), record_runs(session) as runs:
        programs.infer(session, layers)
        monkeypatch.setattr(type(session.graph), "as_graph_element", None)
        monkeypatch.setattr(session.run, "replaced", lambda *args: "ran")
        assert programs.infer(session, layers) == "ran"
        assert len(runs) == 1
