"""From a RawGraphDef to a Graph: find the nodes' inputs, lower the functions, put in order."""

from __future__ import annotations

from operator import attrgetter
from typing import (
    AbstractSet,
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from bnguard.analysis.errors import AuditError
from bnguard.analysis.frontend.draft import Draft
from bnguard.analysis.frontend.lowering import lower
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.graph import CONTROL, LOOP_ENDS, MERGES, Graph, as_text
from bnguard.analysis.ir.op_types import least_inputs

_HEAD = attrgetter("name", "op", "input")
_LONG_NUMBER = 10  # digits


def read_graph(raw: Any) -> Graph:
    """Index a RawGraphDef.

    Raises:
      AuditError: no TensorFlow would run this graph: a name is missing or used twice, an input
        is not there, functions call each other in a circle, or the nodes form a cycle that is
        no loop.
    """
    draft = Draft(raw.node)
    _read_heads(draft, _heads(raw.node))
    if raw.library.function:
        lower(draft, raw.library)
    graph = Graph(
        draft.names,
        draft.types,
        draft.sources,
        draft.ports,
        _ranks(draft),
        draft.definitions,
        draft.lowered,
    )
    _check_inputs(graph)
    return graph


def _heads(nodes: Iterable[bytes]) -> Iterator[Any]:
    decode = protos.message("NodeHead").FromString
    for number, node in enumerate(nodes):
        try:
            yield decode(node)
        except protos.DecodeError as error:
            raise AuditError(f"node number {number} is damaged ({error})") from error


def _read_heads(draft: Draft, heads: Iterable[Any]) -> None:
    names, index = draft.names.encoded, draft.names.index
    kinds, sources, ports = draft.types, draft.sources, draft.ports
    texts, first_outputs = _Texts(), _FirstOutputs()
    late: List[Tuple[int, List[bytes]]] = []  # nodes with an input that follows them
    find = index.get
    for number, (name, kind, repeated) in enumerate(map(_HEAD, heads)):
        inputs = repeated[:]  # a list; to go through the field itself takes longer
        row: Sequence[Any] = tuple(map(find, inputs)) if inputs else ()
        if None not in row:
            ports.append(first_outputs[len(row)])
        else:
            row, row_ports = _find_others(inputs, row, find)
            ports.append(row_ports)
            if None in row:
                late.append((number, inputs))
        sources.append(row)  # type: ignore[arg-type]
        index[name] = number
        names.append(name)
        kinds.append(texts[kind])
    _check_names(names, kinds, index)
    for number, inputs in late:
        row, row_ports = _find_others(inputs, tuple(map(find, inputs)), find)
        if None in row:
            missing = as_text(inputs[row.index(None)])
            raise AuditError(
                f"node {draft.names[number]} has the input {missing!r}, but there is no such node"
            )
        draft.connect(number, list(zip(row, row_ports)))  # type: ignore[arg-type]


class _Texts(Dict[bytes, str]):
    """Op types as text: one object for each type, not for each node."""

    def __missing__(self, kind: bytes) -> str:
        self[kind] = as_text(kind)
        return self[kind]


class _FirstOutputs(Dict[int, Tuple[int, ...]]):
    """The ports of so many inputs, as those of most nodes are: each the first output of another."""

    def __missing__(self, count: int) -> Tuple[int, ...]:
        self[count] = (0,) * count
        return self[count]


def _find_others(
    inputs: Sequence[bytes],
    found: Sequence[Optional[int]],
    find: Callable[[bytes], Optional[int]],
) -> Tuple[Tuple[Optional[int], ...], Tuple[int, ...]]:
    """The nodes, None where unknown, and ports of inputs of which not all are just a node's name.

    Args:
      inputs: texts like `node`, `node:port`, `^node`.
      found: the nodes of those that are a name.
      find: gives the node of a name.
    """
    nodes = list(found)
    ports: List[int] = []
    port = 0
    for position, text in enumerate(inputs):
        last, port = port, 0
        if nodes[position] is None:
            if text[:1] == b"^":
                nodes[position], port = find(text[1:]), CONTROL
            else:
                name, _, number = text.rpartition(b":")
                if number.isdigit() and len(number) < _LONG_NUMBER:
                    nodes[position], port = find(name), int(number)
        if last == CONTROL != port:
            raise AuditError(f"a node takes {as_text(text)!r} after control inputs, not before")
        ports.append(port)
    return tuple(nodes), tuple(ports)


def _check_names(names: Sequence[bytes], kinds: Sequence[str], index: Dict[bytes, int]) -> None:
    if not all(names) or not all(kinds):
        name, kind = next(pair for pair in zip(names, kinds) if not all(pair))
        raise AuditError(
            f"node {as_text(name)!r} has op type {kind!r}; expected a name and a type for every "
            "node. This is not a TensorFlow graph"
        )
    if len(index) < len(names):
        twice = next(name for node, name in enumerate(names) if index[name] != node)
        raise AuditError(f"two nodes are named {as_text(twice)}; expected every name once")


def _check_inputs(graph: Graph) -> None:
    """So that nobody who knows an op's type need ask whether its inputs are there."""
    for kind in graph.present_types():
        least = least_inputs(kind)
        for node in graph.of_types([kind]) if least else ():
            ports = graph.ports[node]
            if len(ports) < least or ports[least - 1] == CONTROL:
                raise AuditError(
                    f"node {graph.names[node]} ({kind}) has too few inputs; it takes {least}, "
                    "before any control inputs"
                )


def _ranks(draft: Draft) -> Sequence[int]:
    """Larger for a node than for each of its inputs; no two are the same.

    They follow the numbers of the nodes, but an early node pulls its late inputs up, into the gap
    before it, which has room for all nodes. A loop's back edge, from NextIteration to Merge, does
    not count.
    """
    count = len(draft.names)
    if not draft.early:
        return range(count)
    gap = count + 1
    ranks = list(range(0, count * gap, gap))
    done: Set[int] = set()  # early nodes, and what they pulled up
    for first in sorted(draft.early):
        path, on_path, rank = [first], set(), ranks[first] - gap
        while path:
            node = path[-1]
            missing = [] if node in done else _late_inputs(draft, node, first, done)
            if not missing:
                path.pop()
                if node not in done and node != first:
                    rank += 1
                    ranks[node] = rank
                done.add(node)
            elif node in on_path:
                raise AuditError(
                    f"node {draft.names[node]} is in a cycle of inputs that is no loop (no "
                    "NextIteration closes it); no TensorFlow would run this graph"
                )
            else:
                on_path.add(node)
                path.extend(missing)
    return ranks


def _late_inputs(draft: Draft, node: int, first: int, done: AbstractSet[int]) -> List[int]:
    late = [one for one in draft.sources[node] if one >= first and one not in done]
    if late and draft.types[node] in MERGES:
        late = [one for one in late if draft.types[one] not in LOOP_ENDS]
    return late
