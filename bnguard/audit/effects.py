"""Whether a write that runs can change anything."""

from __future__ import annotations

from bnguard.audit.execution import Execution
from bnguard.audit.graph import Tensor
from bnguard.audit.operations import DIVISIONS
from bnguard.audit.tracing import Tracer
from bnguard.audit.variables import Write

_INCREMENTS = frozenset(["AssignAdd", "AssignAddVariableOp", "AssignSub", "AssignSubVariableOp"])
_ASSIGNS = frozenset(["Assign", "AssignVariableOp"])
_DEEPEST = 16  # ops between a zero and the amount that it makes zero


class Effects:
    """What the writes of one step do to their variables.

    Attributes:
      step: the step.
    """

    def __init__(self, step: Execution) -> None:
        self.step = step
        self._tracer = Tracer(step.graph, step)

    def changes(self, write: Write) -> bool:
        """Whether `write`, where it runs, can give its variable another value.

        Layers with one update op for training and inference run it in both, and make it add
        zero, or assign the variable's own value, at inference.
        """
        kind = self.step.graph.types[write.node]
        value = self.step.graph.data_inputs(write.node)[-1]
        if kind in _INCREMENTS:
            return not self._is_zero(value, _DEEPEST)
        if kind in _ASSIGNS:
            return not self._is_value_of(write.variable, value)
        return True

    def _is_zero(self, tensor: Tensor, depth: int) -> bool:
        if self.step.value(tensor) == 0:
            return True
        origins = self._tracer.origins(tensor) if depth else []
        return bool(origins) and all(self._is_zero_origin(one, depth - 1) for one in origins)

    def _is_zero_origin(self, tensor: Tensor, depth: int) -> bool:
        if self.step.value(tensor) == 0:
            return True
        kind, inputs = self.step.graph.types[tensor.node], self.step.graph.data_inputs(tensor.node)
        if kind == "Mul":
            return any(self._is_zero(one, depth) for one in inputs)
        if kind in DIVISIONS or kind == "Neg":
            return self._is_zero(inputs[0], depth)
        if kind == "Sub":
            variables = self._tracer.variables(inputs[0])
            return len(variables) == 1 and all(
                self._is_value_of(variables[0], one) for one in inputs
            )
        return False

    def _is_value_of(self, variable: int, tensor: Tensor) -> bool:
        origins = self._tracer.origins(tensor)
        return len(origins) == 1 and self._tracer.variables(tensor) == [variable]
