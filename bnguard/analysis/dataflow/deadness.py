"""Deadness: when each node of a step runs, given what is fed.

An op is dead, and does nothing, when any of its inputs is dead; a Merge, when all of them are. A
Switch makes one of its outputs dead. If constants and feeds determine its selector, the dead
output is known. Otherwise what follows runs under a predicate (see predicates.py).

The analysis is a sparse conditional constant propagation (Wegman and Zadeck, 1991): one pass over
the nodes in topological order decides values and predicates together. A node that no Switch
precedes always runs. In a loop, the value of a selector in the first iteration decides what
certainly runs; only a value that no iteration changes decides what certainly does not.
"""

from __future__ import annotations

from typing import Callable, Dict, Mapping, Optional, Set, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.dataflow.constant_propagation import ConstantPropagation, merge_entries
from bnguard.analysis.dataflow.predicates import (
    ALWAYS,
    NEVER,
    UNDECIDED,
    BranchOutcome,
    Predicate,
    conjunction,
    disjunction,
)
from bnguard.analysis.dataflow.pruning import Pruning
from bnguard.analysis.ir.graph import CONTROL, MERGES, Graph, Tensor
from bnguard.analysis.ir.op_types import SWITCHES

_VISITS = 48  # to nodes, which take as long as one decision


