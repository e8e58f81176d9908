"""Which steps are seen, how often, what they are called, and that nothing is left behind."""

import os
import signal
import sys
import threading

import numpy as np
import pytest
from support.analysis.networks import dense, inputs, layer, loss_of, optimizer
import tensorflow.compat.v1 as tf

from bnguard.analysis.rules import RULES, choose
from bnguard.watch.watcher import Watcher

pytestmark = pytest.mark.slow

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


def test_a_step_that_fetches_the_gradients_that_another_is_fed_trains(graph):
    """As workers do that send their gradients to another, or sum them over micro-batches."""
    x, label = inputs(), "label:0"
    loss = loss_of(layer(dense(x), True))
    computed = optimizer().compute_gradients(loss)
    fed = [(tf.placeholder(tf.float32, value.shape), value) for _, value in computed]
    apply = optimizer().apply_gradients(fed)
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        values = session.run([gradient for gradient, _ in computed], {x: FEED, label: FEED})
        session.run(apply, dict(zip([key for key, _ in fed], values)))
    assert steps(watcher) == [("loads", 1), ("trains", 1), ("trains", 1)]
    (found,) = watcher.report("program").graphs
    assert {finding.rule for finding in found.report.findings} == {"BN201"}  # no step updates


def test_a_step_that_fetches_a_gradient_in_another_program_infers(graph):
    """As a saliency map does."""
    x = inputs()
    loss = loss_of(layer(dense(x), False))
    optimizer().minimize(loss)
    (for_input,) = tf.gradients(loss, x)
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(for_input, {x: FEED, "label:0": FEED})
    assert steps(watcher) == [("loads", 1), ("infers", 1)]


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
        with watcher_of(stops=True).hooks.installed(), pytest.raises(SystemExit):
            session.run(program.y, program.feed)
        assert (session.run(mean) == before).all()


def test_a_step_with_an_error_stops_every_time_and_other_steps_run(program):
    """A program that catches everything must not run it the second time."""
    with tf.Session() as session, watcher_of(stops=True).hooks.installed():
        session.run(program.initializer)
        for _ in range(2):
            with pytest.raises(SystemExit):
                session.run(program.y, program.feed)
            session.run(program.train_op, program.feed)


@pytest.mark.parametrize("stops", [False, True])
def test_a_repeated_step_makes_few_calls(program, stops):
    """Every step of a program waits for them."""
    watcher = watcher_of(stops)
    feed = {program.x: np.ones([2, 4]), "label:0": FEED, "flag:0": True}
    calls = []
    with tf.Session() as session:
        watcher.observe(session, [program.y, program.train_op], feed)
        sys.setprofile(lambda frame, event, argument: calls.append(event))
        watcher.observe(session, [program.y, program.train_op], feed)
        sys.setprofile(None)
    assert steps(watcher) == [("trains", 2)]
    assert calls.count("call") <= 12
    assert len(calls) <= 80


def train_in_threads(session, program):
    """Initialize, and train 20 steps in each of four threads."""
    session.run(program.initializer)
    run = lambda: [session.run(program.train_op, program.feed) for _ in range(20)]  # noqa: E731
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_no_more_than_n_steps_are_counted_in_threads(program):
    watcher = watcher_of(steps=10)
    with watcher.hooks.installed(), tf.Session() as session:
        train_in_threads(session, program)
    assert steps(watcher) == [("loads", 1), ("trains", 9)]


