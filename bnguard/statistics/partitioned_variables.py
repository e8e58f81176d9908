"""The variables of a live graph, with the ops that read and write them.

A variable may be one slice of a partitioned variable, or the copy on one replica of a variable that
a `tf.distribute.Strategy` mirrors.
"""

from __future__ import annotations

import re
from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

_REF_VARIABLES = ("Variable", "VariableV2")
_VARIABLES = (*_REF_VARIABLES, "VarHandleOp")
_COPY = re.compile(r"(.+)/replica_\d+\Z")  # as strategies name the copies on other replicas


class Part(NamedTuple):
    """A variable of the graph: a complete statistic, one slice of it, or a replica's copy.

    It stores names, not tensors, because a cached part must not keep its graph alive.

    Attributes:
      name: name of the variable's op.
      read: name of the tensor to fetch for its value; None if the graph has none.
      initializer: name of the op that assigns its input 1 to the variable; None if unknown.
      full_name: for a slice, the name of the partitioned variable; for a copy, that of the
        variable on the first replica; otherwise `name`.
      slices: the elements of the partitioned variable that it contains, one slice per axis;
        empty if it is not a slice.
      is_copy: whether it is the copy on a replica other than the first.
    """

    name: str
    read: Optional[str]
    initializer: Optional[str]
    full_name: str
    slices: Tuple[slice, ...] = ()
    is_copy: bool = False

    @property
    def offsets(self) -> Tuple[int, ...]:
        """The first element of the slice along each axis; empty if it is not a slice."""
        return tuple(along_axis.start for along_axis in self.slices)

    def slice_of(self, value: np.ndarray) -> np.ndarray:
        """Return the elements of this part, given the value of the complete variable."""
        return value[self.slices] if self.slices else value


def variable_parts(graph: tf.Graph) -> Dict[str, Part]:
    """Return every ref and resource variable of a graph, by the name of its op."""
    variables = _python_variables(graph)
    with graph.as_default():  # where TF 2 runs eagerly, a VariableDef needs a default graph
        parts = {
            op.name: _part(op, variables.get(op.name))
            for op in graph.get_operations()
            if op.type in _VARIABLES
        }
    return {name: _of_replica(part, parts) for name, part in parts.items()}


def _python_variables(graph: tf.Graph) -> Dict[str, Any]:
    """Return the variables in the graph's collections, by the name of their op."""
    return {
        item.op.name: item
        for key in graph.get_all_collection_keys()
        for collected in graph.get_collection(key)
        for item in _on_replicas(collected)
        if hasattr(item, "initializer") and hasattr(item, "to_proto") and hasattr(item, "op")
    }


def _on_replicas(item: Any) -> Tuple[Any, ...]:
    """Return the copies of a mirrored variable, which would add ops if it was read; else `item`."""
    copies = getattr(item, "values", None)
    return copies if isinstance(copies, tuple) else (item,)


def _of_replica(part: Part, parts: Dict[str, Part]) -> Part:
    """Return the part as a copy of the variable on the first replica, if it is one."""
    match = _COPY.match(part.name)
    first = match and parts.get(match.group(1))
    if not first:
        return part
    initializer = part.initializer
    if initializer is None and first.initializer is not None:  # an imported graph does not list it
        initializer = part.name + first.initializer[len(first.name) :]
    return part._replace(
        initializer=initializer, full_name=first.full_name, slices=first.slices, is_copy=True
    )


def _part(op: tf.Operation, variable: Any) -> Part:
    if variable is None:
        return Part(op.name, _read_in_graph(op), None, op.name)
    read = op.graph.as_graph_element(variable).name
    part = Part(op.name, read, variable.initializer.name, op.name)
    try:
        info = variable.to_proto().save_slice_info_def
    except NotImplementedError:  # a whole variable of CentralStorageStrategy, before TF 2.5
        return part
    if not info.full_name:
        return part
    offsets = zip(info.var_offset, info.var_shape)
    slices = tuple(slice(start, start + size) for start, size in offsets)
    return part._replace(full_name=info.full_name, slices=slices)


def _read_in_graph(op: tf.Operation) -> Optional[str]:
    """Return the name of a tensor that has the variable's value and no control inputs."""
    if op.type in _REF_VARIABLES:
        return str(op.outputs[0].name)
    for reader in op.outputs[0].consumers():
        if reader.type == "ReadVariableOp" and not reader.control_inputs:
            return str(reader.outputs[0].name)
    return None
