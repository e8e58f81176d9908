"""One index of a graph: nodes, edges in both directions, attributes; read once."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from itertools import chain
import re
from typing import (
    AbstractSet,
    Any,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from bnguard.analysis import limits
from bnguard.analysis.errors import AuditError
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.op_types import SWITCHES

CONTROL = -1  # the port of a control edge
MERGES = frozenset(["Merge", "RefMerge"])
LOOP_ENDS = frozenset(["NextIteration", "RefNextIteration"])


_PORTED = re.compile(r"(.+):(\d{1,9})\Z", re.DOTALL)


class Tensor(NamedTuple):
    """An output of a node."""

    node: int
    port: int


_tensor = partial(tuple.__new__, Tensor)  # as Tensor._make, but not through Python


class Names:
    """The names of a graph's nodes, by node, in UTF-8 until somebody asks for one.

    Attributes:
      encoded: all of them.
      index: the node of each.
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
        """Add that of one more node; of two with one name the first is the one to be found."""
        encoded = name.encode()
        self.index.setdefault(encoded, len(self.encoded))
        self.encoded.append(encoded)

    def find(self, name: str) -> Optional[int]:
        """The node called `name`, or None."""
        return self.index.get(name.encode("utf-8", "surrogateescape"))


def as_text(name: bytes) -> str:
    """A name of a file, in which nothing has checked the encoding."""
    return name.decode("utf-8", "replace")


class Definitions:
    """What defines the nodes of a graph, by node.

    Those that were read are NodeDefs in bytes; a node that we made has the NodeDef of a function's
    node, or None.
    """

    def __init__(self, read: Sequence[bytes], names: Names) -> None:
        self._read = read
        self._names = names
        self._read_count = len(read)
        self._made: List[Any] = []

    def append(self, definition: Any) -> None:
        """Add that of one more node."""
        self._made.append(definition)

    def attributes(self, node: int, most: Optional[int] = None) -> Any:
        """A mapping from name to AttrValue, empty for a node of ours without a NodeDef.

        Args:
          node: its number.
          most: give None for a node that was read and has more bytes than this.

        Raises:
          AuditError: they are damaged.
        """
        if node >= self._read_count:
            definition = self._made[node - self._read_count]
            return {} if definition is None else definition.attr
        data = self._read[node]
        if most is not None and len(data) > most:
            return None
        try:
            return protos.message("NodeDef").FromString(data).attr
        except protos.DecodeError as error:
            name = self._names[node]
            raise AuditError(f"node {name}: its attributes are damaged ({error})") from error


class Graph:
    """Nodes by number: `names[i]`, `types[i]`, and the inputs `zip(sources[i], ports[i])`.

    Attributes:
      names: unique; a node of a function body is named after the nodes that call it.
      types: op types; functional control flow is already lowered (see functions.py).
      sources: the number of the node behind each input, data and control.
      ports: the output of that node, or CONTROL. Data inputs come before control inputs.
      ranks: larger for a node than for each of its inputs, save the back edge of a loop, from
        NextIteration to Merge.
      lowered: the nodes that were calls or functional control flow; each now hands on its
        n-th data input as its n-th output.
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
    ) -> None:
        self.names = names
        self.types = types
        self.sources = sources
        self.ports = ports
        self.ranks = ranks
        self.lowered = lowered
        self._definitions = definitions
        self._consumers: Optional[List[List[int]]] = None
        self._by_type: Optional[Dict[str, List[int]]] = None
        self._of_types: Dict[FrozenSet[str], List[int]] = {}
        self._selectors: Dict[int, Tensor] = {}
        self._decided_by: Optional[Dict[Tensor, List[int]]] = None

    def __len__(self) -> int:
        return len(self.names)

    def find(self, name: str) -> Optional[int]:
        """The number of the node called `name`, or None."""
        return self.names.find(name)

    def tensor(self, name: str) -> Optional[Tensor]:
        """The tensor called `name` (`node` or `node:port`), or None when there is no such node."""
        node, port = self.find(name), 0
        ported = _PORTED.match(name)
        if node is None and ported:
            node, port = self.find(ported.group(1)), int(ported.group(2))
        return None if node is None else Tensor(node, port)

    @property
    def consumers(self) -> List[List[int]]:
        """For each node the nodes that take an output of it or wait for it, in order."""
        if self._consumers is None:
            self._consumers = [[] for _ in self.sources]
            for node, sources in enumerate(self.sources):
                for source in sources:
                    self._consumers[source].append(node)
        return self._consumers

    def of_types(self, types: Iterable[str]) -> Sequence[int]:
        """The nodes of these op types, in order."""
        if self._by_type is None:
            self._by_type = defaultdict(list)
            for node, kind in enumerate(self.types):
                self._by_type[kind].append(node)
        key = frozenset(types)
        if key not in self._of_types:
            found = [self._by_type[kind] for kind in key if kind in self._by_type]
            self._of_types[key] = found[0] if len(found) == 1 else sorted(chain(*found))
        return self._of_types[key]

    def present_types(self) -> Iterable[str]:
        """Every op type in the graph."""
        self.of_types(())
        return (self._by_type or {}).keys()

    def data_inputs(self, node: int, most: Optional[int] = None) -> List[Tensor]:
        """The data inputs of a node, in order, or the first `most` of them."""
        sources, ports = self.sources[node][:most], self.ports[node]
        if CONTROL in ports:
            sources = sources[: ports.index(CONTROL)]
        return list(map(_tensor, zip(sources, ports)))

    def data_input(self, node: int, position: int) -> Tensor:
        """One data input of a node that is known to have it."""
        return _tensor((self.sources[node][position], self.ports[node][position]))

    def selector(self, switch: int) -> Tensor:
        """What decides which output of a Switch is alive: its second input."""
        if switch not in self._selectors:
            for selector, switches in self.decided_by.items():
                self._selectors.update(dict.fromkeys(switches, selector))
        return self._selectors[switch]

    @property
    def decided_by(self) -> Dict[Tensor, List[int]]:
        """For each tensor that decides Switches, these, in order."""
        if self._decided_by is None:
            decided_by: Dict[Tuple[int, int], List[int]] = defaultdict(list)
            for switch in self.of_types(SWITCHES):  # many, by few: a Tensor for each of these
                decided_by[self.sources[switch][1], self.ports[switch][1]].append(switch)
            self._decided_by = {_tensor(edge): found for edge, found in decided_by.items()}
        return self._decided_by

    def data_consumers(self, tensor: Tensor) -> Iterator[int]:
        """The nodes that take this tensor, each as often as it takes it."""
        node, port = tensor
        for consumer in dict.fromkeys(self.consumers[node]):
            for edge in zip(self.sources[consumer], self.ports[consumer]):
                if edge == (node, port):
                    yield consumer

    def takes_data(self, consumer: int, node: int) -> bool:
        """Whether a consumer of `node` takes an output of it, and does not only wait for it."""
        ports = self.ports[consumer]
        return CONTROL not in ports or any(
            source == node and port != CONTROL
            for source, port in zip(self.sources[consumer], ports)
        )

    def constant(self, node: int) -> Any:
        """The TensorProto of a Const; None if it is large, or `node` is something else."""
        if self.types[node] != "Const":
            return None
        attributes = self._definitions.attributes(node, limits.CONSTANT_BYTES)
        return None if attributes is None else attributes["value"].tensor

    def attributes(self, node: int) -> Any:
        """The node's attributes, a mapping from name to AttrValue; decoded on each call."""
        return self._definitions.attributes(node)