class Deadness:
    """The predicates of the nodes of one step, and of their outputs.

    Args:
      pruning: the nodes that the step needs.
      feeds: the value of each tensor that is fed; None for a value that is not known.
    """

    def __init__(self, pruning: Pruning, feeds: Mapping[Tensor, StaticValue]) -> None:
        self._pruning = pruning
        self._graph = pruning.graph
        # Of the nodes with another predicate than ALWAYS, and of the outputs of live Switches.
        self._nodes: Dict[int, Predicate] = {}
        self._outputs: Dict[int, _Outputs] = {}
        self._splits: Dict[Tuple[Tensor, int, Predicate], _Outputs] = {}
        self._maybe_dead: Set[int] = set()  # the Switches, and the nodes with another predicate
        self._propagate(ConstantPropagation(pruning.graph, feeds, self.is_dead))

    def of_node(self, node: int) -> Predicate:
        """Return the predicate of a node that the step needs."""
        return self._nodes.get(node, ALWAYS)

    def of_output(self, source: int, port: int) -> Predicate:
        """Return the predicate under which a value, or control, leaves this output of a node."""
        if source in self._pruning.fed_nodes and self._pruning.is_cut(source, port):
            return ALWAYS
        outputs = self._outputs.get(source)
        if outputs is None or port == CONTROL:
            return self._nodes.get(source, ALWAYS)
        return outputs.predicate(port)

    def is_dead(self, source: int, port: int) -> bool:
        """Return whether nothing ever leaves this output of a node."""
        return self.of_output(source, port) is NEVER

    def _propagate(self, constants: ConstantPropagation) -> None:
        """Decide the Switches, and every node after one that may be dead, in topological order."""
        switches, consumers = self._graph.of_types(SWITCHES), self._graph.consumers
        affected = bytearray(len(self._graph))  # 1 for a Switch, and after what may be dead
        for switch in switches:
            affected[switch] = 1
        for node in self._graph.order if switches else ():
            if affected[node] and self._pruning.needs(node) and self._decide(node, constants):
                limits.spend(_VISITS)
                self._maybe_dead.add(node)
                for consumer in consumers[node]:
                    affected[consumer] = 1

    def _decide(self, node: int, constants: ConstantPropagation) -> bool:
        """Decide a node and its outputs; return whether any of these may be dead."""
        predicate = self._join(node)
        if predicate != ALWAYS:
            self._nodes[node] = predicate
        if self._graph.types[node] not in SWITCHES or predicate is NEVER:
            return predicate != ALWAYS
        self._outputs[node] = self._split(node, predicate, constants)
        return True

    def _join(self, node: int) -> Predicate:
        """Return the predicate of a node, from those of its inputs."""
        op_type, of_output = self._graph.types[node], self.of_output
        if op_type in MERGES:
            predicates = [of_output(*entry) for entry in merge_entries(self._graph, node)]
            return ALWAYS if ALWAYS in predicates else disjunction(predicates, node)
        if op_type == "ControlTrigger":
            return ALWAYS
        maybe_dead, undecided = self._maybe_dead, []
        for source, port in zip(self._graph.sources[node], self._graph.ports[node]):
            if source in maybe_dead:
                predicate = of_output(source, port)
                if predicate is NEVER:
                    return NEVER
                if predicate:
                    undecided.append(predicate)
        return conjunction(undecided) if len(undecided) > 1 else next(iter(undecided), ALWAYS)

    def _split(self, switch: int, predicate: Predicate, constants: ConstantPropagation) -> _Outputs:
        """Return the predicates of a Switch's outputs: equal for all with one selector."""
        key = self._graph.selector(switch), _port_count(self._graph, switch), predicate
        outputs = self._splits.get(key)
        if outputs is None:
            outputs = self._splits[key] = self._branches(*key, constants)
        return outputs

    def _branches(
        self, selector: Tensor, ports: int, predicate: Predicate, constants: ConstantPropagation
    ) -> _Outputs:
        known = selected_port(constants.value(selector), ports)
        if known is not None:
            return _Outputs(ports, lambda port: predicate if port == known else NEVER)
        first = selected_port(constants.first_value(selector), ports)
        origin, negated = constants.selector_origin(selector)
        sides = self._sides_of_merge(origin, constants) if first is None and ports == 2 else None
        if sides is not None:
            taken, left = sides[1 - negated], sides[negated]
            return _Outputs(ports, lambda port: conjunction([predicate, taken if port else left]))
        is_loop = self._graph.types[selector.node] == "LoopCond" and ports == 2

        def of_port(port: int) -> Predicate:
            if is_loop and (port == 0 or first == 0):
                # A value leaves the loop in its last iteration; the first decides on the body.
                return NEVER if port else predicate
            outcome = BranchOutcome(origin, ports - 1 - port if negated else port, ports)
            return predicate if port == first else conjunction([predicate, frozenset([outcome])])

        return _Outputs(ports, of_port)

    def _sides_of_merge(
        self, selector: Tensor, constants: ConstantPropagation
    ) -> Optional[Tuple[Predicate, Predicate]]:
        """Return when `value_index == index` of a Merge is False, and when it is True.

        The gradient of a Merge compares its second output, the index of the input that it took.
        None stands for any other selector, and for a Merge whose inputs do not exclude each other.
        """
        if self._graph.types[selector.node] != "Equal":
            return None
        if len(self._graph.data_inputs(selector.node)) != 2:
            return None
        operands = [constants.selector_origin(o)[0] for o in self._graph.data_inputs(selector.node)]
        for compared, other in (operands, operands[::-1]):
            entries, index = self._graph.data_inputs(compared.node), constants.value(other)
            if self._is_value_index(compared) and len(entries) == 2 and index in (0, 1):
                left, taken = [self.of_output(*e) for e in (entries if index else entries[::-1])]
                if conjunction([taken, left]) is NEVER:
                    return left, taken
        return None

    def _is_value_index(self, tensor: Tensor) -> bool:
        is_output = tensor.port == 1 and self._graph.types[tensor.node] in MERGES
        return is_output and not self._pruning.is_cut(*tensor)


class _Outputs:
    """The predicates of a Switch's outputs, each made when it is asked for.

    A _SwitchN may have a thousand outputs, of which the graph takes a few.
    """

    def __init__(self, count: int, make: Callable[[int], Predicate]) -> None:
        self._count = count
        self._make = make
        self._made: Dict[int, Predicate] = {}

    def predicate(self, port: int) -> Predicate:
        """Return the predicate of an output; UNDECIDED beyond the last that is known."""
        if port not in self._made:
            self._made[port] = self._make(port) if port < self._count else UNDECIDED
        return self._made[port]


def selected_port(value: StaticValue, ports: int) -> Optional[int]:
    """Return the output of a Switch that a selector of this value selects; None if unknown."""
    if value is None or isinstance(value, bytes):
        return None
    if isinstance(value, bool):
        return int(value)
    return int(value) if 0 <= value < ports else ports - 1


def _port_count(graph: Graph, switch: int) -> int:
    if graph.types[switch] != "_SwitchN":
        return 2
    count = graph.attributes(switch)["num_outs"].i
    if count > limits.SWITCH_OUTPUTS:
        limits.SWITCH_OUTPUTS.reach()
    return int(min(max(1, count), limits.SWITCH_OUTPUTS))
