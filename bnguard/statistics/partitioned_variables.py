"""A variable of a live graph, by the names of the ops that read and write it."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

_REF_VARIABLES = ("Variable", "VariableV2")
_VARIABLES = (*_REF_VARIABLES, "VarHandleOp")


class Part(NamedTuple):
    """A variable of the graph: a whole statistic, or one slice of a partitioned one.

    Names, not tensors: what is remembered of a graph must not keep it alive.

    Attributes:
      name: of the variable's op.
      read: name of the tensor to fetch for its value; None where the graph has none.
      initializer: name of the op whose input 1 becomes the value; None where unknown.
      whole: the variable's full name where it is a slice, else `name`.
      place: which elements of the whole it holds; empty where it is no slice.
    """

    name: str
    read: Optional[str]
    initializer: Optional[str]
    whole: str
    place: Tuple[slice, ...] = ()

    def of(self, whole: np.ndarray) -> np.ndarray:
        """The share that this part holds of the whole."""
        return whole[self.place] if self.place else whole


def parts(graph: tf.Graph) -> Dict[str, Part]:
    """Every variable of a graph by the name of its op, ref and resource variables alike."""
    known = _python_variables(graph)
    with graph.as_default():  # else a variable's VariableDef is refused where TF 2 runs eagerly
        return {
            op.name: _part(op, known.get(op.name))
            for op in graph.get_operations()
            if op.type in _VARIABLES
        }


def _python_variables(graph: tf.Graph) -> Dict[str, Any]:
    """The variables in the graph's collections, by the name of their op."""
    return {
        item.op.name: item
        for key in graph.get_all_collection_keys()
        for item in graph.get_collection(key)
        if hasattr(item, "initializer") and hasattr(item, "to_proto") and hasattr(item, "op")
    }


def _part(op: tf.Operation, variable: Any) -> Part:
    if variable is None:
        return Part(op.name, _bare_read(op), None, op.name)
    read = op.graph.as_graph_element(variable).name
    whole = Part(op.name, read, variable.initializer.name, op.name)
    info = variable.to_proto().save_slice_info_def
    if not info.full_name:
        return whole
    place = tuple(slice(at, at + size) for at, size in zip(info.var_offset, info.var_shape))
    return whole._replace(whole=info.full_name, place=place)


def _bare_read(op: tf.Operation) -> Optional[str]:
    """A tensor that is the variable's value and waits for nothing else."""
    if op.type in _REF_VARIABLES:
        return op.outputs[0].name
    for reader in op.outputs[0].consumers():
        if reader.type == "ReadVariableOp" and not reader.control_inputs:
            return reader.outputs[0].name
    return None
