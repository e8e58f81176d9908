"""Source lines: where a user's program built an op, from a live graph or from debug information.

TensorFlow records the Python stack at which each op was built. Most of its frames are TensorFlow's
own. The user's frames are those outside TensorFlow, Keras, tf_slim, bnguard and the standard
library; frames in other installed packages count only if there are no others.
"""

from __future__ import annotations

import ast
from bisect import bisect_right
from functools import lru_cache
import linecache
import os
import re
import sys
import sysconfig
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, Optional, Sequence, Tuple
import weakref

from bnguard.analysis.findings import Frame, Location
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.graph import Graph

Stacks = Callable[[str, str], Iterable[Frame]]
"""From the names of an op and of the function that it is in, which is empty for the graph itself,
to the stack at which it was built, innermost frame last; empty if it is not known."""

_LIBRARIES = (
    "absl",
    "bnguard",
    "keras",
    "tensorboard",
    "tensorflow",
    "tensorflow_core",
    "tensorflow_estimator",
    "tf_keras",
    "tf_slim",
)
_INSTALLED = re.compile(r"[\\/](?:site|dist)-packages[\\/]([^\\/.]+)")
_STANDARD_LIBRARY = re.compile(r"[\\/]lib(?:64)?[\\/]python\d(?:\.\d+)?[\\/]|^<frozen ")
_OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class SourceLines:
    """Where each op of a graph was built.

    Args:
      stacks: the stack at which an op was built.
      reads_files: whether to read the lines from the files of the stack, if it has no text.
    """

    def __init__(self, stacks: Stacks = lambda op, function: (), reads_files: bool = False) -> None:
        self._stacks = stacks
        self._reads_files = reads_files
        self._locations: Dict[int, Optional[Location]] = {}

    def location(self, graph: Graph, node: int) -> Optional[Location]:
        """Return where the user's program built a node; None if that is not known.

        A node that lowering added was built where the call was that it belongs to.
        """
        if node not in self._locations:
            self._locations[node] = next(filter(None, self._candidates(graph, node)), None)
        return self._locations[node]

    def _candidates(self, graph: Graph, node: int) -> Iterator[Optional[Location]]:
        name = graph.names[node]
        op, function = graph.function_nodes.get(node, (name, ""))
        yield user_location(self._stacks(op, function), self._reads_files)
        while graph.is_added(node) and "/" in name:
            name = name.rpartition("/")[0]
            call = graph.find(name)
            if call is not None and call in graph.lowered:
                yield self.location(graph, call)
                return


def user_location(stack: Iterable[Frame], reads_files: bool = True) -> Optional[Location]:
    """Return the innermost frame of a stack that is the user's, with all that are.

    A frame of executed text, whose line nobody can show, counts only if there are no others.

    Args:
      stack: innermost frame last.
      reads_files: whether to read the lines from the files of the stack, if it has no text.
    """
    own = [frame for frame in stack if not _is_library(frame.file)]
    frames = [frame for frame in own if not _INSTALLED.search(frame.file)] or own
    if reads_files:
        frames = [frame if frame.text else _with_text(frame) for frame in frames]
    shown = [frame for frame in frames if frame.text or frame.is_in_file] or frames
    return Location(*shown[-1], stack=tuple(frames)) if frames else None


def source_lines_of_graph(graph: Any) -> SourceLines:
    """Return the source lines of a live tf.Graph, which is not kept alive."""
    reference = weakref.ref(graph)

    def stack(op: str, function: str) -> Iterator[Frame]:
        owner = reference()
        if owner is not None and function:
            owner = getattr(getattr(owner, "_functions", {}).get(function), "graph", None)
        try:
            traceback = owner.get_operation_by_name(op).traceback  # type: ignore[union-attr]
        except (AttributeError, KeyError, ValueError):  # no such graph, no such op
            return
        # Frame summaries, or before TensorFlow 2 tuples.
        yield from (Frame(frame[0], frame[1], frame[2], "") for frame in traceback or ())

    return SourceLines(stack, reads_files=True)


def source_lines_of_debug_info(data: bytes) -> SourceLines:
    """Return the source lines in a GraphDebugInfo message; none if it is damaged.

    The lines themselves are not read from their files, which may be those of another machine.
    """
    try:
        info = protos.parse("GraphDebugInfo", data)
    except protos.DecodeError:
        return SourceLines()
    files: Sequence[str] = info.files

    def frame(recorded: Any) -> Frame:
        has_file = 0 <= recorded.file_index < len(files)
        file = files[recorded.file_index] if has_file else ""
        return Frame(file, recorded.line, recorded.func, recorded.code.strip())

    def stack(op: str, function: str) -> Iterator[Frame]:
        for key in (f"{op}@{function}", f"{function}{op}"):  # the second is that of TensorFlow 1.15
            if key in info.name_to_trace_id:
                trace = info.traces_by_id[info.name_to_trace_id[key]]
                yield from (frame(info.frames_by_id[number]) for number in trace.frame_id)
                return
            if key in info.traces:  # innermost frame first
                yield from map(frame, reversed(info.traces[key].file_line_cols))
                return

    return SourceLines(stack)


def _with_text(frame: Frame) -> Frame:
    line = frame.line
    if sys.version_info < (3, 8):  # where a call of several lines has the number of its last
        starts = _statements(frame.file)
        line = starts[max(bisect_right(starts, line) - 1, 0)] if starts else line
    text = linecache.getline(frame.file, line, _namespace(frame.file)).strip()
    return frame._replace(line=line, text=text)


@lru_cache(maxsize=None)
def _namespace(file: str) -> Optional[Dict[str, Any]]:
    """Return the namespace of the module of a file in a zip archive, whose loader has the text."""
    if os.path.exists(file):
        return None
    modules = list(sys.modules.values())
    found = (module for module in modules if getattr(module, "__file__", None) == file)
    return next(map(vars, found), None)


@lru_cache(maxsize=None)
def _statements(file: str) -> Sequence[int]:
    """Return the first lines of the statements of a file, in order; none if it cannot be read."""
    try:
        tree = ast.parse("".join(linecache.getlines(file, _namespace(file))))
    except (SyntaxError, ValueError):
        return ()
    return sorted({node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt)})


@lru_cache(maxsize=None)
def _is_library(file: str) -> bool:
    """Return whether a file is TensorFlow's, bnguard's or Python's."""
    if not file:
        return True
    installed = _INSTALLED.search(file)
    if installed:
        return installed.group(1) in _LIBRARIES
    return bool(_STANDARD_LIBRARY.search(file)) or file.startswith(_library_folders())


def _library_folders() -> Tuple[str, ...]:
    """Return the folders of the libraries in this process, which need not be installed as usual."""
    modules: Mapping[str, Any] = sys.modules
    files = [getattr(modules.get(name), "__file__", None) for name in _LIBRARIES]
    folders = [os.path.dirname(file) for file in files if file and "__init__" in file]
    folders += [_OWN_FOLDER, sysconfig.get_paths()["stdlib"]]
    return tuple(os.path.join(folder, "") for folder in folders)
