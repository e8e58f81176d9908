"""TensorBoard summaries of the running statistics."""

from __future__ import annotations

from typing import Iterator, List, Optional, Sequence

import tensorflow.compat.v1 as tf

from bnguard.statistics import session_values
from bnguard.statistics.graph_discovery import LiveStatistic
from bnguard.statistics.partitioned_variables import Part
from bnguard.statistics.scopes import Scope

_FIGURES = [("min", tf.reduce_min), ("mean", tf.reduce_mean), ("max", tf.reduce_max)]


def statistics_summaries(scope: Optional[Scope] = None) -> tf.Tensor:
    """Create one merged summary of the running statistics of the default graph.

    For each variable V it contains the scalars `V/min`, `V/mean` and `V/max` and the histogram
    `V/histogram` of the finite elements, and the scalar `V/non_finite`, the number of the other
    elements. The tags do not depend on the name scope or on the number of calls. In a step that
    also updates a statistic, the summary may show the value before or after the update; run it in
    a step of its own to be sure.

    Args:
      scope: a variable scope or its name; selects the statistics in it. None selects all.

    Returns:
      A scalar string tensor, a serialized `Summary`. It is in no collection.

    Raises:
      BnguardError: there are no running statistics in the default graph, or in this scope.
    """
    graph = tf.get_default_graph()
    merged: List[tf.Tensor] = []
    with tf.name_scope("running_statistics"):
        for statistic in session_values.find(graph, scope):
            merged += _summaries(statistic.name, _value(graph, statistic))
        return tf.summary.merge(merged, collections=[])


def _value(graph: tf.Graph, statistic: LiveStatistic) -> tf.Tensor:
    values = [_mean_value(graph, copies) for copies in statistic.copies]
    if len(values) == 1:
        return values[0]
    return tf.concat(values, axis=statistic.axis)


def _mean_value(graph: tf.Graph, copies: Sequence[Part]) -> tf.Tensor:
    values = [_part_value(graph, part) for part in copies]
    return values[0] if len(values) == 1 else tf.add_n(values) / len(values)


def _part_value(graph: tf.Graph, part: Part) -> tf.Tensor:
    if part.read is not None:
        return graph.get_tensor_by_name(part.read)
    handle = graph.get_operation_by_name(part.name)
    return tf.raw_ops.ReadVariableOp(resource=handle.outputs[0], dtype=handle.get_attr("dtype"))


def _summaries(name: str, value: tf.Tensor) -> Iterator[tf.Tensor]:
    """Create the summary ops of a value; `tf.summary` would make their tags unique per graph."""
    value = tf.reshape(value, [-1])
    value = value if value.dtype.is_floating else tf.cast(value, tf.float64)
    is_finite = tf.is_finite(value)
    finite = tf.boolean_mask(value, is_finite)  # a histogram of NaN fails the step
    for figure, reduce in _FIGURES:
        yield tf.raw_ops.ScalarSummary(tags=f"{name}/{figure}", values=reduce(finite))
    non_finite = tf.reduce_sum(tf.cast(tf.logical_not(is_finite), tf.int64))
    yield tf.raw_ops.ScalarSummary(tags=f"{name}/non_finite", values=non_finite)
    yield tf.raw_ops.HistogramSummary(tag=f"{name}/histogram", values=finite)
