"""The graph: nodes by number, edges in both directions, attributes."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from itertools import chain, repeat
import re
from types import MappingProxyType
from typing import (
    AbstractSet,
    Any,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from bnguard.analysis import limits
from bnguard.analysis.errors import AuditError
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.op_types import SWITCHES
from bnguard.analysis.ir.tensor_values import Scalar, short_list, uniform_value

CONTROL = -1
"""The port of a control edge."""

MERGES = frozenset(["Merge", "RefMerge"])
LOOP_ENDS = frozenset(["NextIteration", "RefNextIteration"])

_LARGE = 4096  # bytes of a node, above which its attributes are kept once decoded
_WIDE = 64  # inputs of a node, above which they are kept once they were asked for
_PORTED = re.compile(r"(.+):(\d{1,9})\Z", re.DOTALL)


class Tensor(NamedTuple):
    """An output of a node."""

    node: int
    port: int


_tensor = partial(tuple.__new__, Tensor)  # as Tensor._make, but without a call into Python


class Names:
    """The names of a graph's nodes, by node; decoded from UTF-8 when they are asked for.

    Attributes:
      encoded: all names.
      index: the node of each name.
    """

    def __init__(self, encoded: List[bytes], index: Dict[bytes, int]) -> None:
        self.encoded = encoded
        self.index = index

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, node: int) -> str:
        return as_text(self.encoded[node])

    def __iter__(self) -> Iterator[str]:
        return map(as_text, self.encoded)

    def append(self, name: str) -> None:
        """Add the name of the next node; if two nodes share a name, `find` returns the first."""
        encoded = name.encode()
        self.index.setdefault(encoded, len(self.encoded))
        self.encoded.append(encoded)

    def find(self, name: str) -> Optional[int]:
        """Return the node called `name`, or None."""
        return self.index.get(name.encode("utf-8", "surrogateescape"))


def as_text(name: bytes) -> str:
    """Return a name as text; nothing has checked the encoding of names in a file."""
    return name.decode("utf-8", "replace")


class Definitions:
    """The definitions of a graph's nodes, by node.

    The node of a file has a NodeDef in bytes. A node that lowering added has the NodeDef of a
    function's node, or None.
    """

    def __init__(self, read: Sequence[bytes], names: Names) -> None:
        self._read = read
        self._names = names
        self._read_count = len(read)
        self._added: List[Any] = []
        self._large: Dict[int, Any] = {}  # decoded once, as many nodes may ask for one

    def append(self, definition: Any) -> None:
        """Add the definition of the next node."""
        self._added.append(definition)

    def is_added(self, node: int) -> bool:
        """Return whether lowering added the node."""
        return node >= self._read_count

    def attributes(self, node: int, largest: Optional[int] = None) -> Any:
        """Return a mapping from name to AttrValue; it is empty for a node without a NodeDef.

        Args:
          node: the number of the node.
          largest: return None for a node of a file that has more bytes than this.

        Raises:
          AuditError: the attributes are damaged.
        """
        if node >= self._read_count:
            definition = self._added[node - self._read_count]
            return {} if definition is None else definition.attr
        if node in self._large and largest is None:
            return self._large[node]
        data = self._read[node]
        if largest is not None and len(data) > largest:
            return None
        try:
            attributes = protos.message("NodeDef").FromString(data).attr
        except protos.DecodeError as error:
            raise AuditError(f"node {self._names[node]}: its attributes are damaged") from error
        if len(data) > _LARGE:
            self._large[node] = attributes
        return attributes


class Graph:
    """A graph: `names[i]`, `types[i]`, and the inputs `zip(sources[i], ports[i])` of node i.

    Attributes:
      names: unique names; a node in a function is named after the nodes that call the function.
      types: op types; functional control flow is lowered already (see frontend/lowering.py).
      sources: the node behind each input, data and control.
      ports: the output of that node, or CONTROL. Data inputs come before control inputs.
      ranks: a topological order: larger for a node than for each of its inputs, except for the
        back edge of a loop, from NextIteration to Merge.
      order: the nodes in topological order, by their ranks.
      lowered: the nodes that were calls or functional control flow; each passes its n-th data
        input on as its n-th output.
      function_nodes: for each node in a function, its name there and the function.
      consumers: for each node, the nodes that take an output of it or wait for it, in order.
      decided_by: the Switches that each tensor decides, in order.
    """

    def __init__(
        self,
        names: Names,
        types: List[str],
        sources: List[Tuple[int, ...]],
        ports: List[Tuple[int, ...]],
        ranks: Sequence[int],
        definitions: Definitions,
        lowered: AbstractSet[int],
        function_nodes: Mapping[int, Tuple[str, str]] = MappingProxyType({}),
    ) -> None:
        self.names = names
        self.types = types
        self.sources = sources
        self.ports = ports
        self.ranks = ranks
        in_order = isinstance(ranks, range)
        self.order = ranks if in_order else sorted(range(len(ranks)), key=ranks.__getitem__)
        self.lowered = lowered
        self.function_nodes = function_nodes
        self._definitions = definitions
        self.consumers = _consumers(sources)
        self._by_type = _by_type(types)
        # Caches:
        self._by_types: Dict[FrozenSet[str], Sequence[int]] = {}
        self._wide: Dict[int, _WideInputs] = {}
        self._values: Dict[int, Optional[Scalar]] = {}
        self._lists: Dict[int, Optional[List[Scalar]]] = {}
        self.decided_by = self._switches_by_selector()
        self._selectors = {
            switch: selector for selector, found in self.decided_by.items() for switch in found
        }

    def __len__(self) -> int:
        return len(self.names)

    def find(self, name: str) -> Optional[int]:
        """Return the node called `name`, or None."""
        return self.names.find(name)

    def tensor(self, name: str) -> Optional[Tensor]:
        """Return the tensor called `name`, `node` or `node:port`; None if there is no such node."""
        node, port = self.find(name), 0
        ported = _PORTED.match(name)
        if node is None and ported:
            node, port = self.find(ported.group(1)), int(ported.group(2))
        return None if node is None else Tensor(node, port)

    def of_types(self, types: Iterable[str]) -> Sequence[int]:
        """Return the nodes of these op types, in order."""
        key = frozenset(types)
        if key not in self._by_types:
            found = [self._by_type[op_type] for op_type in key if op_type in self._by_type]
            self._by_types[key] = found[0] if len(found) == 1 else sorted(chain(*found))
        return self._by_types[key]

    def present_types(self) -> Iterable[str]:
        """Return every op type in the graph."""
        return self._by_type.keys()

    def is_added(self, node: int) -> bool:
        """Return whether lowering added the node to those of the file."""
        return self._definitions.is_added(node)

    def data_inputs(self, node: int) -> Sequence[Tensor]:
        """Return the data inputs of a node, in order."""
        sources, ports = self.sources[node], self.ports[node]
        if len(ports) > _WIDE:
            return self._wide_inputs(node).tensors
        if CONTROL in ports:
            sources = sources[: ports.index(CONTROL)]
        return list(map(_tensor, zip(sources, ports)))

    def data_input(self, node: int, position: int) -> Tensor:
        """Return one data input of a node that has it."""
        return _tensor((self.sources[node][position], self.ports[node][position]))

    def selector(self, switch: int) -> Tensor:
        """Return the tensor that decides which output of a Switch is alive: its second input."""
        return self._selectors[switch]

    def data_consumers(self, tensor: Tensor) -> Iterator[int]:
        """Yield the nodes that take this tensor, each as often as it takes the tensor."""
        takers = dict.fromkeys(self.consumers[tensor.node])
        limits.spend(len(takers))
        for consumer in takers:
            if len(self.sources[consumer]) > _WIDE:
                yield from repeat(consumer, self._wide_inputs(consumer).counts.get(tensor, 0))
                continue
            for edge in zip(self.sources[consumer], self.ports[consumer]):
                if edge == tensor:
                    yield consumer

    def takes_data(self, consumer: int, node: int) -> bool:
        """Return whether a consumer of `node` takes an output of it, and does not only wait."""
        ports = self.ports[consumer]
        if len(ports) > _WIDE:
            return self.data_position(consumer, node) is not None
        return CONTROL not in ports or any(
            source == node and port != CONTROL
            for source, port in zip(self.sources[consumer], ports)
        )

    def data_position(self, consumer: int, node: int) -> Optional[int]:
        """Return the position of the first data input of `consumer` that comes from `node`."""
        sources, ports = self.sources[consumer], self.ports[consumer]
        if len(ports) > _WIDE:
            return self._wide_inputs(consumer).positions.get(node)
        for position, (source, port) in enumerate(zip(sources, ports)):
            if source == node and port != CONTROL:
                return position
        return None

    def taken_ports(self, consumer: int, node: int) -> Sequence[int]:
        """Return the outputs of `node` that its consumer takes, CONTROL among them."""
        sources, ports = self.sources[consumer], self.ports[consumer]
        if len(ports) > _WIDE:
            return self._wide_inputs(consumer).ports[node]
        if sources.count(node) == 1:  # the usual case, and the fast one
            return [ports[sources.index(node)]]
        return [port for source, port in zip(sources, ports) if source == node]

    def constant(self, node: int) -> Any:
        """Return the TensorProto of a Const; None if it is large, or `node` is something else."""
        if self.types[node] != "Const":
            return None
        attributes = self._definitions.attributes(node, limits.CONSTANT_BYTES)
        return None if attributes is None else attributes["value"].tensor

    def constant_value(self, node: int) -> Optional[Scalar]:
        """Return the value of all elements of a Const; None if they differ, or for another node."""
        if node not in self._values:
            constant = self.constant(node)
            self._values[node] = None if constant is None else uniform_value(constant)
        return self._values[node]

    def constant_list(self, node: int) -> Optional[List[Scalar]]:
        """Return the elements of a Const of rank 0 or 1; None for another node, or for many."""
        if node not in self._lists:
            constant = self.constant(node)
            self._lists[node] = None if constant is None else short_list(constant)
        return self._lists[node]

    def attributes(self, node: int) -> Any:
        """Return the node's attributes, a mapping from name to AttrValue, decoded at each call."""
        return self._definitions.attributes(node)

    def _wide_inputs(self, node: int) -> _WideInputs:
        if node not in self._wide:
            self._wide[node] = _WideInputs(self.sources[node], self.ports[node])
        return self._wide[node]

    def _switches_by_selector(self) -> Dict[Tensor, List[int]]:
        found: Dict[Tuple[int, int], List[int]] = defaultdict(list)
        for switch in self.of_types(SWITCHES):
            found[self.sources[switch][1], self.ports[switch][1]].append(switch)
        return {_tensor(edge): switches for edge, switches in found.items()}


