"""From a path or a live object to the graphs in it, with what is stored beside each graph."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
import os
import re
import stat
from typing import (
    Any,
    BinaryIO,
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
from bnguard.analysis.errors import AuditError, about
from bnguard.analysis.frontend.graph_builder import read_graph
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.graph import Graph

_PIECE = 1 << 20  # bytes read at once of what does not say its size
SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_OP_TYPE = re.compile(rb"[A-Za-z0-9_.>/-]+\Z")
_TEXT = re.compile(r"(?:\s|#[^\n]*\n)*([a-z_]+)\s*[:{<]")
_TEXT_KINDS = {
    "node": "GraphDef",
    "library": "GraphDef",
    "versions": "GraphDef",
    "meta_graphs": "SavedModel",
    "saved_model_schema_version": "SavedModel",
    "collection_def": "MetaGraphDef",
    "graph_def": "MetaGraphDef",
    "meta_info_def": "MetaGraphDef",
    "saver_def": "MetaGraphDef",
    "signature_def": "MetaGraphDef",
}
# The collections that hold a VariableDef for each variable; all others that matter hold names.
_VARIABLE_COLLECTIONS = ("variables", "trainable_variables", "local_variables")


@dataclass(frozen=True)
class Signature:
    """A SavedModel's signature: the names of the tensors that a caller feeds and fetches."""

    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]


@dataclass(frozen=True)
class LoadedGraph:
    """One graph to audit.

    Attributes:
      label: the path as given, with the tags if the file holds several graphs.
      graph: indexed.
      nodes: how many nodes it has, functions not expanded.
      collections: the names in each graph collection, of ops, tensors (`name:0`) and variables.
      initializers: the names of the ops that initialize variables.
      save_tensor: what the Saver of the graph fetches to save; empty if there is none.
      signatures: by key.
      has_objects: whether variables are restored as TensorFlow 2 does it, by objects.
    """

    label: str
    graph: Graph
    nodes: int
    collections: Mapping[str, Tuple[str, ...]]
    initializers: FrozenSet[str]
    save_tensor: str
    signatures: Mapping[str, Signature]
    has_objects: bool = False


def load(source: Any, tags: Optional[Sequence[str]] = None) -> List[LoadedGraph]:
    """The graphs in `source`.

    Args:
      source: the path of a `.meta`, `GraphDef` or `saved_model.pb` file (binary or text), or of
        a SavedModel's directory; or a live `tf.Graph`, or one of these three protobuf messages.
      tags: of a SavedModel, only the graph with exactly these tags.

    Raises:
      AuditError: it is none of these, is damaged, or has no such graph.
    """
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if os.path.isdir(path):
            path = _saved_model_file(path)
        return _decode(_read(path), path, tags)
    if hasattr(source, "as_graph_def"):
        return [_live_graph(source)]
    kind = getattr(getattr(source, "DESCRIPTOR", None), "name", None)
    if kind in _DECODERS:
        with _known_to_be(f"<{kind}>: a {kind}"):
            return _DECODERS[kind](source.SerializeToString(), f"<{kind}>", tags)
    raise AuditError(
        f"{type(source).__name__} object: cannot audit that; expected a path, a tf.Graph, "
        "a GraphDef, a MetaGraphDef or a SavedModel message"
    )


def _saved_model_file(folder: str) -> str:
    for name in SAVED_MODEL_FILES:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return path
    raise AuditError(
        f"{folder}: no graph here; expected saved_model.pb. Give a .meta file or a SavedModel"
    )


def _read(path: str) -> bytes:
    try:
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise AuditError(f"{path}: not a file; give a .meta file, a GraphDef or a SavedModel")
        with open(path, "rb") as file:
            data = _contents(file)
    except (OSError, ValueError) as error:
        raise AuditError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); "
            "give the path of a .meta file, a GraphDef or a SavedModel"
        ) from error
    if not data:
        raise AuditError(f"{path}: the file is empty; was writing it interrupted?")
    if len(data) > limits.FILE_BYTES:
        raise AuditError(f"{path}: more than 2 GiB; no protobuf message can be as large")
    return data


def _contents(file: BinaryIO) -> bytes:
    """All of it, or more than one message can have; takes no more memory than there is to read."""
    size = os.fstat(file.fileno()).st_size  # 0 of a pipe
    parts = [file.read(min(size, limits.FILE_BYTES) + 1)]
    count = len(parts[0])
    while parts[-1] and size < count <= limits.FILE_BYTES:
        parts.append(file.read(_PIECE))
        count += len(parts[-1])
    return b"".join(parts)


def _decode(data: bytes, path: str, tags: Optional[Sequence[str]]) -> List[LoadedGraph]:
    text_kind = _text_kind(data)
    if text_kind:
        with _known_to_be(f"{path}: the text form of a {text_kind}"):
            return _DECODERS[text_kind](_from_text(data, text_kind, path), path, tags)
    # A SavedModel starts with its version; the other two differ in what field 1 and 2 are.
    kinds = ["GraphDef", "MetaGraphDef"]
    if data[:1] == b"\x08":
        kinds = ["SavedModel"]
    elif path.endswith(".meta"):
        kinds.reverse()
    problem: Optional[Exception] = None
    for kind in kinds:
        try:
            return _DECODERS[kind](data, path, tags)
        except _WrongKindError as error:
            problem = problem or error
    raise AuditError(
        f"{path}: not a graph, or damaged ({problem}); expected a .meta file (MetaGraphDef), "
        "a GraphDef or a SavedModel. A checkpoint's .index and .data files hold no graph: give "
        "the .meta file beside them"
    ) from problem


class _WrongKindError(Exception):
    pass


