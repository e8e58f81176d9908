"""The names that a user gives: what they stand for, or what the user may have meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Callable, Dict, List, Sequence, Set, Tuple

from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.dataflow.reachability import data_flow
from bnguard.analysis.errors import AuditError
from bnguard.analysis.ir.graph import CONTROL, MERGES, Graph, Tensor
from bnguard.analysis.ir.op_types import (
    ENTERS,
    EXITS,
    PLACEHOLDERS,
    RESTORES,
    SAVES,
    SWITCHES,
    VALUELESS,
    VARIABLES,
    is_write,
)
from bnguard.analysis.ir.protos import DATA_TYPES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.scenario.entry_points import find_train_ops

_SUGGESTIONS = 3
_FEEDABLE = PLACEHOLDERS | frozenset(["PlaceholderWithDefault"])
_NUMBERS = ("HALF", "FLOAT", "DOUBLE", "INT32", "INT64", "UINT8")
_WITHOUT_TEXT = frozenset(DATA_TYPES[f"DT_{name}"] for name in ("BOOL", *_NUMBERS))
_STORED = VARIABLES | RESTORES | frozenset(["Const"])
_NOT_FETCHED = _STORED | SAVES | VALUELESS | frozenset(["Assert"])


def fetched(recognized: RecognizedGraph, name: str) -> Tensor:
    """Return the tensor with this name, which a step fetches.

    Raises:
      AuditError: there is none; it names outputs of the forward pass that are called similarly.
    """
    return _tensor(recognized, name, lambda: _similar(recognized, name, _outputs(recognized)))


def fed(recognized: RecognizedGraph, name: str) -> Tensor:
    """Return the tensor with this name, which a step feeds.

    Raises:
      AuditError: there is none; it names placeholders that are called similarly, or else outputs.
    """

    def suggest() -> List[str]:
        placeholders = set(recognized.graph.of_types(_FEEDABLE))
        similar = _similar(recognized, name, placeholders)
        return similar or _similar(recognized, name, _outputs(recognized))

    return _tensor(recognized, name, suggest)


def check_fed(recognized: RecognizedGraph, tensor: Tensor, value: StaticValue) -> None:
    """Check the value that a step feeds to a placeholder.

    Raises:
      AuditError: it is a text, such as `flase`, and the placeholder takes none.
    """
    if not isinstance(value, bytes) or recognized.graph.types[tensor.node] not in _FEEDABLE:
        return
    dtype = recognized.graph.attributes(tensor.node)["dtype"].type
    if dtype not in _WITHOUT_TEXT:
        return
    expected = "true or false" if dtype == DATA_TYPES["DT_BOOL"] else "a number"
    raise AuditError(
        f"{recognized.loaded.label}: the text {value.decode('utf-8', 'replace')!r} is fed to "
        f"{recognized.name(tensor)}; expected {expected}"
    )


def run(recognized: RecognizedGraph, name: str) -> Tensor:
    """Return what a step fetches to run the op with this name, which trains.

    Raises:
      AuditError: there is none; it names the train ops, those that are called similarly first.
    """

    def suggest() -> List[str]:
        train_ops = find_train_ops(recognized)
        names = [recognized.graph.names[node] for node in train_ops]
        return list(dict.fromkeys([*_similar(recognized, name, set(train_ops)), *names]))

    return Tensor(_tensor(recognized, name, suggest).node, CONTROL)


def _tensor(recognized: RecognizedGraph, name: str, suggest: Callable[[], Sequence[str]]) -> Tensor:
    tensor = recognized.graph.tensor(name) if name else None
    if tensor is not None:
        return tensor
    suggestions = suggest()[:_SUGGESTIONS] if name else ()
    meant = f"; do you mean {' or '.join(suggestions)}?" if suggestions else ""
    raise AuditError(f"{recognized.loaded.label}: no node is named {name!r}{meant}")


def _outputs(recognized: RecognizedGraph) -> Set[int]:
    """Return the nodes of the forward pass whose outputs depend on data and can be fetched."""
    graph = recognized.graph
    sources = [
        node
        for node, inputs in enumerate(graph.sources)
        if not inputs and graph.types[node] not in _STORED
    ]
    op_types = [op_type for op_type in graph.present_types() if _has_value(op_type)]
    found = data_flow(graph, sources, closed=recognized.backward)
    found.intersection_update(graph.of_types(op_types), range(recognized.loaded.nodes))
    return found - _in_branches(graph)


def _in_branches(graph: Graph) -> Set[int]:
    """Return the nodes of branches and loops, and the copies of what decides them."""
    starts, ends = graph.of_types(SWITCHES | ENTERS), set(graph.of_types(MERGES | EXITS))
    inside = data_flow(graph, starts, ends) - ends
    return inside.union(selector.node for selector in graph.decided_by)


def _has_value(op_type: str) -> bool:
    is_summary = op_type.endswith(("Summary", "SummaryV2"))
    return op_type not in _NOT_FETCHED and not is_summary and not is_write(op_type)


def _similar(recognized: RecognizedGraph, name: str, candidates: Set[int]) -> List[str]:
    """Return the candidates, or the last candidates in the scopes, that are called similarly.

    Those whose whole name ends like `name` come first, then those with the same last part, then
    those with a part that contains it; or else those with a last part that is spelled similarly.
    """
    graph = recognized.graph
    wanted = name.partition(":")[0].lower()
    last = wanted.rpartition("/")[2]
    ends: Dict[str, int] = {}  # the last candidate in each scope; of a node, the node itself
    by_last_part: Dict[str, str] = {}
    for node in sorted(candidates, key=graph.ranks.__getitem__):
        parts = graph.names[node].split("/")
        by_last_part.setdefault(parts[-1].lower(), graph.names[node])
        for count, part in enumerate(parts, start=1):
            if last and last in part.lower():
                ends["/".join(parts[:count])] = node
    for scope in ends:
        named = graph.find(scope)
        if named is not None and named in candidates:
            ends[scope] = named

    def distance(scope: str) -> Tuple[bool, bool, int, str]:
        lower = scope.lower()
        is_same_part = lower.rpartition("/")[2] == last
        return not f"/{lower}".endswith(f"/{wanted}"), not is_same_part, len(scope), scope

    found = [graph.names[ends[scope]] for scope in sorted(ends, key=distance)]
    if not found:
        found = [by_last_part[part] for part in get_close_matches(last, by_last_part)]
    return list(dict.fromkeys(found))
