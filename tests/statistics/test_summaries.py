"""Summaries, read back from the events that TensorBoard would open."""

import bnguard
import numpy as np
import programs
import pytest
import tensorflow.compat.v1 as tf


def events(folder):
    (path,) = folder.iterdir()
    return [
        (event.step, value)
        for event in tf.train.summary_iterator(str(path))
        for value in event.summary.value
    ]


@pytest.mark.parametrize("kind", ["ref", "resource"])
def test_the_events_hold_the_statistics(kind, tmp_path):
    def build():
        return programs.layers(), bnguard.statistics_summaries()

    with programs.session(kind, build) as (session, (layers, summaries)):
        writer = tf.summary.FileWriter(str(tmp_path))
        programs.train(session, layers)
        writer.add_summary(session.run(summaries), global_step=7)
        writer.close()
    found = {value.tag: (step, value) for step, value in events(tmp_path)}
    assert len(found) == 4 * 4
    mean, variance = programs.after_one_step()
    for tag, expected in [
        ("one/moving_mean/min", mean.min()),
        ("one/moving_mean/mean", mean.mean()),
        ("one/moving_variance/max", variance.max()),
    ]:
        step, value = found[tag]
        assert step == 7
        assert value.simple_value == pytest.approx(expected)
    histogram = found["one/moving_mean/histogram"][1].histo
    assert (histogram.num, histogram.min, histogram.max) == (2, *np.float32(mean))


def test_they_are_in_no_collection_and_of_the_scope_alone():
    with tf.Graph().as_default() as graph:
        programs.layers()
        bnguard.statistics_summaries(scope="two")
        assert graph.get_collection(tf.GraphKeys.SUMMARIES) == []
        assert [
            op for op in graph.get_operations() if op.name.startswith("one/moving_mean/min")
        ] == []


def test_a_partitioned_variable_is_summarized_whole():
    def build():
        with tf.variable_scope("bn", partitioner=tf.fixed_size_partitioner(2)):
            tf.get_variable("moving_variance", [4], initializer=tf.constant_initializer(3.0))
        return bnguard.statistics_summaries()

    with programs.session(build=build) as (session, summaries):
        values = tf.Summary.FromString(session.run(summaries)).value
    found = {value.tag: value for value in values}
    assert found["bn/moving_variance/histogram"].histo.num == 4


def test_nothing_to_summarize():
    with tf.Graph().as_default(), programs.says("no running statistics found"):
        bnguard.statistics_summaries()
