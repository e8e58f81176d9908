"""`import_meta_graph`: a graph that TensorFlow 1.x saved, in the TensorFlow installed here.

TensorFlow 2 refuses training graphs of 1.x with fused layers, because the shapes stored with them
contradict its own shape inference. It also refuses attributes that it does not know, even at their
defaults.
"""

from __future__ import annotations

from collections import Counter
import os
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union
import warnings

from google.protobuf import text_format
from google.protobuf.message import DecodeError
import tensorflow.compat.v1 as tf

from bnguard.analysis import limits
from bnguard.errors import BnguardError, first_line
from bnguard.runtime.files import read_regular

STALE_ATTRIBUTE = "_output_shapes"
"""The attribute with the shapes that shape inference found when the graph was saved."""

_UNKNOWN_ATTRIBUTE = re.compile(r"NodeDef mentions attr '(\w+)' not in Op<name=(\w+);")
_UNKNOWN_OP = re.compile(r"Op type not registered '([^']+)'")
_IMPORT_ERRORS = (
    tf.errors.OpError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)  # the types that TensorFlow's import raises for a graph that it does not take
_SHOWN_NODES = 3
# The collections whose elements are messages that TensorFlow itself reads.
_MESSAGES = frozenset(
    [
        *("cond_context", "global_step", "queue_runners", "savers", "while_context"),
        *("local_variables", "metric_variables", "model_variables", "moving_average_variables"),
        *("trainable_variables", "variables"),
    ]
)


def import_meta_graph(
    meta_graph_or_file: Union[str, os.PathLike[str], Any],
    clear_devices: bool = False,
    import_scope: Optional[str] = None,
) -> Optional[tf.train.Saver]:
    """Add a saved graph to the default graph, as `tf.train.import_meta_graph` does.

    Graphs that TensorFlow 1.x saved load as well. Shapes that were stored with them are dropped and
    inferred again. Attributes that the op of this TensorFlow does not have are dropped if they have
    their defaults. Collection entries that cannot be restored, such as objects of `tf.contrib`, are
    left out with a RuntimeWarning. Ref variables stay ref variables, and the contexts of `tf.cond`
    and `tf.while_loop` are restored, so gradients can be added.

    Args:
      meta_graph_or_file: the path of a `.meta` file, binary or text, or a MetaGraphDef message,
        which stays as it is.
      clear_devices: whether to drop the devices that the nodes were placed on.
      import_scope: a name scope to put in front of all names.

    Returns:
      The Saver that was saved with the graph, or one of its variables. None if it has none.

    Raises:
      BnguardError: there is no such file, it is not a MetaGraphDef, or the graph cannot be loaded,
        for example because it needs an op that this TensorFlow does not have.
    """
    if isinstance(meta_graph_or_file, (str, os.PathLike)):
        where = os.fspath(meta_graph_or_file)
        meta_graph = read_meta_graph(where)
    else:
        where = "<MetaGraphDef>"
        meta_graph = _copy_of(meta_graph_or_file)
    if tf.executing_eagerly():
        raise BnguardError(
            f"{where}: no graph to import into, because TensorFlow runs eagerly; expected a "
            "default graph. Call this inside `with tf.Graph().as_default():`."
        )
    _drop_stale_shapes(meta_graph.graph_def)
    _drop_lost_entries(meta_graph, where)
    if import_scope:  # a failed import would use the scope up
        _drop_unknown_attributes(meta_graph, where)
    try:
        return _import(meta_graph, clear_devices, import_scope)
    except _IMPORT_ERRORS as error:
        if not _UNKNOWN_ATTRIBUTE.search(str(error)):
            raise _refusal(error, meta_graph.graph_def, where) from error
    _drop_unknown_attributes(meta_graph, where)
    try:
        return _import(meta_graph, clear_devices, import_scope)
    except _IMPORT_ERRORS as error:
        raise _refusal(error, meta_graph.graph_def, where) from error