def test_a_forked_child_counts_nothing_even_if_a_thread_was_counting(program):
    """The lock that the thread has is never released in the child."""
    watcher = watcher_of()
    started, may_end = threading.Event(), threading.Event()

    class Fetches(list):
        def __iter__(self):
            started.set()
            may_end.wait(30)
            return super().__iter__()

    with tf.Session() as session:
        thread = threading.Thread(target=watcher.observe, args=(session, Fetches("y"), None))
        thread.start()
        started.wait(30)
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            watcher.observe(session, program.y, None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        may_end.set()
        thread.join()
        watcher.observe(session, program.y, None)
    assert status == 0
    assert sum(runs for _, runs in steps(watcher)) == 2


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
        train_in_threads(session, program)
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


def test_a_finding_about_many_training_steps_names_the_first(graph):
    loss = loss_of(layer(dense(inputs()), True))
    train_ops = [tf.train.GradientDescentOptimizer(0.1).minimize(loss) for _ in range(5)]
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for train_op in train_ops:
            session.run(train_op, {"x:0": FEED, "label:0": FEED})
    names = [train_op.name for train_op in train_ops]
    for finding in watcher.report("program").graphs[0].report.findings:
        assert f": {', '.join(names[:3])} and 2 more steps run none of" in finding.problem
        assert finding.fetch == ", ".join(names)


def test_saves_that_differ_only_in_their_path_are_one_line(program, tmp_path):
    saver = tf.train.Saver()
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(program.initializer)
        for number in range(3):
            saver.save(session, str(tmp_path / "model"), global_step=number)
    assert steps(watcher) == [("loads", 1), ("saves", 3)]


def test_partial_runs_know_the_feeds_of_earlier_calls(graph):
    x, is_training = inputs(), tf.placeholder(tf.bool, [], name="is_training")
    features = dense(x)
    y = layer(features, is_training, updates_collections=None)
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        handle = session.partial_run_setup([features, y], [x, is_training])
        session.partial_run(handle, features, {x: FEED, is_training: False})
        session.partial_run(handle, y)
    (report,) = watcher.report("program").graphs
    assert [(step.kind, step.feeds) for step in report.steps[1:]] == [
        ("other", (("is_training:0", False),)),
        ("infers", (("is_training:0", False),)),
    ]
    assert report.report.ok


def test_an_interactive_session_and_eval_are_seen(program):
    watcher = watcher_of()
    with watcher.hooks.installed():
        session = tf.InteractiveSession()
        try:
            program.initializer.run()
            program.y.eval(program.feed)
        finally:
            session.close()
    assert steps(watcher) == [("loads", 1), ("infers", 1)]


def test_a_monitored_training_session_saves_and_restores(program, tmp_path):
    tf.train.create_global_step()
    watcher = watcher_of()
    for _ in range(2):
        with watcher.hooks.installed(), tf.train.MonitoredTrainingSession(
            checkpoint_dir=str(tmp_path), log_step_count_steps=None, save_summaries_steps=None
        ) as session:
            for _ in range(3):
                session.run(program.train_op, program.feed)
    (report,) = watcher.report("program").graphs
    assert [step.runs for step in report.steps if step.kind == "trains"] == [6]
    assert {"saves", "loads"} < {step.kind for step in report.steps}
    assert report.report.ok


def test_a_flag_that_is_never_fed_is_told(graph):
    x, flag = inputs(), tf.placeholder_with_default(False, [], name="is_training")
    y = layer(dense(x), flag)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = optimizer().minimize(loss_of(y))
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train_op, {x: FEED, "label:0": FEED})
        (report,) = watcher.report("program").graphs
        assert report.unfed_flags == (
            "is_training:0 was never fed: it had its default, False, in each step",
        )
        assert {finding.problem for finding in report.report.findings} == {
            "is never updated: Momentum runs its update op with is_training:0=False, at which the "
            "update changes nothing"
        }


def test_a_flag_that_some_step_feeds_is_not(graph):
    x, flag = inputs(), tf.placeholder_with_default(False, [], name="is_training")
    y = layer(dense(x), flag)
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS), {x: FEED, flag: True})
        session.run(y, {x: FEED})
    (report,) = watcher.report("program").graphs
    assert report.unfed_flags == ()


def test_an_evaluation_by_the_branch_that_does_not_train_is_no_training(graph):
    x, flag = inputs(), tf.placeholder(tf.bool, [], name="train")
    y = layer(dense(x), flag, updates_collections=None)
    loss = loss_of(y)
    step = tf.cond(flag, lambda: with_train_op(loss), lambda: loss)
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for value in (True, False):
            session.run(step, {x: FEED, "label:0": FEED, flag: value})
    assert steps(watcher) == [("loads", 1), ("trains", 1), ("infers", 1)]


def with_train_op(loss):
    with tf.control_dependencies([optimizer().minimize(loss)]):
        return tf.identity(loss)


