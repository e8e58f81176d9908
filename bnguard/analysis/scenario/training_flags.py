"""Training flags: the placeholders or variables that decide whether layers train.

A candidate is a scalar bool placeholder, with or without a default, or a scalar bool variable, that
some Switch of the forward pass depends on. It is a training flag if its two values differ in what
belongs to training. Every Switch that the candidate alone decides votes with the nodes of its
branches, up to the next Merge:

| in the branch for a value                                      | votes for that value as        |
| -------------------------------------------------------------- | ------------------------------ |
| an update of a running statistic                               | training                       |
| a normalization with the moments of its batch                  | training                       |
| a random number op, such as that of dropout                    | training                       |
| the moments of a batch, which leave the Switch only there      | training                       |
| a normalization with running statistics                        | inference                      |
| a normalization that may use either                            | nothing                        |

If these votes tie, moments of a batch that are computed in a branch vote for training: the layer
may be behind the Merge, which chooses the moments. If these tie, too, the layers may be outside the
branches, which only choose between their outputs. Then the first Merge after a branch whose two
inputs use different nodes of the table decides. If all tie, the candidate is no training flag.

At inference a placeholder is fed its value for inference. A variable has its value in the
checkpoint, if one is given; otherwise its value for inference, if an op in the graph sets it, or
else its initial value, as in training.
"""

from __future__ import annotations

from typing import (
    AbstractSet,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Set,
    Tuple,
)

from bnguard.analysis import limits
from bnguard.analysis.dataflow.constant_folding import StaticValue, can_fold
from bnguard.analysis.dataflow.constant_propagation import ConstantPropagation
from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.ir.graph import CONTROL, MERGES, Graph, Tensor
from bnguard.analysis.ir.op_types import PLACEHOLDERS, RESTORES, SWITCHES, VARIABLES
from bnguard.analysis.ir.protos import DATA_TYPES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.writes import Purpose

_WITH_DEFAULT = "PlaceholderWithDefault"
_SOURCES = PLACEHOLDERS | VARIABLES | frozenset([_WITH_DEFAULT])
_BOOL = DATA_TYPES["DT_BOOL"]
_RANDOM = ("RandomUniform", "RandomStandardNormal", "StatelessRandomUniform")
_TRAINING, _INFERENCE = 1, -1


class TrainingFlag(NamedTuple):
    """A training flag.

    Attributes:
      tensor: the placeholder or variable.
      training: its value in training, usually True.
      default: its value where it is not fed, or the initial value of a variable; None if it must
        be fed, or is not known.
      is_variable: whether it is a variable.
      setters: the ops that set a variable, besides its initializer and Savers.
    """

    tensor: Tensor
    training: bool
    default: Optional[bool]
    is_variable: bool = False
    setters: Tuple[int, ...] = ()

    @property
    def is_fixed(self) -> bool:
        """Whether it is a variable that nothing sets."""
        return self.is_variable and not self.setters

    def name(self, recognized: RecognizedGraph) -> str:
        """Return the name of the tensor, or of the variable."""
        node = self.tensor.node
        return recognized.graph.names[node] if self.is_variable else recognized.name(self.tensor)

    @property
    def at_training(self) -> bool:
        """The value in a training step: if nothing sets it, the initial value."""
        return self.training if self.default is None or not self.is_fixed else self.default

    @property
    def at_inference(self) -> bool:
        """The value in an inference step, unless the program gives another."""
        return not self.training if self.default is None or not self.is_fixed else self.default


def find_training_flags(recognized: RecognizedGraph) -> List[TrainingFlag]:
    """Return the training flags of a graph, those that decide most Switches first."""
    candidates = _candidates(recognized)
    by_importance = sorted(
        candidates, key=lambda flag: (-len(candidates[flag]), candidates[flag][0])
    )
    if len(by_importance) > limits.FLAG_CANDIDATES:
        limits.FLAG_CANDIDATES.reach()
    votes = _votes_of_nodes(recognized)
    flags = []
    for tensor in by_importance[: limits.FLAG_CANDIDATES]:
        training = _training_value(recognized, tensor, candidates[tensor], votes)
        if training is not None:
            flags.append(_training_flag(recognized, tensor, training))
    return flags


