"""Initial values: how much of it a running statistic in a checkpoint still contains.

An update keeps a share of the statistic, its decay. After n updates the statistic still contains
decay ** n of its initial value. The decay is the linear coefficient of the variable in the value
that an update gives it; n is what a counter in the checkpoint says.
"""

from __future__ import annotations

import math
import operator
from typing import Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.constant_propagation import ConstantPropagation
from bnguard.analysis.dataflow.predicates import ALWAYS
from bnguard.analysis.dataflow.provenance import Provenance
from bnguard.analysis.ir.graph import Tensor
from bnguard.analysis.ir.op_types import (
    ADDITIONS,
    ASSIGNS,
    DIVISIONS,
    FUSED_NORMALIZATIONS,
    VARIABLES,
)
from bnguard.analysis.recognition.savers import asked_names, checkpoint_name
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.recognition.writes import Purpose
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step

LARGEST_SHARE = 0.05
"""The share of its initial value above which a statistic is cold."""

_SIGNS = {
    **dict.fromkeys(["AssignAdd", "AssignAddVariableOp"], 1.0),
    **dict.fromkeys(["AssignSub", "AssignSubVariableOp"], -1.0),
}
_WRITES = ASSIGNS | frozenset(_SIGNS)
_ARITHMETIC: Dict[str, Callable[[float, float], float]] = {
    **dict.fromkeys(ADDITIONS, operator.add),
    "Mul": operator.mul,
    "Sub": operator.sub,
}
_ROUNDING = 0.99  # thousands of updates in float32 lose less than this of a share
_PRODUCTS = DIVISIONS | frozenset(["Mul"])
_LINEAR = ADDITIONS | FUSED_NORMALIZATIONS | _PRODUCTS | frozenset(["AddN", "Neg", "Sub"])
_FACTOR = "exponential_avg_factor"  # of a fused op that computes the average itself


class InitialShare(NamedTuple):
    """What a statistic still contains of its initial value.

    Attributes:
      statistic: the statistic.
      key: its name in the checkpoint.
      share: decay ** updates.
      decay: the share of the statistic that the updates of one step keep.
      updates: how many steps updated it.
    """

    statistic: Statistic
    key: str
    share: float
    decay: float
    updates: int


def initial_shares(scenario: Scenario) -> Iterator[InitialShare]:
    """Yield the initial share of each statistic in the checkpoint, if it can be computed.

    That is if the updates of the training steps are averages with a decay that is known, and if the
    steps count themselves. Left out are averages without bias, which do not contain their initial
    value, and layers that did not start from it but, say, from another checkpoint.
    """
    if scenario.stored is None:
        return
    values = _StoredValues(scenario)
    steps = [_AveragingStep(step, values) for step in scenario.training]
    found = [
        _share(statistic, values.key(statistic.variable), steps) for statistic in values.statistics
    ]
    shares = [share for share in found if share is not None]
    started_elsewhere = {
        share.statistic.layer for share in shares if values.started_elsewhere(share)
    }
    for share in shares:
        if share.statistic.layer not in started_elsewhere:
            yield share


def _share(statistic: Statistic, key: str, steps: List[_AveragingStep]) -> Optional[InitialShare]:
    # Steps with one counter share its count: the smallest decay leaves least, so it is certain.
    decays: Dict[int, float] = {}
    updates: Dict[int, int] = {}
    for step in steps:
        if not step.moves(statistic):
            continue
        decay, counter = step.decay(statistic), step.counter
        if decay is None or counter is None:
            return None
        decays[counter.variable] = min(decay, decays.get(counter.variable, 1.0))
        updates[counter.variable] = counter.runs
    total = sum(updates.values())
    if not total:
        return None
    share = math.exp(sum(updates[counter] * math.log(decays[counter]) for counter in decays))
    return InitialShare(statistic, key, share, min(decays.values()), total)


class _Counter(NamedTuple):
    """A variable that counts a step, and how often it has run."""

    variable: int
    runs: int