def read_meta_graph(path: str) -> Any:
    """Return the MetaGraphDef in a `.meta` file, binary or text.

    Raises:
      BnguardError: the file cannot be read, or is no MetaGraphDef.
    """
    try:
        data = read_regular(path, limits.FILE_BYTES)
    except OSError as error:
        raise BnguardError(
            f"{path}: cannot be read ({error.strerror}); expected a .meta file. Give the path of "
            "the file that Saver.save wrote beside the checkpoint."
        ) from error
    meta_graph = _decode(data)
    if meta_graph is None or not meta_graph.graph_def.node:
        raise BnguardError(
            f"{path}: not a graph with its collections, or damaged; expected a .meta file "
            "(MetaGraphDef), binary or text. Give the file that Saver.save or "
            "tf.train.export_meta_graph wrote."
        )
    return meta_graph


def import_graph(graph_def: Any, where: str, op_list: Any = None) -> None:
    """Add a GraphDef to the default graph under its own names, without stored shapes.

    Args:
      graph_def: the GraphDef; its stale shapes and unknown attributes are dropped in place.
      where: where it comes from, for error messages.
      op_list: the OpList of the TensorFlow that wrote it, if it is known.

    Raises:
      BnguardError: this TensorFlow does not take the graph.
    """
    _drop_stale_shapes(graph_def)
    for _ in range(len(graph_def.node) + 1):
        try:
            tf.import_graph_def(graph_def, name="", producer_op_list=op_list)
            return
        except _IMPORT_ERRORS as error:
            _drop_unknown_attribute(graph_def, op_list, error, where)


def _decode(data: bytes) -> Any:
    meta_graph = tf.MetaGraphDef()
    try:
        meta_graph.ParseFromString(data)
        return meta_graph
    except DecodeError:
        pass
    try:
        return text_format.Parse(data.decode("utf-8"), tf.MetaGraphDef())
    except (text_format.ParseError, UnicodeDecodeError, RecursionError):
        return None


def _copy_of(message: Any) -> Any:
    if not isinstance(message, tf.MetaGraphDef):
        raise BnguardError(
            f"{type(message).__name__} object: cannot import that; expected the path of a .meta "
            "file, or a MetaGraphDef message."
        )
    copy = tf.MetaGraphDef()
    copy.CopyFrom(message)
    return copy


def _import(
    meta_graph: Any, clear_devices: bool, import_scope: Optional[str]
) -> Optional[tf.train.Saver]:
    return tf.train.import_meta_graph(
        meta_graph, clear_devices=clear_devices, import_scope=import_scope
    )


def _drop_stale_shapes(graph_def: Any) -> None:
    bodies = (function.node_def for function in graph_def.library.function)
    for nodes in (graph_def.node, *bodies):
        for node in nodes:
            if STALE_ATTRIBUTE in node.attr:
                del node.attr[STALE_ATTRIBUTE]


def _drop_unknown_attributes(meta_graph: Any, where: str) -> None:
    """Drop the attributes that TensorFlow refuses, by imports into a graph of their own.

    Raises:
      BnguardError: TensorFlow refuses the graph for another reason.
    """
    with tf.Graph().as_default():
        import_graph(meta_graph.graph_def, where, meta_graph.meta_info_def.stripped_op_list)


def _drop_unknown_attribute(graph_def: Any, op_list: Any, error: Exception, where: str) -> None:
    """Drop the attribute that an import refused from all nodes, if that changes nothing.

    Raises:
      BnguardError: the import failed for another reason, or a node has another value than the
        default.
    """
    refused = _UNKNOWN_ATTRIBUTE.search(str(error))
    if refused is None:
        raise _refusal(error, graph_def, where) from error
    attribute, op_type = refused.groups()
    default = _defaults(op_list).get((op_type, attribute))
    bodies = [function.node_def for function in graph_def.library.function]
    for node in (node for nodes in (graph_def.node, *bodies) for node in nodes):
        if node.op == op_type and attribute in node.attr:
            if not _is_default(node.attr[attribute], default):
                raise BnguardError(
                    f"{where}: node {node.name} ({op_type}) has the attribute {attribute}, which "
                    f"TensorFlow {tf.__version__} does not know, with a value that changes what "
                    "it does; expected its default. Load the graph with the TensorFlow that "
                    "wrote it."
                ) from error
            del node.attr[attribute]