def test_ops_that_are_added_between_steps_are_known(graph):
    x = inputs()
    y = layer(dense(x), False)
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(y, {x: FEED})
        with tf.variable_scope("second"):
            late = layer(x, True, updates_collections=None)
        session.run(tf.variables_initializer(tf.global_variables("second")))
        session.run(late, {x: FEED})
    (report,) = watcher.report("program").graphs
    assert {finding.variable for finding in report.report.findings if finding.rule == "BN101"} == {
        "second/bn/moving_mean",
        "second/bn/moving_variance",
    }


@pytest.mark.parametrize("is_sharded", [False, True])
@pytest.mark.parametrize("leaves_out", [False, True])
def test_what_each_saver_left_out_is_told(program, tmp_path, is_sharded, leaves_out):
    some = tf.trainable_variables() if leaves_out else tf.global_variables()
    with tf.name_scope("nested"):
        saver = tf.train.Saver(some, sharded=is_sharded)
    tf.train.Saver()  # saves nothing here
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(program.initializer)
        saver.save(session, str(tmp_path / "model"))
    findings = watcher.report("program").graphs[0].report.findings
    missing = {"bn/moving_mean", "bn/moving_variance"} if leaves_out else set()
    assert {finding.variable for finding in findings if finding.rule == "BN301"} == missing


def test_a_mistake_in_a_fetch_is_reported_by_tensorflow(program):
    watcher = watcher_of()
    wrong_feeds = [3], np.ones([2]), "x:0"
    mistakes = [(None, None), ("nowhere:0", {}), *((program.y, feed) for feed in wrong_feeds)]
    with watcher.hooks.installed(), tf.Session() as session:
        for fetches, feed in mistakes:
            with pytest.raises((TypeError, ValueError, AttributeError)) as caught:
                session.run(fetches, feed)
            assert "bnguard" not in str(caught.traceback[-1].path)
    report = watcher.report("program")
    assert report.notes == ()
    assert report.is_complete


def test_a_step_that_cannot_be_judged_runs_and_the_report_is_not_complete(program, monkeypatch):
    watcher = watcher_of()
    monkeypatch.setattr("bnguard.guard.step_cache.run_key_of", lambda *args: 1 / 0)
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(program.initializer)
        session.run(program.y, program.feed)
    report = watcher.report("program")
    assert report.notes == ("a step was not judged: ZeroDivisionError: division by zero",)
    assert not report.is_complete


def test_one_step_may_be_fed_a_text_by_the_tensor_or_by_its_name(program, tmp_path):
    saver = tf.train.Saver()
    name = saver.saver_def.filename_tensor_name
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(program.initializer)
        for key in (session.graph.get_tensor_by_name(name), name):
            session.run(saver.saver_def.save_tensor_name, {key: str(tmp_path / "model")})
    report = watcher.report("program")
    assert report.notes == ()
    assert steps(watcher) == [("loads", 1), ("saves", 2)]


def test_what_other_threads_build_and_run_at_once_is_seen(graph):
    watcher = watcher_of()

    def run():
        with tf.Graph().as_default(), tf.Session() as session:
            own = Program()
            session.run(own.initializer)
            session.run(own.train_op, own.feed)

    with watcher.hooks.installed():
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    graphs = watcher.report("program").graphs
    assert [[step.kind for step in graph.steps] for graph in graphs] == [["loads", "trains"]] * 4


def test_graphs_and_steps_without_number_are_bounded(graph):
    watcher = watcher_of()
    with watcher.hooks.installed():
        for _ in range(22):
            with tf.Graph().as_default(), tf.Session() as session:
                session.run(tf.constant(1.0))
        with tf.Session() as session:
            pass
    report = watcher.report("program")
    assert len(report.graphs) == 20
    assert report.notes == ("only the first 20 graphs were watched",)


def test_each_step_of_a_loop_that_adds_ops_is_counted(graph):
    watcher = watcher_of()
    with watcher.hooks.installed(), tf.Session() as session:
        for number in range(230):
            session.run(tf.constant(float(number)))
    (report,) = watcher.report("program").graphs
    assert len(report.steps) == 200
    assert report.unjudged == 30
    assert "and 30 runs of more steps, which were not judged" in list(report.lines(color=False))
