"""When a write that runs changes anything.

Layers with one update op for training and inference run it in both; at inference they make it
add zero, or assign the variable's own value.
"""

from __future__ import annotations

from typing import Callable, Dict, Optional

from bnguard.analysis import limits
from bnguard.analysis.dataflow.deadness import Execution
from bnguard.analysis.dataflow.predicates import (
    ALWAYS,
    NEVER,
    UNDECIDED,
    Predicate,
    conjunction,
    disjunction,
)
from bnguard.analysis.dataflow.provenance import Provenance
from bnguard.analysis.ir.graph import MERGES, Tensor
from bnguard.analysis.ir.op_types import ADDITIONS, ASSIGNS, DIVISIONS, FUSED_NORMALIZATIONS
from bnguard.analysis.recognition.normalizations import uses_batch
from bnguard.analysis.recognition.statistics import Write

_NEUTRAL = {"Mul": 1, **dict.fromkeys(DIVISIONS, 1), **dict.fromkeys(ADDITIONS, 0), "Sub": 0}
_INCREMENTS = frozenset(["AssignAdd", "AssignAddVariableOp", "AssignSub", "AssignSubVariableOp"])


class WriteEffects:
    """What the writes of one step do to their variables.

    Attributes:
      step: the step.
    """

    def __init__(self, step: Execution) -> None:
        self.step = step
        self._provenance = Provenance(step.graph, step)
        self._nonzero: Dict[Tensor, Predicate] = {}
        self._depth = 0

    def change(self, write: Write) -> Predicate:
        """When the step runs `write` and that gives the variable another value."""
        runs = self.step.predicate(write.node)
        kind = self.step.graph.types[write.node]
        if runs is NEVER:
            return NEVER
        value = self.step.graph.data_inputs(write.node)[-1]
        if kind in _INCREMENTS:
            return conjunction([runs, self._is_nonzero(value)])
        if kind in ASSIGNS:
            return conjunction([runs, self._differs(write.variable, value)])
        return runs

    def _is_nonzero(self, tensor: Tensor) -> Predicate:
        tensor = self._provenance.root(tensor)
        if tensor not in self._nonzero:
            self._nonzero[tensor] = UNDECIDED  # while it is looked at, in a loop
            self._nonzero[tensor] = self._guarded(self._decide_nonzero, tensor)
        return self._nonzero[tensor]

    def _decide_nonzero(self, tensor: Tensor) -> Predicate:
        graph = self.step.graph
        kind, inputs = graph.types[tensor.node], graph.data_inputs(tensor.node)
        if self.step.value(tensor) == 0:
            return NEVER
        if kind in MERGES:
            return self._through_merge(tensor, self._is_nonzero)
        if kind == "Mul":
            return conjunction(map(self._is_nonzero, inputs))
        if kind in DIVISIONS or kind == "Neg":
            return self._is_nonzero(inputs[0])
        if kind == "Sub":
            variables = self._provenance.variables(inputs[0])
            if len(variables) == 1 and self._differs(variables[0], inputs[0]) is NEVER:
                return self._differs(variables[0], inputs[1])
        return ALWAYS

    def _differs(self, variable: int, tensor: Tensor) -> Predicate:
        """When `tensor` is anything but the variable's value."""
        tensor = self._provenance.root(tensor)
        kind = self.step.graph.types[tensor.node]
        if kind in MERGES:
            return self._guarded(
                lambda merge: self._through_merge(merge, lambda one: self._differs(variable, one)),
                tensor,
            )
        if kind in _NEUTRAL:
            first, second = self.step.graph.data_inputs(tensor.node)[:2]
            if self.step.value(second) == _NEUTRAL[kind]:
                return self._guarded(lambda one: self._differs(variable, one), first)
        given = self._given_statistic(tensor)
        if given is not None:
            differs = self._guarded(lambda one: self._differs(variable, one), given)
            return UNDECIDED if differs is NEVER else ALWAYS
        return NEVER if self._provenance.variables(tensor) == [variable] else ALWAYS

    def _given_statistic(self, tensor: Tensor) -> Optional[Tensor]:
        """What a fused op at inference may give out as the mean or the variance of a batch.

        Keras assigns that to the variables that it comes from, where training is a tensor. On a
        CPU it is the same value, but NaN for a batch of no rows; tensorflow/core/kernels/
        fused_batch_norm_op.cc does not set it in each case on a GPU.
        """
        graph = self.step.graph
        if graph.types[tensor.node] not in FUSED_NORMALIZATIONS or tensor.port not in (1, 2):
            return None
        inputs = graph.data_inputs(tensor.node)
        return inputs[tensor.port + 2] if not uses_batch(graph, tensor.node) else None

    def _through_merge(self, merge: Tensor, predicate: Callable[[Tensor], Predicate]) -> Predicate:
        inputs = self.step.inputs(merge.node)
        return disjunction(
            [conjunction([reaches, predicate(one)]) for one, reaches in inputs], merge
        )

    def _guarded(self, decide: Callable[[Tensor], Predicate], tensor: Tensor) -> Predicate:
        if self._depth >= limits.EFFECT_DEPTH:
            return UNDECIDED
        self._depth += 1
        try:
            return decide(tensor)
        finally:
            self._depth -= 1