def _training_flag(recognized: RecognizedGraph, tensor: Tensor, training: bool) -> TrainingFlag:
    types, constants = recognized.graph.types, ConstantPropagation(recognized.graph, {})
    op_type = types[tensor.node]
    if op_type not in VARIABLES:
        value = constants.value(tensor) if op_type == _WITH_DEFAULT else None
        return TrainingFlag(tensor, training, value if isinstance(value, bool) else None)
    initial = None
    setters: List[int] = []
    for write in recognized.writes.get(tensor.node, ()):
        assigned = recognized.graph.data_inputs(write.node)[-1]
        origins = recognized.provenance.origins(assigned)
        if write.purpose is Purpose.INITIALIZE:
            value = constants.value(assigned)
            initial = value if isinstance(value, bool) else None
        elif not origins.all_are(lambda origin: types[origin.node] in RESTORES):
            setters.append(write.node)
    return TrainingFlag(tensor, training, initial, is_variable=True, setters=tuple(setters))


def _candidates(recognized: RecognizedGraph) -> Dict[Tensor, List[int]]:
    """Return each scalar bool placeholder or variable, with the Switches that depend on it."""
    candidates: Dict[Tensor, Set[int]] = {}
    for selector, switches in recognized.graph.decided_by.items():
        # In the backward pass a moment is taken for its shape, and on the other side.
        forward = [switch for switch in switches if switch not in recognized.gradients.nodes]
        for source in _sources_behind(recognized, selector) if forward else ():
            candidates.setdefault(source, set()).update(forward)
    return {source: sorted(switches) for source, switches in candidates.items()}


def _sources_behind(recognized: RecognizedGraph, selector: Tensor) -> Iterator[Tensor]:
    graph = recognized.graph
    stack, seen = [selector], {selector}
    while stack:
        if len(seen) > limits.FLAG_NODES:
            limits.FLAG_NODES.reach()
            return
        tensor = stack.pop()
        op_type = graph.types[tensor.node]
        if op_type in _SOURCES:
            if _is_scalar_bool(recognized, tensor.node):
                yield tensor
            continue
        inputs = graph.data_inputs(tensor.node)
        if tensor.node in graph.lowered:
            inputs = inputs[tensor.port : tensor.port + 1]
        elif op_type in SWITCHES or op_type == "ReadVariableOp":
            inputs = inputs[:1]
        elif not can_fold(op_type) and op_type not in MERGES:
            continue
        unseen = [tensor for tensor in inputs if tensor not in seen]
        seen.update(unseen)
        stack += unseen


def _is_scalar_bool(recognized: RecognizedGraph, node: int) -> bool:
    attributes = recognized.graph.attributes(node)
    dimensions = attributes["shape"].shape.dim
    return attributes["dtype"].type == _BOOL and all(axis.size == 1 for axis in dimensions)


def _training_value(
    recognized: RecognizedGraph, flag: Tensor, switches: List[int], votes: Mapping[int, int]
) -> Optional[bool]:
    """Return the flag's value in training; None if all votes tie."""
    ports = _ports_at_true(recognized, flag, switches)
    balance = _balance_of_branches(recognized, ports, votes)
    balance = balance or _balance_of_moments(recognized, ports)
    balance = balance or _balance_of_outputs(recognized, flag, ports, votes)
    return balance > 0 if balance else None


def _ports_at_true(
    recognized: RecognizedGraph, flag: Tensor, switches: List[int]
) -> Dict[int, int]:
    """Return the port that each Switch selects at True, of those that the flag alone decides."""
    at_true, at_false = (
        ConstantPropagation(recognized.graph, {flag: value}) for value in (True, False)
    )
    selectors = {switch: recognized.graph.selector(switch) for switch in switches}
    selected = {
        selector: _port_at_true(at_true.value(selector), at_false.value(selector))
        for selector in set(selectors.values())
    }
    ports = {switch: selected[selector] for switch, selector in selectors.items()}
    return {switch: port for switch, port in ports.items() if port is not None}


def _port_at_true(at_true: StaticValue, at_false: StaticValue) -> Optional[int]:
    """Return the port of a selector; of `flag and other` only the value at False is known."""
    if isinstance(at_true, bool) and at_true != at_false:
        return int(at_true)
    if isinstance(at_false, bool) and at_true != at_false:
        return 1 - int(at_false)
    return None


