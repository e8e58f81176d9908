"""Summaries, read back from the events that TensorBoard reads."""

import numpy as np
import pytest
from support.programs import tf1_programs as programs
import tensorflow.compat.v1 as tf

import bnguard


def events(folder):
    (path,) = folder.iterdir()
    return [
        (event.step, value)
        for event in tf.train.summary_iterator(str(path))
        for value in event.summary.value
    ]


@pytest.mark.parametrize("variables", ["ref", "resource"])
def test_the_events_contain_the_statistics(variables, tmp_path):
    def build():
        return programs.layers(), bnguard.statistics_summaries()

    with programs.session(variables, build) as (session, (layers, summaries)):
        writer = tf.summary.FileWriter(str(tmp_path))
        programs.train(session, layers)
        writer.add_summary(session.run(summaries), global_step=7)
        writer.close()
    found = {value.tag: (step, value) for step, value in events(tmp_path)}
    assert len(found) == 4 * 5
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


def values_of(session, summaries):
    values = tf.Summary.FromString(session.run(summaries)).value
    assert len({value.tag for value in values}) == len(values)
    return {value.tag: value for value in values}


def test_summaries_are_in_no_collection_and_cover_only_the_scope():
    def build():
        programs.layers()
        return bnguard.statistics_summaries(scope="two")

    with programs.session(build=build) as (session, summaries):
        assert session.graph.get_collection(tf.GraphKeys.SUMMARIES) == []
        tags = values_of(session, summaries)
    assert {tag.rpartition("/")[0] for tag in tags} == {"two/moving_mean", "two/moving_variance"}


def test_tags_do_not_depend_on_name_scope_or_number_of_calls():
    def build():
        programs.layers()
        with tf.name_scope("metrics"):
            first = bnguard.statistics_summaries()
        return first, bnguard.statistics_summaries()

    with programs.session(build=build) as (session, summaries):
        first, second = (values_of(session, summary) for summary in summaries)
    assert list(first) == list(second)
    assert "one/moving_mean/min" in first


@pytest.mark.parametrize(
    ("values", "finite"), [([1.0, np.nan, 4.0, -np.inf], [1.0, 4.0]), ([np.nan], [])]
)
def test_non_finite_elements_are_counted(values, finite):
    def build():
        tf.get_variable("bn/moving_mean", initializer=np.float32(values))
        return bnguard.statistics_summaries()

    with programs.session(build=build) as (session, summaries):
        found = values_of(session, summaries)
    assert found["bn/moving_mean/non_finite"].simple_value == len(values) - len(finite)
    assert found["bn/moving_mean/histogram"].histo.num == len(finite)
    if finite:
        figures = [
            found[f"bn/moving_mean/{figure}"].simple_value for figure in ("min", "mean", "max")
        ]
        assert figures == [1.0, 2.5, 4.0]


def test_an_integer_variable_is_summarized():
    def build():
        tf.get_variable("bn/moving_mean/local_step", initializer=7, trainable=False)
        return bnguard.statistics_summaries()

    with programs.session(build=build) as (session, summaries):
        found = values_of(session, summaries)
    assert found["bn/moving_mean/local_step/max"].simple_value == 7


def test_a_resource_variable_without_a_read_op_is_summarized():
    with tf.Graph().as_default(), tf.Session() as session:
        handle = tf.raw_ops.VarHandleOp(
            dtype=tf.float32, shape=[2], shared_name="v", name="bn/moving_mean"
        )
        assign = tf.raw_ops.AssignVariableOp(resource=handle, value=[2.0, 3.0])
        summaries = bnguard.statistics_summaries()
        session.run(assign)
        assert values_of(session, summaries)["bn/moving_mean/max"].simple_value == 3


def test_a_partitioned_variable_is_summarized_joined():
    def build():
        with tf.variable_scope("bn", partitioner=tf.fixed_size_partitioner(2)):
            tf.get_variable("moving_variance", [4], initializer=tf.constant_initializer(3.0))
        return bnguard.statistics_summaries()

    with programs.session(build=build) as (session, summaries):
        found = values_of(session, summaries)
    assert found["bn/moving_variance/histogram"].histo.num == 4


def test_a_graph_without_statistics_is_refused():
    with tf.Graph().as_default(), programs.fails_with("no running statistics found"):
        bnguard.statistics_summaries()
