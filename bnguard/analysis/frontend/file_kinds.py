"""Files that are found where graphs are looked for, and are something else: what they are.

A file is recognised by its first bytes, by the fields of a text, or by its name.
"""

from __future__ import annotations

import os
import re
from typing import Any, FrozenSet, NamedTuple, Optional, Set, Tuple

from bnguard.analysis.errors import NotAGraphError
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.op_types import VARIABLES
from bnguard.runtime.files import open_regular

HEAD_BYTES = 1 << 16
"""How much of the start of a file is enough to recognise it."""

# The first field of a text file -> the message that it is the text form of.
TEXT_MESSAGES = {
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

_POINTER_BYTES = 1024  # the largest pointer of Git LFS
_STORED_TYPES = VARIABLES | frozenset(["Const"])
_GIVE_GRAPH = "give a .meta file, a GraphDef or a SavedModel"
_GIVE_META = "it holds no graph: give the .meta file beside it"
_DOWNLOAD = "the download went wrong: fetch the file itself"


class FileKind(NamedTuple):
    """What a file is, with its article, and what to do."""

    what: str
    advice: str = _GIVE_GRAPH

    def refusal(self, path: str) -> NotAGraphError:
        """Return the error that a file of this kind is, where a graph is expected."""
        return NotAGraphError(
            f"{path}: {self.what}, not a TensorFlow graph; {self.advice}", self.what
        )


_LFS_POINTER = FileKind("a Git LFS pointer", "run `git lfs pull` to fetch what it points to")
_ANNEX_POINTER = FileKind("a git-annex pointer", "run `git annex get` to fetch what it points to")
_ARCHIVE = FileKind("a compressed file", "unpack it")
_TEXT = FileKind("a text file of another kind")
_ONNX = FileKind("an ONNX model")
_MEDIAPIPE = FileKind("a graph of MediaPipe", "it has calculators, and no TensorFlow ops")
_DEBUG_INFO = FileKind("debug information of a SavedModel", "give the SavedModel's directory")
_PROFILE = FileKind("a profile of TensorFlow", "TensorBoard shows it")
_CHECKPOINT_INDEX = FileKind("an index of a checkpoint", _GIVE_META)
_CHECKPOINT_DATA = FileKind("a data file of a checkpoint", _GIVE_META)
OPENCV_TEXT = FileKind("a text graph of OpenCV", "its constants are in the .pb file: give that")

_STARTS: Tuple[Tuple[bytes, FileKind], ...] = (
    (b"\x89HDF\r\n\x1a\n", FileKind("an HDF5 file of Keras", "export the model as a SavedModel")),
    (b"PK\x03\x04", FileKind("a zip archive", "unpack it; a .keras file holds no graph")),
    (b"\x1f\x8b", _ARCHIVE),
    (b"BZh", _ARCHIVE),
    (b"\xfd7zXZ\0", _ARCHIVE),
    (b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (b"\x93NUMPY", FileKind("a NumPy array")),
    (b"\xff\xfe", _TEXT),  # UTF-16
    (b"\xfe\xff", _TEXT),
    *((bytes([128, version]), FileKind("a Python pickle")) for version in (2, 3, 4, 5)),
    *(
        (start, FileKind("a TensorRT engine", "give the graph that it was made from"))
        for start in (b"ptrt", b"ftrt")
    ),
)
_TEXT_STARTS: Tuple[Tuple[str, FileKind], ...] = (
    (r"version https?://(git-lfs\.github\.com|hawser\.github\.com)/spec", _LFS_POINTER),
    (r"\S*annex/objects/\S+\s*\Z", _ANNEX_POINTER),
    (r"(?i)<!doctype html|<html", FileKind("a web page", _DOWNLOAD)),
    (r"<\?xml|<[A-Za-z][\w.:-]*[\s>]", FileKind("an XML file")),
    (r'\{\s*["}]|\[\s*[\["{\]]', FileKind("a JSON file")),
)
# Top-level fields that tell what a text is; the first line that matches counts.
_FIELDS: Tuple[Tuple[FrozenSet[str], FileKind], ...] = tuple(
    (frozenset(names.split()), kind)
    for names, kind in (
        ("fileFormatVersion", FileKind("an asset description of Unity")),
        ("item", FileKind("a label map")),
        ("embeddings", FileKind("a projector configuration of TensorBoard")),
        (
            "model_checkpoint_path all_model_checkpoint_paths",
            FileKind("a list of checkpoints", _GIVE_META),
        ),
        (
            "train_config eval_config train_input_reader eval_input_reader",
            FileKind("a training configuration"),
        ),
        ("model_config_list", FileKind("a configuration of TensorFlow Serving")),
        ("layer layers input_dim input_shape", FileKind("a network of Caffe")),
        ("base_lr train_net", FileKind("a solver of Caffe")),
        (
            "platform backend max_batch_size instance_group dynamic_batching ensemble_scheduling",
            FileKind("a model configuration of Triton", "give the model beside it"),
        ),
        ("op", FileKind("a list of op definitions")),
        ("tf_class tf_module", FileKind("a description of TensorFlow's API")),
        ("feature string_domain", FileKind("a data schema")),
        ("datasets", FileKind("a file of data statistics")),
        ("calculator input_stream output_stream input_side_packet", _MEDIAPIPE),
        ("ir_version", _ONNX),
    )
)
_NAMES: Tuple[Tuple[str, FileKind], ...] = (
    (r".*\.data-\d{5}-of-\d{5}", _CHECKPOINT_DATA),
    (r"fingerprint\.pb", FileKind("a fingerprint of a SavedModel", "give its directory")),
    (r"keras_metadata\.pb", FileKind("metadata of Keras", "give the SavedModel's directory")),
    (r"saved_model_debug_info\.pb", _DEBUG_INFO),
    (r"tfhub_module\.pb", FileKind("a marker of TensorFlow Hub", "give the module's directory")),
    (r".*\.(xplane|overview_page|input_pipeline|tensorflow_stats|kernel_stats)\.pb", _PROFILE),
    (r".*\.hlo(_proto|_snapshot)?\.pb", FileKind("a module of XLA")),
    (r"(init|predict)_net\.pb", FileKind("a network of Caffe2")),
    (r"(input|output)_\d+\.pb", FileKind("a tensor of a test of ONNX")),
    (r".*\.caffemodel", FileKind("weights of Caffe")),
    (r".*\.mlmodel", FileKind("a Core ML model")),
)
_EVENTS = FileKind("a TensorBoard event file")
_TFLITE = FileKind("a TensorFlow Lite model", "give the graph that it was made from")
_TABLE_END = (0xDB4775248B80FB57).to_bytes(8, "little")  # of LevelDB, and so of an index
_BLANK = re.compile(rb"\s*")
_FIRST_FIELD = re.compile(r"(?:\s|#[^\n]*\n)*([a-z_]+)\s*[:{<]")
_FIELD_BYTES = 4096  # in which the name of a field ends
_FIELD = re.compile(r"^([A-Za-z_]\w*)[ \t]*[:{<]", re.MULTILINE)
_CONTROL_CHARACTER = re.compile(r"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_GRAPH_LIKE = re.compile(r'\bnode_def\s*\{|\bnode\s*\{|^\s*op\s*:\s*["\']', re.MULTILINE)
_CALCULATOR = re.compile(r"^\s*calculator\s*:", re.MULTILINE)


def other_kind(head: bytes, end: bytes) -> Optional[FileKind]:
    """Return what a file is if that is known, or if it is a text, and it is not a graph.

    It is None for what may be a graph of TensorFlow, or a damaged one.

    Args:
      head: the first HEAD_BYTES of the file, or all.
      end: its last 8 bytes, or more.
    """
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[4:8] == b"TFL3":
        return _TFLITE
    if b"brain.Event:" in head[:64]:
        return _EVENTS
    if end.endswith(_TABLE_END):
        return _CHECKPOINT_INDEX
    text = _text(head)
    return _text_kind(text) if text else None


def binary_kind(data: bytes, path: str) -> Optional[FileKind]:
    """Return what a file of bytes is that cannot be read as a graph; None if that is not known."""
    for pattern, kind in _NAMES:
        if re.fullmatch(pattern, os.path.basename(path)):
            return kind
    try:
        model = protos.parse("OnnxModel", data)
    except protos.DecodeError:
        return None
    return _ONNX if model.graph and model.opset_import else None


def pointer_at(path: str) -> Optional[FileKind]:
    """Return which pointer is in the place of a file; None if it is the file itself."""
    try:
        if os.path.islink(path) and "annex/objects/" in os.readlink(path):
            return None if os.path.exists(path) else _ANNEX_POINTER
        with open_regular(path) as file:
            head = file.read(_POINTER_BYTES + 1)
    except (OSError, ValueError):
        return None
    if len(head) > _POINTER_BYTES:
        return None
    kind = other_kind(head, b"")
    return kind if kind in (_LFS_POINTER, _ANNEX_POINTER) else None


def text_message(data: bytes) -> Optional[str]:
    """Return the message of TensorFlow of which a file is the text form; None if of none."""
    start = start_of_text(data)
    first = _FIRST_FIELD.match(data[start : start + _FIELD_BYTES].decode("utf-8", "replace"))
    return TEXT_MESSAGES.get(first.group(1)) if first else None


def start_of_text(data: bytes) -> int:
    """Return where a text begins, after blank lines and comments."""
    start = 0
    while True:
        start = _BLANK.match(data, start).end()  # type: ignore[union-attr]
        if data[start : start + 1] != b"#":
            return start
        start = data.find(b"\n", start)
        if start < 0:
            return len(data)


def is_without_constants(raw_graph: Any) -> bool:
    """Return whether the nodes of a RawGraphDef lack the constants that their operators take.

    Inputs that come first, the data, must be there; and more must be missing than there are
    constants and variables.
    """
    parse = protos.message("NodeHead").FromString
    try:
        heads = [parse(node) for node in raw_graph.node]
    except protos.DecodeError:
        return False
    names = {head.name for head in heads}
    missing: Set[bytes] = set()
    for head in heads:
        for position, text in enumerate(head.input):
            name = text.lstrip(b"^").partition(b":")[0]
            if name not in names:
                if position == 0:
                    return False
                missing.add(name)
    stored = sum(head.op.decode("utf-8", "replace") in _STORED_TYPES for head in heads)
    return len(missing) > stored


def _text(head: bytes) -> str:
    """Return a text without its byte order mark; empty if the bytes are no text."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or len(head) < HEAD_BYTES:
            return ""
        text = head[: error.start].decode("utf-8-sig")  # a character is cut in two
    return "" if _CONTROL_CHARACTER.search(text) else text.strip()


def _text_kind(text: str) -> Optional[FileKind]:
    for pattern, kind in _TEXT_STARTS:
        if re.match(pattern, text):
            return kind
    first = _FIRST_FIELD.match(text)
    is_known = first is not None and first.group(1) in TEXT_MESSAGES
    if is_known or _GRAPH_LIKE.search(text):
        return _MEDIAPIPE if _CALCULATOR.search(text) else None
    fields = set(_FIELD.findall(text))
    return next((kind for names, kind in _FIELDS if names & fields), _TEXT)