def _votes_of_nodes(recognized: RecognizedGraph) -> Dict[int, int]:
    """Return the vote of each node that has one, wherever it is."""
    votes = dict.fromkeys(recognized.graph.of_types(_RANDOM), _TRAINING)
    for statistic in recognized.statistics:
        votes.update((write.node, _TRAINING) for write in statistic.updates)
    for layer in recognized.normalizations:
        # A layer that may use either has the choice before it, in its inputs.
        uses_batch, uses_running = bool(layer.moments), bool(layer.running_variance)
        votes[layer.node] = _TRAINING * uses_batch + _INFERENCE * uses_running
    return votes


def _balance_of_branches(
    recognized: RecognizedGraph, ports: Mapping[int, int], votes: Mapping[int, int]
) -> int:
    """Return the votes of the branches: positive if True is training, negative if False is."""
    starts: Dict[bool, List[int]] = {True: [], False: []}  # of the branches at either value
    balance = 0
    for switch, port_at_true in ports.items():
        consumers = _consumers_by_port(recognized.graph, switch)
        for port, nodes in consumers.items():
            starts[port == port_at_true] += nodes
        if len(consumers) == 1 and _passes_moments(recognized, switch):
            balance += _TRAINING if port_at_true in consumers else -_TRAINING
    balance += sum(votes.get(node, 0) for node in _branch(recognized.graph, starts[True]))
    balance -= sum(votes.get(node, 0) for node in _branch(recognized.graph, starts[False]))
    return balance


def _balance_of_moments(recognized: RecognizedGraph, ports: Mapping[int, int]) -> int:
    """Return the votes of the moments in the branches, without those in branches inside them."""
    graph = recognized.graph
    moments = {moment.node for moment in recognized.moments}
    if not moments:
        return 0
    balance = 0
    for switch, port_at_true in ports.items():
        for port, nodes in _consumers_by_port(graph, switch).items():
            found = len(_branch(graph, nodes, MERGES | SWITCHES) & moments)
            balance += found if port == port_at_true else -found
    return balance


def _balance_of_outputs(
    recognized: RecognizedGraph, flag: Tensor, ports: Mapping[int, int], votes: Mapping[int, int]
) -> int:
    """Return the votes of what the first decided Merge after the branches uses."""
    graph = recognized.graph
    starts = (node for switch in ports for node in graph.consumers[switch])
    merges = {
        consumer
        for node in _branch(graph, starts).union(ports)
        for consumer in graph.consumers[node]
        if graph.types[consumer] in MERGES and consumer not in recognized.gradients.nodes
    }
    in_order = sorted(merges, key=graph.ranks.__getitem__)
    for merge in in_order[: limits.FLAG_MERGES]:
        balance = 0
        for flag_value in (True, False):
            step = Execution(graph, [Tensor(merge, 0)], {flag: flag_value})
            total = sum(vote for node, vote in votes.items() if step.uses(node))
            balance += total if flag_value else -total
        if balance:
            return balance
    if len(in_order) > limits.FLAG_MERGES:
        limits.FLAG_MERGES.reach()
    return 0


def _consumers_by_port(graph: Graph, switch: int) -> Dict[int, List[int]]:
    """Return the nodes that take each output of a Switch which any node takes."""
    consumers: Dict[int, List[int]] = {}
    for consumer in graph.consumers[switch]:
        for port in graph.taken_ports(consumer, switch):
            if port != CONTROL:
                consumers.setdefault(port, []).append(consumer)
    return consumers


def _branch(graph: Graph, starts: Iterable[int], ends: AbstractSet[str] = MERGES) -> Set[int]:
    """Return `starts` and what depends on them, up to the next Merge or another type of `ends`."""
    stack = list(starts)
    branch: Set[int] = set()
    while stack:
        node = stack.pop()
        if node not in branch and graph.types[node] not in ends:
            branch.add(node)
            stack += graph.consumers[node]
    return branch


def _passes_moments(recognized: RecognizedGraph, switch: int) -> bool:
    """Return whether the value that a Switch passes on is made of moments of a batch."""
    data = recognized.graph.data_input(switch, 0)
    return not recognized.moments.isdisjoint(recognized.provenance.origins(data).tensors)