def _defaults(op_list: Any) -> Mapping[Tuple[str, str], bytes]:
    """Return the serialized default of each attribute that has one, by op type and name."""
    found: Dict[Tuple[str, str], bytes] = {}
    for op in op_list.op if op_list is not None else ():
        for attribute in op.attr:
            if attribute.HasField("default_value"):
                found[op.name, attribute.name] = attribute.default_value.SerializeToString()
    return found


def _is_default(value: Any, default: Optional[bytes]) -> bool:
    """Return whether a value is the default; without one that is known, whether it is empty."""
    if default is not None:
        return bool(value.SerializeToString() == default)
    kind = value.WhichOneof("value")
    return kind is None or not (value.list.ByteSize() if kind == "list" else getattr(value, kind))


def _drop_lost_entries(meta_graph: Any, where: str) -> None:
    """Drop the collection entries that TensorFlow could not restore, with a warning."""
    names = {node.name for node in meta_graph.graph_def.node}
    lost: Counter[str] = Counter()
    for key, collection in list(meta_graph.collection_def.items()):
        kind = collection.WhichOneof("kind")
        if kind == "node_list":
            entries = list(collection.node_list.value)
            kept = [entry for entry in entries if _node_of(entry) in names]
            lost[key] += len(entries) - len(kept)
            del collection.node_list.value[:]
            collection.node_list.value.extend(kept)
        elif kind == "any_list" or (kind == "bytes_list" and not _is_restorable(key, collection)):
            lost[key] += max(len(collection.any_list.value), len(collection.bytes_list.value))
            del meta_graph.collection_def[key]
        elif kind is None:
            del meta_graph.collection_def[key]
    lost += Counter()  # without zeros
    if lost:
        counts = ", ".join(f"{key} ({count})" for key, count in sorted(lost.items()))
        warnings.warn(
            f"{where}: entries of these collections cannot be restored and are left out: {counts}",
            RuntimeWarning,
            stacklevel=3,
        )


def _node_of(entry: str) -> str:
    return entry.rpartition(":")[0] if ":" in entry else entry


def _is_restorable(key: str, collection: Any) -> bool:
    """Return whether the bytes of a collection are messages that TensorFlow reads, or text."""
    if key in _MESSAGES:
        return True
    try:
        return all(value.decode("utf-8").isprintable() for value in collection.bytes_list.value)
    except UnicodeDecodeError:
        return False


def _refusal(error: Exception, graph_def: Any, where: str) -> BnguardError:
    unknown = _UNKNOWN_OP.search(str(error))
    if unknown is None:
        return BnguardError(
            f"{where}: TensorFlow {tf.__version__} does not take this graph "
            f"({first_line(error).rstrip('.')}); expected a graph that it can run. Load it with "
            "the TensorFlow that wrote it."
        )
    op_type = unknown.group(1)
    nodes: List[str] = [node.name for node in graph_def.node if node.op == op_type]
    bodies: Sequence[Any] = graph_def.library.function
    nodes += [
        f"{function.signature.name}/{node.name}"
        for function in bodies
        for node in function.node_def
        if node.op == op_type
    ]
    more = f" and {len(nodes) - _SHOWN_NODES} more" if len(nodes) > _SHOWN_NODES else ""
    return BnguardError(
        f"{where}: TensorFlow {tf.__version__} has no op {op_type}, and the graph needs it in "
        f"{', '.join(nodes[:_SHOWN_NODES])}{more}; expected ops that it has. Load the library of "
        "the op with tf.load_op_library first, or load the graph with the TensorFlow that wrote it."
    )
