"""From the nodes of a GraphDef to a Graph: resolve inputs, lower functions, order the nodes."""

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

from bnguard.analysis import limits
from bnguard.analysis.errors import AuditError
from bnguard.analysis.frontend.draft import Draft
from bnguard.analysis.frontend.lowering import lower
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.graph import CONTROL, LOOP_ENDS, MERGES, Graph, as_text
from bnguard.analysis.ir.op_types import least_inputs

_HEAD = attrgetter("name", "op", "input")
_PORT_DIGITS = 9  # a longer number is no port


def read_graph(raw: Any) -> Graph:
    """Index the nodes of a GraphDef.

    Args:
      raw: the RawGraphDef, whose nodes are bytes.

    Raises:
      AuditError: a node is damaged, or TensorFlow would not run this graph: a name is missing or
        used twice, an input does not exist, functions call each other in a circle, or the nodes
        form a cycle that is no loop.
    """
    draft = Draft(raw.node)
    _read_heads(draft, _heads(raw.node))
    if raw.library.function:
        lower(draft, raw.library)
    _check_inputs(draft)
    return Graph(
        draft.names,
        draft.types,
        draft.sources,
        draft.ports,
        _ranks(draft),
        draft.definitions,
        draft.lowered,
        draft.function_nodes,
    )


def _heads(nodes: Iterable[bytes]) -> Iterator[Any]:
    """Yield the name, op type and inputs of each node.

    To parse all heads as one message is no faster in a process of its own, and takes more memory.
    """
    parse = protos.message("NodeHead").FromString
    for number, node in enumerate(nodes):
        try:
            yield parse(node)
        except protos.DecodeError as error:
            raise AuditError(f"node number {number} is damaged") from error


def _read_heads(draft: Draft, heads: Iterable[Any]) -> None:
    names, index = draft.names.encoded, draft.names.index
    op_types, sources, ports = draft.types, draft.sources, draft.ports
    texts, first_outputs = _Texts(), _FirstOutputs()
    late: List[Tuple[int, List[bytes]]] = []  # nodes with an input that follows them
    find = index.get
    for number, (name, op_type, repeated) in enumerate(map(_HEAD, heads)):
        inputs = repeated[:]  # a list is faster to iterate over than the field
        row: Sequence[Any] = tuple(map(find, inputs)) if inputs else ()
        if None not in row:
            ports.append(first_outputs[len(row)])
        else:
            row, row_ports = _resolve(inputs, row, find)
            ports.append(row_ports)
            if None in row:
                late.append((number, inputs))
        sources.append(row)  # type: ignore[arg-type]
        index[name] = number
        names.append(name)
        op_types.append(texts[op_type])
    _check_names(names, op_types, index)
    for number, inputs in late:
        row, row_ports = _resolve(inputs, tuple(map(find, inputs)), find)
        if None in row:
            missing = as_text(inputs[row.index(None)])
            raise AuditError(
                f"node {draft.names[number]} has the input {missing!r}, but there is no such node"
            )
        draft.connect(number, list(zip(row, row_ports)))  # type: ignore[arg-type]


class _Texts(Dict[bytes, str]):
    """Op types as text: one object for each type, not for each node."""

    def __missing__(self, op_type: bytes) -> str:
        self[op_type] = as_text(op_type)
        return self[op_type]


class _FirstOutputs(Dict[int, Tuple[int, ...]]):
    """The ports of inputs that are all first outputs, as most are, by the number of inputs."""

    def __missing__(self, count: int) -> Tuple[int, ...]:
        self[count] = (0,) * count
        return self[count]


def _resolve(
    inputs: Sequence[bytes],
    found: Sequence[Optional[int]],
    find: Callable[[bytes], Optional[int]],
) -> Tuple[Tuple[Optional[int], ...], Tuple[int, ...]]:
    """Return the nodes, None where unknown, and the ports of inputs that are not all node names.

    Args:
      inputs: texts like `node`, `node:port`, `^node`.
      found: the nodes of the inputs that are names.
      find: returns the node of a name.
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
                if number.isdigit() and len(number) <= _PORT_DIGITS:
                    nodes[position], port = find(name), int(number)
        if last == CONTROL != port:
            raise AuditError(f"a node takes {as_text(text)!r} after control inputs, not before")
        ports.append(port)
    return tuple(nodes), tuple(ports)


def _check_names(names: Sequence[bytes], op_types: Sequence[str], index: Dict[bytes, int]) -> None:
    if not all(names) or not all(op_types):
        name, op_type = next(pair for pair in zip(names, op_types) if not all(pair))
        raise AuditError(
            f"node {as_text(name)!r} has op type {op_type!r}; expected a name and a type for every "
            "node. This is not a TensorFlow graph"
        )
    longest = max(map(len, names), default=0)
    if longest > limits.NAME_BYTES:
        raise AuditError(
            f"the name of a node has {longest} bytes; expected at most {limits.NAME_BYTES}"
        )
    if len(index) < len(names):
        twice = next(name for node, name in enumerate(names) if index[name] != node)
        raise AuditError(f"two nodes are named {as_text(twice)}; expected every name once")


def _check_inputs(draft: Draft) -> None:
    """Check that each op has the inputs of its type, so that the analysis need not ask."""
    least = {op_type: least_inputs(op_type) for op_type in set(draft.types)}
    checked = {op_type for op_type, wanted in least.items() if wanted}
    for node, op_type in enumerate(draft.types):
        if op_type in checked:
            wanted, ports = least[op_type], draft.ports[node]
            if len(ports) < wanted or ports[wanted - 1] == CONTROL:
                raise AuditError(
                    f"node {draft.names[node]} ({op_type}) has too few inputs; it takes {wanted}, "
                    "before any control inputs"
                )


def _ranks(draft: Draft) -> Sequence[int]:
    """Return a topological order: numbers larger for a node than for each of its inputs.

    No two are equal. They follow the numbers of the nodes, but an early node pulls its late inputs
    into the gap before it, which is large enough for all nodes. The back edge of a loop, from
    NextIteration to Merge, does not count.
    """
    count = len(draft.names)
    if not draft.early:
        return range(count)
    gap = count + 1
    ranks = list(range(0, count * gap, gap))
    done: Set[int] = set()  # early nodes, and what they pulled
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
                    "NextIteration closes it); TensorFlow would not run this graph"
                )
            else:
                on_path.add(node)
                path.extend(missing)
    return ranks


def _late_inputs(draft: Draft, node: int, first: int, done: AbstractSet[int]) -> List[int]:
    late = [source for source in draft.sources[node] if source >= first and source not in done]
    if late and draft.types[node] in MERGES:
        late = [source for source in late if draft.types[source] not in LOOP_ENDS]
    return late
