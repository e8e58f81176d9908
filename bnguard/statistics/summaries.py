"""TensorBoard summaries of the running statistics."""

from __future__ import annotations

from typing import Any, Iterator, List

import tensorflow.compat.v1 as tf

from bnguard.statistics import session_values
from bnguard.statistics.graph_discovery import LiveStatistic
from bnguard.statistics.partitioned_variables import Part

_FIGURES = [("min", tf.reduce_min), ("mean", tf.reduce_mean), ("max", tf.reduce_max)]


def statistics_summaries(scope: Any = None) -> tf.Tensor:
    """Summaries of the running statistics of the default graph, merged, for TensorBoard.

    Of each variable V the scalars `V/min`, `V/mean` and `V/max` and the histogram `V/histogram`
    over the elements that are finite, and the scalar `V/non_finite`: how many are not. The tags
    are these wherever, and however often, this is called. Fetched in the same step as an update,
    they may show a statistic before or after it; fetch them in a step of their own to know.

    Args:
      scope: a variable scope or its name; only what is inside counts. None: everything.

    Returns:
      A 0-D string tensor, a serialized `Summary`, in no collection.

    Raises:
      BnguardError: there are no running statistics in the default graph, or in this scope.
    """
    graph = tf.get_default_graph()
    merged: List[tf.Tensor] = []
    with tf.name_scope("running_statistics"):
        for one in session_values.find(graph, scope):
            merged += _summaries(one.name, _value(graph, one))
        return tf.summary.merge(merged, collections=[])


def _value(graph: tf.Graph, statistic: LiveStatistic) -> tf.Tensor:
    values = [_part_value(graph, part) for part in statistic.parts]
    if len(values) == 1:
        return values[0]
    return tf.concat(values, axis=statistic.axis)


def _part_value(graph: tf.Graph, part: Part) -> tf.Tensor:
    if part.read is not None:
        return graph.get_tensor_by_name(part.read)
    handle = graph.get_operation_by_name(part.name)
    return tf.raw_ops.ReadVariableOp(resource=handle.outputs[0], dtype=handle.get_attr("dtype"))


def _summaries(name: str, value: tf.Tensor) -> Iterator[tf.Tensor]:
    """The ops themselves, for `tf.summary` makes a tag unique in its graph, as a name is."""
    value = tf.reshape(value, [-1])
    value = value if value.dtype.is_floating else tf.cast(value, tf.float64)
    is_finite = tf.is_finite(value)
    finite = tf.boolean_mask(value, is_finite)  # a histogram of NaN fails the step
    for what, reduce in _FIGURES:
        yield tf.raw_ops.ScalarSummary(tags=f"{name}/{what}", values=reduce(finite))
    lost = tf.reduce_sum(tf.cast(tf.logical_not(is_finite), tf.int64))
    yield tf.raw_ops.ScalarSummary(tags=f"{name}/non_finite", values=lost)
    yield tf.raw_ops.HistogramSummary(tag=f"{name}/histogram", values=finite)
