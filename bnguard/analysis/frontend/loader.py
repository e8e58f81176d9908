"""From a path or a live object to its graphs, each with what is stored beside it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
import os
import re
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

from bnguard.analysis import limits
from bnguard.analysis.errors import AuditError, NotAGraphError, about
from bnguard.analysis.frontend import file_kinds
from bnguard.analysis.frontend.file_reader import FoundPath, read_bytes
from bnguard.analysis.frontend.graph_builder import read_graph
from bnguard.analysis.frontend.source_lines import (
    SourceLines,
    source_lines_of_debug_info,
    source_lines_of_graph,
)
from bnguard.analysis.frontend.text_graph import parse_text
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.graph import Graph
from bnguard.analysis.ir.op_types import ENGINE, FUSED_NORMALIZATIONS, VARIABLES
from bnguard.errors import first_line

SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")

_OP_TYPE = re.compile(rb"[A-Za-z0-9_.>/-]+\Z")
_SAVED_MODEL_START = b"\x08\x01"  # the version of its schema, the only one there is
# The collections that hold a VariableDef for each variable; the others of interest hold names.
_VARIABLE_COLLECTIONS = ("variables", "trainable_variables", "local_variables")

Tags = Optional[Sequence[str]]


@dataclass(frozen=True)
class Signature:
    """A SavedModel's signature: the names of the tensors that a caller feeds and fetches."""

    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]


@dataclass(frozen=True)
class LoadedGraph:
    """One graph to audit.

    Attributes:
      label: the path as given, with the tags if the file contains several graphs.
      graph: the graph.
      nodes: the number of its nodes, without those of expanded functions.
      collections: the names in each graph collection, of ops, tensors (`name:0`) and variables.
      initializers: the names of the ops that initialize variables.
      save_tensor: the name of what the Saver fetches to save; empty if there is no Saver.
      signatures: the signatures by key.
      file_bytes: the size of the graph in its file.
      has_objects: whether variables are restored by objects, as in TensorFlow 2.
      source_lines: where the program that made the graph built its ops, if that is known.
      path: the path of the file; empty for a graph in memory.
    """

    label: str
    graph: Graph
    nodes: int
    collections: Mapping[str, Tuple[str, ...]]
    initializers: FrozenSet[str]
    save_tensor: str
    signatures: Mapping[str, Signature]
    file_bytes: int = 0
    has_objects: bool = False
    source_lines: SourceLines = field(default_factory=SourceLines)
    path: str = ""


def load(source: Any, tags: Tags = None) -> List[LoadedGraph]:
    """Return the graphs in `source`.

    Args:
      source: the path of a `.meta`, `GraphDef` or `saved_model.pb` file (binary or text), or of
        a pipe with the same bytes, or of a SavedModel's directory; or a live `tf.Graph`, or one of
        these three protobuf messages.
      tags: of a SavedModel, only the graph with exactly these tags.

    Raises:
      AuditError: it is none of these, is damaged, or has no such graph.
    """
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        may_be_pipe = not (isinstance(source, FoundPath) or os.path.isdir(path))
        if os.path.isdir(path):
            path = _saved_model_file(path)
        pointer = file_kinds.pointer_at(path)
        if pointer is not None:
            raise pointer.refusal(path)
        graphs = _decode(read_bytes(path, may_be_pipe), path, tags)
        lines = _saved_source_lines(path)
        return [replace(graph, source_lines=lines, path=path) for graph in graphs]
    if hasattr(source, "as_graph_def"):
        return [_live_graph(source)]
    message = getattr(getattr(source, "DESCRIPTOR", None), "name", None)
    if message in _DECODERS:
        with _known_to_be(f"<{message}>: a {message}"):
            return _DECODERS[message](source.SerializeToString(), f"<{message}>", tags)
    raise AuditError(
        f"{type(source).__name__} object: cannot audit that; expected a path, a tf.Graph, "
        "a GraphDef, a MetaGraphDef or a SavedModel message"
    )


def graph_file(path: str) -> str:
    """Return the file of a SavedModel's directory, and any other path as it is."""
    for name in SAVED_MODEL_FILES:
        file = os.path.join(path, name)
        if os.path.exists(file):
            return file
    return path


def _saved_model_file(folder: str) -> str:
    file = graph_file(folder)
    if file != folder:
        return file
    raise AuditError(
        f"{folder}: no graph here; expected saved_model.pb. Give a .meta file or a SavedModel"
    )


def debug_info_file(path: str) -> str:
    """Return where TensorFlow saves the debug information of a graph file; it need not exist."""
    if os.path.basename(path) in SAVED_MODEL_FILES:
        return os.path.join(os.path.dirname(path), "debug", "saved_model_debug_info.pb")
    return f"{os.path.splitext(path)[0]}.debug"