class _WideInputs:
    """The data inputs of a node with very many, with what would take a look at each of them.

    Attributes:
      tensors: the inputs, in order.
      positions: the position of the first that comes from each node.
      counts: how often each is an input.
      ports: the outputs of each node that are taken, CONTROL among them.
    """

    def __init__(self, sources: Sequence[int], ports: Sequence[int]) -> None:
        end = ports.index(CONTROL) if CONTROL in ports else len(ports)
        self.tensors: Sequence[Tensor] = list(map(_tensor, zip(sources[:end], ports)))
        self.positions: Dict[int, int] = {}
        for position, tensor in enumerate(self.tensors):
            self.positions.setdefault(tensor.node, position)
        self.counts = Counter(self.tensors)
        self.ports: Dict[int, List[int]] = defaultdict(list)
        for source, port in zip(sources, ports):
            self.ports[source].append(port)


def _consumers(sources: Sequence[Sequence[int]]) -> List[List[int]]:
    consumers: List[List[int]] = [[] for _ in sources]
    for node, inputs in enumerate(sources):
        for source in inputs:
            consumers[source].append(node)
    return consumers


def _by_type(types: Sequence[str]) -> Dict[str, List[int]]:
    found: Dict[str, List[int]] = defaultdict(list)
    for node, op_type in enumerate(types):
        found[op_type].append(node)
    return dict(found)
