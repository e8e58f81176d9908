"""What a session runs in a block: each distinct step, whether it failed, and not too many."""

import pytest
from support.programs import tf1_programs as programs
import tensorflow.compat.v1 as tf

from bnguard.guard import run_recorder
from bnguard.guard.run_recorder import record_runs


def test_distinct_steps_are_noted_once_and_in_order():
    with programs.session() as (session, layers), record_runs(session) as steps:
        for _ in range(3):
            programs.infer(session, layers)
            programs.train(session, layers)
    assert [dict(step.feeds)["is_training:0"] for step in steps] == [False, True]
    assert len(steps) == 2


def test_a_run_gets_what_it_was_given_and_gives_what_it_got():
    with programs.session() as (session, layers), record_runs(session):
        metadata = tf.RunMetadata()
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        feed = {layers.x: programs.BATCH, layers.is_training: False}
        y = session.run(fetches=layers.y, feed_dict=feed, options=options, run_metadata=metadata)
        assert y.shape == programs.BATCH.shape
        assert metadata.step_stats.dev_stats
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run(layers.y)


def test_a_step_that_failed_is_told_apart():
    with programs.session() as (session, layers), record_runs(session) as steps:
        programs.infer(session, layers)
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run("y:0")
        assert [step.fetches for step in steps] == [("y:0",), ("y:0",)]
        assert [dict(step.feeds) for step in steps.whole()] == [
            {"x:0": None, "is_training:0": False}
        ]


def test_what_is_no_step_is_the_sessions_to_refuse():
    with programs.session() as (session, _), record_runs(session) as steps:
        with pytest.raises(TypeError, match="dict"):
            session.run("y:0", [1])
        with pytest.raises(ValueError, match="nosuch"):
            session.run("nosuch:0")
        assert len(steps) == 0


@pytest.mark.parametrize("fails_first", [True, False])
def test_a_step_that_ran_once_has_run(fails_first):
    steps = run_recorder.RecordedRuns()
    for is_whole in (not fails_first, fails_first):
        steps.add("a step", is_whole)
    assert steps.whole() == ["a step"]


def test_the_first_hundred_are_remembered():
    steps = run_recorder.RecordedRuns()
    for number in range(250):
        steps.add(number)
    assert list(steps) == list(range(100))


def test_a_known_step_is_not_looked_up_in_the_graph_again(monkeypatch):
    with programs.session() as (session, layers), record_runs(session) as steps:
        programs.infer(session, layers)
        monkeypatch.setattr(type(session.graph), "as_graph_element", None)
        tap = session.run
        monkeypatch.setattr(tap, "_before", lambda *args: "ran")
        assert programs.infer(session, layers) == "ran"
        assert len(steps) == 1