def _saved_source_lines(path: str) -> SourceLines:
    """Return the source lines that were saved with a graph."""
    beside = debug_info_file(path)
    try:
        return source_lines_of_debug_info(read_bytes(beside))
    except AuditError:  # it is not there, or cannot be read, and is not needed
        return SourceLines()


def _decode(data: bytes, path: str, tags: Tags) -> List[LoadedGraph]:
    text_message = file_kinds.text_message(data)
    start = file_kinds.start_of_text(data) if text_message else 0
    kind = file_kinds.other_kind(data[start : start + file_kinds.HEAD_BYTES], data[-8:])
    if kind is not None:
        raise kind.refusal(path)
    if text_message:
        with _known_to_be(f"{path}: the text form of a {text_message}"):
            return _DECODERS[text_message](_from_text(data, text_message, path), path, tags)
    # A SavedModel starts with its version; the other two differ in what fields 1 and 2 are.
    messages = ["GraphDef", "MetaGraphDef"]
    if data.startswith(_SAVED_MODEL_START):
        messages = ["SavedModel"]
    elif data[:1] == _SAVED_MODEL_START[:1]:
        messages = []
    elif path.endswith(".meta"):
        messages.reverse()
    for message in messages:
        try:
            return _DECODERS[message](data, path, tags)
        except _WrongMessageError:
            continue
    kind = file_kinds.binary_kind(data, path)
    if kind is not None:
        raise kind.refusal(path)
    raise AuditError(
        f"{path}: not a graph, or damaged; expected a .meta file (MetaGraphDef), a GraphDef or a "
        "SavedModel. A checkpoint's .index and .data files hold no graph: give the .meta file "
        "beside them"
    )


class _WrongMessageError(Exception):
    pass


@contextmanager
def _known_to_be(what: str) -> Iterator[None]:
    """Report that the source is damaged, as it cannot be another message."""
    try:
        yield
    except _WrongMessageError as error:
        raise AuditError(f"{what}, but damaged ({error})") from error


def _from_text(data: bytes, name: str, path: str) -> bytes:
    from google.protobuf import text_format

    if len(data) > limits.TEXT_BYTES:
        raise AuditError(
            f"{path}: text of more than {limits.TEXT_BYTES >> 20} MiB; give the binary form"
        )
    try:
        return parse_text(data.decode("utf-8"), name)
    except (text_format.ParseError, ValueError, ArithmeticError, RecursionError) as error:
        reason = first_line(error)
        raise AuditError(f"{path}: not the text form of a {name} ({reason})") from error


def _decode_saved_model(data: bytes, path: str, tags: Tags) -> List[LoadedGraph]:
    graphs, seen = [], []
    parts = _parse("RawSavedModel", data).meta_graphs
    if not parts:
        raise _WrongMessageError("it has no graph")
    for part in parts:
        raw = _parse("RawMetaGraphDef", part)
        seen.append(",".join(raw.meta_info_def.tags))
        if tags is None or sorted(tags) == sorted(raw.meta_info_def.tags):
            label = path if len(parts) == 1 else f"{path} [{seen[-1]}]"
            graphs.append(_from_meta_graph(label, raw))
    if not graphs:
        raise AuditError(
            f"{path}: no graph with the tags {','.join(tags or [])!r}; "
            f"it has {', '.join(map(repr, seen))}"
        )
    return graphs


def _decode_meta_graph(data: bytes, path: str, tags: Tags) -> List[LoadedGraph]:
    raw = _parse("RawMetaGraphDef", data)
    _check_nodes(raw.graph_def)
    _check_no_tags(path, tags)
    return [_from_meta_graph(path, raw)]


def _decode_graph(data: bytes, path: str, tags: Tags) -> List[LoadedGraph]:
    raw_graph = _parse("RawGraphDef", data)
    _check_nodes(raw_graph)
    _check_no_tags(path, tags)
    return [_bare(path, raw_graph)]


_DECODERS: Dict[str, Callable[[bytes, str, Tags], List[LoadedGraph]]] = {
    "SavedModel": _decode_saved_model,
    "MetaGraphDef": _decode_meta_graph,
    "GraphDef": _decode_graph,
}


def _parse(name: str, data: bytes) -> Any:
    try:
        return protos.parse(name, data)
    except protos.DecodeError as error:
        raise _WrongMessageError("its bytes cannot be parsed") from error


def _check_nodes(raw_graph: Any) -> None:
    """Check the op types of two nodes: the bytes of other messages may parse as nodes, too."""
    if not raw_graph.node:
        raise _WrongMessageError("it has no nodes")
    for node in (raw_graph.node[0], raw_graph.node[-1]):
        if not _OP_TYPE.match(_parse("NodeHead", node).op):
            raise _WrongMessageError("its nodes have no op types")


