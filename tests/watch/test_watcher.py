"""Which steps are seen, how often, what they are called, and that nothing is left behind."""

import threading

import pytest
from support.analysis.networks import dense, inputs, layer, loss_of, optimizer
import tensorflow.compat.v1 as tf

from bnguard.analysis.rules import RULES, choose
from bnguard.watch.watcher import Stopped, Watcher

FEED = [[1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 0.0, 5.0]]


class Program:
    """A layer that always updates in place, and what a program runs of it."""

    def __init__(self):
        self.x = inputs()
        self.y = layer(dense(self.x), True, updates_collections=None)
        self.train_op = optimizer().minimize(loss_of(self.y))
        self.initializer = tf.global_variables_initializer()
        self.feed = {self.x: FEED, "label:0": FEED}


@pytest.fixture
def program(graph):
    return Program()


def steps(watcher):
    """The kind and number of each step."""
    (graph,) = watcher.report("program").graphs
    return [(step.kind, step.runs) for step in graph.steps]


def watcher_of(stops=False, steps=None, rules=RULES):
    return Watcher(rules, stops, steps)


def test_steps_of_a_session_are_counted_by_kind(program):
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(program.initializer)
        for _ in range(5):
            session.run(program.train_op, program.feed)
        session.run(program.y, program.feed)
    assert steps(watcher) == [("loads", 1), ("trains", 5), ("infers", 1)]


def test_the_methods_of_sessions_are_put_back(program):
    before = {name: tf.Session.__mro__[1].__dict__.get(name) for name in ("_run", "make_callable")}
    with watcher_of().hooks.installed():
        pass
    assert before == {name: tf.Session.__mro__[1].__dict__.get(name) for name in before}


def test_after_n_steps_the_program_is_no_longer_watched(program):
    watcher = watcher_of(steps=3)
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(program.initializer)
        for _ in range(5):
            session.run(program.train_op, program.feed)
    assert steps(watcher) == [("loads", 1), ("trains", 2)]


def test_a_step_with_an_error_stops_before_it_runs(program):
    with tf.Session() as session:
        session.run(program.initializer)
        mean = next(v for v in tf.global_variables() if v.op.name.endswith("moving_mean"))
        before = session.run(mean)
        with watcher_of(stops=True).hooks.installed(), pytest.raises(Stopped):
            session.run(program.y, program.feed)
        assert (session.run(mean) == before).all()


def test_a_rule_that_is_ignored_does_not_stop(program):
    watcher = watcher_of(stops=True, rules=choose(ignore=["BN1"]))
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(program.initializer)
        session.run(program.y, program.feed)
    assert not watcher.report("program").has_errors


def test_callables_are_seen_at_each_call(program):
    watcher = watcher_of()
    with tf.Session() as session, watcher.hooks.installed():
        initialize = session.make_callable(program.initializer)
        train = session.make_callable(program.train_op, [program.x, "label:0"])
        initialize()
        for _ in range(3):
            train(FEED, FEED)
    assert steps(watcher) == [("loads", 1), ("trains", 3)]


def test_a_monitored_session_is_seen(program):
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.train.MonitoredSession() as session:
        for _ in range(3):
            session.run(program.train_op, program.feed)
    assert ("trains", 3) in steps(watcher)


def test_threads_are_counted_together(program):
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(program.initializer)
        run = lambda: [session.run(program.train_op, program.feed) for _ in range(20)]  # noqa: E731
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert steps(watcher) == [("loads", 1), ("trains", 80)]


def test_each_graph_has_a_report(graph):
    watcher = watcher_of()
    with watcher.hooks.installed():
        for _ in range(2):
            with tf.Graph().as_default(), tf.Session() as session:
                session.run(Program().initializer)
    report = watcher.report("program")
    assert [one.source for one in report.reports] == ["program, graph 1", "program, graph 2"]


def test_update_ops_that_are_fetched_by_name_are_no_inference(graph):
    x = inputs()
    y = layer(dense(x), True)
    train_op = optimizer().minimize(loss_of(y))
    update = tf.group(*tf.get_collection(tf.GraphKeys.UPDATE_OPS))
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train_op, {x: FEED, "label:0": FEED})
        session.run(update, {x: FEED})
    assert [kind for kind, _ in steps(watcher)] == ["loads", "trains", "updates"]
    assert watcher.report("program").graphs[0].report.ok


def test_saves_that_differ_only_in_their_path_are_one_line(program, tmp_path):
    saver = tf.train.Saver()
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(program.initializer)
        for number in range(3):
            saver.save(session, str(tmp_path / "model"), global_step=number)
    assert steps(watcher) == [("loads", 1), ("saves", 3)]