@contextmanager
def _known_to_be(what: str) -> Iterator[None]:
    """In what is done here no other kind will be tried."""
    try:
        yield
    except _WrongKindError as error:
        raise AuditError(f"{what}, but {error}") from error


def _text_kind(data: bytes) -> Optional[str]:
    start = _TEXT.match(data[:4096].decode("utf-8", "replace"))
    return _TEXT_KINDS.get(start.group(1)) if start else None


def _from_text(data: bytes, kind: str, path: str) -> bytes:
    from google.protobuf import text_format

    if len(data) > limits.TEXT_BYTES:
        raise AuditError(
            f"{path}: text of more than {limits.TEXT_BYTES >> 20} MiB; give the binary form"
        )
    message = protos.message(kind)()
    try:
        text_format.Parse(data.decode("utf-8"), message, allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise AuditError(f"{path}: not the text form of a {kind} ({reason})") from error
    return message.SerializeToString()


def _decode_saved_model(data: bytes, path: str, tags: Optional[Sequence[str]]) -> List[LoadedGraph]:
    loaded_graphs, seen = [], []
    parts = _parse("RawSavedModel", data).meta_graphs
    for part in parts:
        raw = _parse("RawMetaGraphDef", part)
        seen.append(",".join(raw.meta_info_def.tags))
        if tags is None or sorted(tags) == sorted(raw.meta_info_def.tags):
            label = path if len(parts) == 1 else f"{path} [{seen[-1]}]"
            loaded_graphs.append(_subject(label, raw))
    if not loaded_graphs:
        raise AuditError(
            f"{path}: no graph with the tags {','.join(tags or [])!r}; "
            f"it has {', '.join(map(repr, seen)) or 'no graph at all'}"
        )
    return loaded_graphs


def _decode_meta_graph(data: bytes, path: str, tags: Optional[Sequence[str]]) -> List[LoadedGraph]:
    raw = _parse("RawMetaGraphDef", data)
    _check_nodes(raw.graph_def)
    _check_no_tags(path, tags)
    return [_subject(path, raw)]


def _decode_graph(data: bytes, path: str, tags: Optional[Sequence[str]]) -> List[LoadedGraph]:
    raw = _parse("RawGraphDef", data)
    _check_nodes(raw)
    _check_no_tags(path, tags)
    return [_bare_subject(path, raw)]


_DECODERS = {
    "SavedModel": _decode_saved_model,
    "MetaGraphDef": _decode_meta_graph,
    "GraphDef": _decode_graph,
}


def _parse(kind: str, data: bytes) -> Any:
    try:
        return protos.message(kind).FromString(data)
    except protos.DecodeError as error:
        raise _WrongKindError(f"{kind}: {error}") from error


def _check_nodes(raw: Any) -> None:
    """Other messages' bytes often decode too; but their "nodes" then have strange types."""
    if not raw.node:
        raise _WrongKindError("no nodes")
    for node in (raw.node[0], raw.node[-1]):
        if not _OP_TYPE.match(_parse("NodeHead", node).op):
            raise _WrongKindError("no node with an op type")


def _check_no_tags(path: str, tags: Optional[Sequence[str]]) -> None:
    if tags is not None:
        raise AuditError(
            f"{path}: holds one graph, with no tags to choose it by; expected a SavedModel with "
            f"the tags {','.join(tags)!r}"
        )


def _subject(label: str, raw: Any) -> LoadedGraph:
    collections: Dict[str, Tuple[str, ...]] = {}
    initializers: List[str] = []
    for key, value in raw.collection_def.items():
        if key in _VARIABLE_COLLECTIONS:
            variables = _parse("VariableDefs", value.bytes_list.SerializeToString()).value
            collections[key] = tuple(one.variable_name for one in variables)
            initializers += [one.initializer_name for one in variables]
        elif value.node_list.value:
            collections[key] = tuple(value.node_list.value)
    signatures = {
        key: Signature(_tensors(one.inputs), _tensors(one.outputs))
        for key, one in sorted(raw.signature_def.items())
    }
    return LoadedGraph(
        label,
        _read_graph(label, raw.graph_def),
        len(raw.graph_def.node),
        collections,
        frozenset(initializers),
        raw.saver_def.save_tensor_name,
        signatures,
        bool(raw.object_graph_def),
    )


def _tensors(described: Mapping[str, Any]) -> Tuple[str, ...]:
    return tuple(one.name for _, one in sorted(described.items()) if one.name)


def _bare_subject(label: str, raw: Any) -> LoadedGraph:
    return LoadedGraph(label, _read_graph(label, raw), len(raw.node), {}, frozenset(), "", {})


def _read_graph(label: str, raw: Any) -> Graph:
    with about(label):
        return read_graph(raw)


def _live_graph(graph: Any) -> LoadedGraph:
    """A tf.Graph; only its own methods are used, so TensorFlow is not imported here."""
    try:
        data = graph.as_graph_def().SerializeToString()
    except ValueError as error:
        raise AuditError(f"tf.Graph: cannot be written as a GraphDef ({error})") from error
    collections = {
        str(key): _names(graph.get_collection(key)) for key in graph.get_all_collection_keys()
    }
    variables = graph.get_collection("variables")
    initializers = _names(getattr(one, "initializer", None) for one in variables)
    raw = _parse("RawGraphDef", data)
    indexed = _read_graph("tf.Graph", raw)
    return LoadedGraph(
        "tf.Graph", indexed, len(raw.node), collections, frozenset(initializers), "", {}
    )


def _names(objects: Iterable[Any]) -> Tuple[str, ...]:
    names = (getattr(one, "name", None) for one in objects)
    return tuple(name for name in names if isinstance(name, str))