def _check_no_tags(path: str, tags: Tags) -> None:
    if tags is not None:
        raise AuditError(
            f"{path}: contains one graph, with no tags to choose it by; expected a SavedModel with "
            f"the tags {','.join(tags)!r}"
        )


def _from_meta_graph(label: str, raw: Any) -> LoadedGraph:
    collections: Dict[str, Tuple[str, ...]] = {}
    initializers: List[str] = []
    for key, value in raw.collection_def.items():
        if key in _VARIABLE_COLLECTIONS:
            variables = _parse("VariableDefs", value.bytes_list.SerializeToString()).value
            collections[key] = tuple(variable.variable_name for variable in variables)
            initializers += [variable.initializer_name for variable in variables]
        elif value.node_list.value:
            collections[key] = tuple(value.node_list.value)
    signatures = {
        key: Signature(_tensor_names(signature.inputs), _tensor_names(signature.outputs))
        for key, signature in sorted(raw.signature_def.items())
    }
    return LoadedGraph(
        label,
        _read_graph(label, raw.graph_def),
        len(raw.graph_def.node),
        collections,
        frozenset(initializers),
        raw.saver_def.save_tensor_name,
        signatures,
        _size(raw.graph_def),
        bool(raw.object_graph_def),
    )


def _tensor_names(infos: Mapping[str, Any]) -> Tuple[str, ...]:
    return tuple(info.name for _, info in sorted(infos.items()) if info.name)


def _bare(label: str, raw_graph: Any) -> LoadedGraph:
    graph = _read_graph(label, raw_graph)
    size = _size(raw_graph)
    return LoadedGraph(label, graph, len(raw_graph.node), {}, frozenset(), "", {}, size)


def _size(raw_graph: Any) -> int:
    return sum(map(len, raw_graph.node)) + int(raw_graph.library.ByteSize())


def _read_graph(label: str, raw_graph: Any) -> Graph:
    with about(label):
        try:
            graph = read_graph(raw_graph)
        except AuditError:
            if file_kinds.is_without_constants(raw_graph):
                raise file_kinds.OPENCV_TEXT.refusal(label) from None
            raise
        if ENGINE in graph.present_types():
            _check_engines(label, graph, raw_graph)
    return graph


def _check_engines(label: str, graph: Graph, raw_graph: Any) -> None:
    """Refuse a graph that TensorRT compiled as a whole, so that no layer is left to analyse."""
    if graph.of_types(FUSED_NORMALIZATIONS | VARIABLES):
        return
    engines = graph.of_types([ENGINE])
    functions = {function.signature.name: function for function in raw_graph.library.function}
    layers = 0
    for engine in engines:
        attributes = graph.attributes(engine)
        name = attributes["segment_funcdef_name"].s.decode("utf-8", "replace")
        function = functions.get(attributes["segment_func"].func.name or name)
        if function is not None:
            layers += sum(node.op in FUSED_NORMALIZATIONS for node in function.node_def)
    inside = f"{layers} normalizations" if layers else "layers"
    what = "a graph compiled by TensorRT"
    raise NotAGraphError(
        f"{label}: {what}: its {inside} are inside {ENGINE} nodes ({len(engines)}), where they "
        "cannot be analysed; give the graph that it was made from",
        what,
    )


def _live_graph(graph: Any) -> LoadedGraph:
    """Load a tf.Graph by its own methods, so that TensorFlow is not imported here."""
    try:
        data = graph.as_graph_def().SerializeToString()
    except ValueError as error:
        raise AuditError(f"tf.Graph: cannot be written as a GraphDef ({error})") from error
    collections = {
        str(key): _names(graph.get_collection(key)) for key in graph.get_all_collection_keys()
    }
    # The initializer of a mirrored variable is made when it is asked for; its copies have theirs.
    variables = [
        copy
        for variable in graph.get_collection("variables")
        for copy in getattr(variable, "values", None) or (variable,)
    ]
    initializers = _names(getattr(variable, "initializer", None) for variable in variables)
    raw = _parse("RawGraphDef", data)
    indexed = _read_graph("tf.Graph", raw)
    return LoadedGraph(
        "tf.Graph",
        indexed,
        len(raw.node),
        collections,
        frozenset(initializers),
        "",
        {},
        len(data),
        source_lines=source_lines_of_graph(graph),
    )


def _names(objects: Iterable[Any]) -> Tuple[str, ...]:
    names = (getattr(item, "name", None) for item in objects)
    return tuple(name for name in names if isinstance(name, str))
