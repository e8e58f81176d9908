"""TensorBoard summaries of the running statistics."""

from __future__ import annotations

from typing import Any, List

from bnguard.statistics import live
from bnguard.statistics.parts import Part
from bnguard.statistics.structure import LiveStatistic
import tensorflow.compat.v1 as tf

_SCALARS = [("min", tf.reduce_min), ("mean", tf.reduce_mean), ("max", tf.reduce_max)]


def statistics_summaries(scope: Any = None) -> tf.Tensor:
    """Summaries of the running statistics of the default graph, merged, for TensorBoard.

    Of each variable V the scalars `V/min`, `V/mean` and `V/max` over its elements, and the
    histogram `V/histogram`. Fetched in the same step as an update, they may show a statistic
    before or after it; fetch them in a step of their own to know.

    Args:
      scope: a variable scope or its name; only what is inside counts. None: everything.

    Returns:
      A 0-D string tensor, a serialized `Summary`, in no collection.

    Raises:
      BnguardError: there are no running statistics in the default graph, or in this scope.
    """
    graph = tf.get_default_graph()
    merged = []
    with tf.name_scope(None):  # a tag is the variable's name, wherever this is called
        for one in live.find(graph, scope):
            merged += _summaries(one.name, _value(graph, one))
        return tf.summary.merge(merged, collections=[], name="running_statistics")


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


def _summaries(name: str, value: tf.Tensor) -> List[tf.Tensor]:
    scalars = [
        tf.summary.scalar(f"{name}/{what}", reduce(value), collections=[])
        for what, reduce in _SCALARS
    ]
    return [*scalars, tf.summary.histogram(f"{name}/histogram", value, collections=[])]