class _StoredValues:
    """The values of variables in the checkpoint of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._recognized = scenario.recognized
        self._stored = scenario.stored
        self._constants = ConstantPropagation(scenario.recognized.graph, {})
        self._asked: Mapping[int, str] = asked_names(scenario.recognized)

    @property
    def statistics(self) -> List[Statistic]:
        """The statistics in the checkpoint."""
        return [found for found in self._recognized.statistics if self.has(found.variable)]

    def started_elsewhere(self, share: InitialShare) -> bool:
        """Return whether a variance is too small to contain this share of an initial 1.

        What the updates add to it is not negative.
        """
        statistic = share.statistic
        if self._stored is None or statistic.role != "variance":
            return False
        starts = [
            self._constants.value(self._recognized.graph.data_inputs(write.node)[-1])
            for write in statistic.writes
            if write.purpose is Purpose.INITIALIZE
        ]
        smallest = self._stored.smallest(share.key)
        if not starts or smallest is None or any(start != 1 for start in starts):
            return False
        return smallest < share.share * _ROUNDING

    def has(self, variable: int) -> bool:
        """Return whether a variable is in the checkpoint."""
        return self._stored is not None and self.key(variable) in self._stored.names

    def number(self, variable: int) -> Optional[float]:
        """Return the value of a variable; None if it is not one number."""
        value = None if self._stored is None else self._stored.value(self.key(variable))
        return float(value) if isinstance(value, (int, float)) else None

    def key(self, variable: int) -> str:
        """Return the name of a variable in the checkpoint."""
        return self._asked.get(variable, checkpoint_name(self._recognized, variable))


class _AveragingStep:
    """A training step, and the averages that it moves."""

    def __init__(self, step: Step, values: _StoredValues) -> None:
        self._step = step
        self._values = values
        self._graph = step.execution.graph
        self._provenance = Provenance(self._graph, step.execution)
        self._coefficients: Dict[Tuple[Tensor, int], Optional[float]] = {}  # a cache
        self._numbers: Dict[Tensor, Optional[float]] = {}  # a cache
        self._counter: Optional[Tuple[Optional[_Counter]]] = None  # computed when first asked for

    @property
    def counter(self) -> Optional[_Counter]:
        """The counter of the step with the largest count; None if there is none."""
        if self._counter is None:
            counters = list(self._counters())
            self._counter = (max(counters, key=lambda counter: counter.runs, default=None),)
        return self._counter[0]

    def moves(self, statistic: Statistic) -> bool:
        """Return whether the step may change a statistic."""
        return bool(self._step.effects(statistic))

    def decay(self, statistic: Statistic) -> Optional[float]:
        """Return the share of a statistic that its updates keep; None if that is not known."""
        decay = 1.0
        for effect in self._step.effects(statistic):
            kept = self._kept(effect.node, statistic.variable)
            if kept is None or effect.predicate != ALWAYS:
                return None
            decay *= kept
        return decay

    def _counters(self) -> Iterator[_Counter]:
        """Yield the variables that each run of the step counts up by 1, or multiplies."""
        for node in filter(self._step.execution.needs, self._graph.of_types(_WRITES)):
            variables = self._provenance.variables(self._graph.data_input(node, 0))
            if len(variables) == 1 and self._values.has(variables[0]):
                count = self._count(node, variables[0])
                if count is not None and count >= 0:
                    yield _Counter(variables[0], count)

    def _count(self, write: int, variable: int) -> Optional[int]:
        """Return how often a write has run, by the value of its variable; None if that is open."""
        value = self._graph.data_inputs(write)[-1]
        sign = _SIGNS.get(self._graph.types[write])
        stored: Optional[float] = None
        if sign is not None:
            stored = self._values.number(variable) if self._number(value) == sign else None
            return None if stored is None else int(stored)
        origin = self._provenance.origins(value).only
        op_type = "" if origin is None else self._graph.types[origin.node]
        if origin is None or not (op_type in ADDITIONS or op_type == "Mul"):
            return None
        operands = self._graph.data_inputs(origin.node)[:2]
        own = [operand for operand in operands if self._linear(operand, variable, 0) == 1]
        others = [self._number(operand) for operand in operands if operand not in own]
        if len(own) != 1 or len(others) != 1 or others[0] is None:
            return None
        stored = self._values.number(variable)
        if op_type in ADDITIONS:
            return int(stored) if others[0] == 1 and stored is not None else None
        return self._power(variable, others[0], stored)

    def _power(self, variable: int, base: float, stored: Optional[float]) -> Optional[int]:
        """Return how often a variable that started at `base` was multiplied by it, as in Adam."""
        initial = [
            self._number(self._graph.data_inputs(write.node)[-1])
            for write in self._step.recognized.writes[variable]
            if write.purpose is Purpose.INITIALIZE
        ]
        if initial != [base] or stored is None or not 0 < stored < 1 or not 0 < base < 1:
            return None
        return round(math.log(stored) / math.log(base)) - 1

    def _kept(self, write: int, variable: int) -> Optional[float]:
        """Return the share of a variable that a write keeps, between 0 and 1.

        Where an op selects, as for a batch without rows, it is that of the only such average.
        """
        op_type = self._graph.types[write]
        if op_type not in _WRITES:
            return None
        value = self._graph.data_inputs(write)[-1]
        shares = [
            self._coefficient(origin, variable)
            for origin in self._provenance.origins(value).tensors
        ]
        if op_type in _SIGNS:
            shares = [None if share is None else 1 + _SIGNS[op_type] * share for share in shares]
        found = {share for share in shares if share is not None and 0 < share < 1}
        return found.pop() if len(found) == 1 else None

    def _linear(self, tensor: Tensor, variable: int, depth: int) -> Optional[float]:
        """Return the coefficient of a variable in a tensor; None if that is not known."""
        key = tensor, variable
        if key not in self._coefficients:
            found = {
                self._coefficient(origin, variable, depth)
                for origin in self._provenance.origins(tensor).tensors
            }
            self._coefficients[key] = found.pop() if len(found) == 1 else None
        return self._coefficients[key]

    def _coefficient(self, tensor: Tensor, variable: int, depth: int = 0) -> Optional[float]:
        """Return the coefficient of a variable in a tensor that is computed, or is a variable.

        What is not arithmetic, such as a moment of the batch, does not contain the variable.
        """
        op_type = self._graph.types[tensor.node]
        if op_type in VARIABLES:
            return float(variable in self._provenance.variables(tensor))
        if op_type not in _LINEAR:
            return 0.0
        if depth == limits.AVERAGE_DEPTH:
            limits.AVERAGE_DEPTH.reach()
            return None
        inputs = self._graph.data_inputs(tensor.node)
        if op_type in FUSED_NORMALIZATIONS:
            attributes = self._graph.attributes(tensor.node)
            kept = 1 - attributes[_FACTOR].f if _FACTOR in attributes else 0.0
            if tensor.port not in (1, 2) or not kept:
                return 0.0
            return _times(self._linear(inputs[tensor.port + 2], variable, depth + 1), kept)
        if op_type in _PRODUCTS:
            return self._of_product(op_type, inputs, variable, depth)
        terms = [self._linear(term, variable, depth + 1) for term in inputs]
        if op_type in ("Neg", "Sub"):
            terms[-1] = _times(terms[-1], -1.0)
        known = [term for term in terms if term is not None]
        return sum(known) if len(known) == len(terms) else None

    def _of_product(
        self, op_type: str, inputs: Sequence[Tensor], variable: int, depth: int
    ) -> Optional[float]:
        left, right = (self._linear(factor, variable, depth + 1) for factor in inputs[:2])
        if left == right == 0:
            return 0.0
        if right == 0:
            number = self._number(inputs[1])
            is_division = op_type in DIVISIONS
            return _times(left, 1 / number if is_division and number else number)
        return _times(right, self._number(inputs[0])) if left == 0 and op_type == "Mul" else None

    def _number(self, tensor: Tensor, depth: int = 0) -> Optional[float]:
        """Return the value of a tensor, by constants, feeds and the checkpoint."""
        if tensor not in self._numbers:
            self._numbers[tensor] = self._computed_number(tensor, depth)
        return self._numbers[tensor]

    def _computed_number(self, tensor: Tensor, depth: int) -> Optional[float]:
        value = self._step.execution.value(tensor)
        origin = self._provenance.origins(tensor).only
        if value is None and origin is not None and depth < limits.AVERAGE_DEPTH:
            op_type = self._graph.types[origin.node]
            if op_type in VARIABLES:
                return self._values.number(self._provenance.variables(origin)[0])
            if op_type == "Const":
                value = self._graph.constant_value(origin.node)
            elif op_type in _ARITHMETIC:
                operands = self._graph.data_inputs(origin.node)[:2]
                left, right = (self._number(operand, depth + 1) for operand in operands)
                if left is not None and right is not None:
                    return _ARITHMETIC[op_type](left, right)
        return float(value) if isinstance(value, (int, float)) else None


def _times(left: Optional[float], right: Optional[float]) -> Optional[float]:
    return None if left is None or right is None else left * right
