"""Normalizations: where a graph normalizes a batch, and with which mean and variance.

They are recognised by structure: a fused op, or the ops of tf.nn.batch_normalization, the inverse
of the square root of (variance + epsilon), multiplied by the normalized tensor and by the mean.
"""

from __future__ import annotations

from typing import AbstractSet, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.provenance import Provenance
from bnguard.analysis.ir.graph import Graph, Tensor
from bnguard.analysis.ir.op_types import (
    ADDITIONS,
    ARITHMETIC,
    DIVISIONS,
    FUSED_NORMALIZATIONS,
    MADE_OF_ALL_BUT,
    MADE_OF_FIRST,
    OLD_NORMALIZATION,
    VARIABLES,
)
from bnguard.analysis.ir.tensor_values import Scalar

_REDUCTIONS = frozenset(["Mean", "Sum"])
_ROOTS = frozenset(["Pow", "Rsqrt", "Sqrt"])
_EXPONENTS = (0.5, -0.5)
_WITH_EPSILON = ADDITIONS | frozenset(["Maximum"])
_RECIPROCALS = frozenset(["Inv", "Reciprocal"])
_LARGEST_EPSILON = 0.5
_OPERANDS = 3  # more than those of an op that computes with two


class Normalization(NamedTuple):
    """One layer that normalizes.

    Attributes:
      node: the fused op, or the op that takes the root.
      running_mean, running_variance: the variables that it may use as mean and variance.
      mean_moments, variance_moments: the mean and the variance of its batch, if it may use these.
      inputs: the tensors that it normalizes.
      parameters: gamma and beta, without those that are not variables.
      is_scaled: whether it has a gamma or a beta, variable or constant.
    """

    node: int
    running_mean: Tuple[int, ...]
    running_variance: Tuple[int, ...]
    mean_moments: Tuple[Tensor, ...]
    variance_moments: Tuple[Tensor, ...]
    inputs: Tuple[Tensor, ...]
    parameters: Tuple[int, ...]
    is_scaled: bool

    @property
    def moments(self) -> Tuple[Tensor, ...]:
        """The mean and the variance of its batch, in this order."""
        return self.mean_moments + self.variance_moments

    @property
    def normalized(self) -> Tuple[int, ...]:
        """The nodes of the tensors that it normalizes."""
        return tuple(dict.fromkeys(tensor.node for tensor in self.inputs))

    @property
    def variables(self) -> Tuple[int, ...]:
        """All variables of the layer: its parameters and its running statistics."""
        return self.parameters + self.running_mean + self.running_variance


class _Uses(NamedTuple):
    """What is combined with an inverse standard deviation: means, gamma and beta, and x."""

    means: List[Tensor]
    parameters: List[int]
    inputs: List[Tensor]


def find_normalizations(provenance: Provenance, gradients: AbstractSet[int]) -> List[Normalization]:
    """Return every normalization of a graph, in the graph's order.

    Args:
      provenance: the provenance of the graph's tensors.
      gradients: the nodes that compute gradients; they take the inverse deviation, too.
    """
    finder = _Finder(provenance, gradients)
    return sorted([*finder.fused(), *finder.old(), *finder.written_out()])


def uses_batch(graph: Graph, fused: int) -> bool:
    """Return whether a fused op normalizes with the moments of its batch, its outputs 1 and 2."""
    attributes = graph.attributes(fused)
    return "is_training" not in attributes or attributes["is_training"].b


class _Finder:
    def __init__(self, provenance: Provenance, gradients: AbstractSet[int]) -> None:
        self._provenance = provenance
        self._gradients = gradients
        self._graph = provenance.graph

    def fused(self) -> Iterator[Normalization]:
        for node in self._graph.of_types(FUSED_NORMALIZATIONS):
            x, scale, offset, mean, variance = self._graph.data_inputs(node)[:5]
            is_batch = uses_batch(self._graph, node)
            parameters = self._variables(scale) + self._variables(offset)
            yield Normalization(
                node,
                self._variables(mean),
                self._variables(variance),
                (Tensor(node, 1),) if is_batch else (),
                (Tensor(node, 2),) if is_batch else (),
                (x,),
                parameters,
                bool(parameters) or self._is_constant(scale) or self._is_constant(offset),
            )

    def old(self) -> Iterator[Normalization]:
        for node in self._graph.of_types([OLD_NORMALIZATION]):
            inputs = self._graph.data_inputs(node)
            if len(inputs) == 5:
                _, mean, variance, beta, gamma = map(self._variables, inputs)
                x = (inputs[0],)
                yield Normalization(node, mean, variance, (), (), x, gamma + beta, True)

    def written_out(self) -> Iterator[Normalization]:
        for node in self._graph.of_types(_ROOTS):
            variance = self._variance_under(node)
            running_variance, moments = self._statistics([variance] if variance else [])
            if not running_variance and not moments:
                continue
            uses = self._uses_of(Tensor(node, 0))
            running_mean, mean_moments = self._statistics(uses.means)
            if running_mean or (mean_moments and not self._are_of_weights(mean_moments)):
                parameters = dict.fromkeys(uses.parameters)
                yield Normalization(
                    node,
                    running_mean,
                    running_variance,
                    mean_moments,
                    moments,
                    tuple(dict.fromkeys(uses.inputs)),
                    tuple(node for node in parameters if self._graph.types[node] in VARIABLES),
                    bool(parameters),
                )

    def _variance_under(self, root: int) -> Optional[Tensor]:
        """Return what a root is taken of, without the epsilon that keeps it from being zero."""
        inputs = self._graph.data_inputs(root)
        if not inputs or (self._graph.types[root] == "Pow" and not self._is_root(inputs[1])):
            return None
        total = self._provenance.origins(inputs[0]).only
        if total is not None and self._graph.types[total.node] in _WITH_EPSILON:
            left, right = self._graph.data_inputs(total.node)[:2]
            if self._is_epsilon(right):
                return left
            return right if self._is_epsilon(left) else None
        return inputs[0] if self._graph.types[root] == "Sqrt" else None

    def _is_root(self, exponent: Tensor) -> bool:
        return self._constant_value(exponent) in _EXPONENTS

    def _is_epsilon(self, tensor: Tensor) -> bool:
        value = self._constant_value(tensor)
        return isinstance(value, float) and 0 < value <= _LARGEST_EPSILON

    def _uses_of(self, inverse: Tensor) -> _Uses:
        """Return what is combined with an inverse standard deviation."""
        uses = _Uses([], [], [])
        queue = [inverse]
        for tensor in queue:
            for consumer in self._graph.data_consumers(tensor):
                if consumer not in self._gradients:
                    self._visit(tensor, consumer, queue, uses)
            if len(queue) > limits.MOMENT_NODES:
                limits.MOMENT_NODES.reach()
                break
        return uses

    def _visit(self, tensor: Tensor, consumer: int, queue: List[Tensor], uses: _Uses) -> None:
        op_type, inputs = self._graph.types[consumer], self._graph.data_inputs(consumer)
        outputs = [Tensor(consumer, 0)]
        others = [operand for operand in inputs[:_OPERANDS] if operand != tensor]
        if op_type in MADE_OF_FIRST and inputs[0] == tensor:
            queue += [Tensor(consumer, 0), Tensor(consumer, 1)] if op_type == "Switch" else outputs
        elif op_type in MADE_OF_ALL_BUT or op_type in _RECIPROCALS:
            queue += outputs
        elif op_type in ADDITIONS and len(others) == 1:
            uses.parameters.extend(self._parameters(others[0]))
            if self._is_epsilon(others[0]):
                queue += outputs
        elif (op_type == "Mul" or (op_type in DIVISIONS and inputs[-1] == tensor)) and len(
            others
        ) == 1:
            (other,) = others
            difference = self._difference(other) or self._scaled_difference(other, uses)
            if difference:  # (x - mean) * inverse, or gamma * (x - mean) * inverse
                uses.means.append(difference[-1])
                uses.inputs.extend(difference[:-1])
                queue += outputs
            elif self._is_subtracted(consumer, uses):  # beta - mean * inverse
                uses.means.append(other)
            else:  # gamma * inverse, or what batch renormalization makes of gamma; or x * inverse
                parameters = [
                    node for part in self._factors(other) for node in self._parameters(part)
                ]
                uses.parameters.extend(parameters)
                uses.inputs.extend([] if parameters else [other])
                queue += outputs

    def _factors(self, tensor: Tensor) -> Sequence[Tensor]:
        """Return gamma and its correction if batch renormalization corrects it, else gamma."""
        root = self._provenance.root(tensor)
        is_product = self._graph.types[root.node] == "Mul"
        return self._graph.data_inputs(root.node) if is_product else [tensor]

    def _difference(self, tensor: Tensor) -> Sequence[Tensor]:
        """Return both operands of x - mean or x + (-mean), or that of -mean; else none."""
        origin = self._provenance.origins(tensor).only
        if origin is None:
            return []
        node = origin.node
        op_type, operands = self._graph.types[node], self._graph.data_inputs(node)
        if op_type in ADDITIONS:
            negated = self._provenance.root(operands[1]).node
            if self._graph.types[negated] == "Neg":
                return [operands[0], *self._graph.data_inputs(negated)]
        return operands if op_type in ("Sub", "Neg") else []

    def _scaled_difference(self, tensor: Tensor, uses: _Uses) -> Sequence[Tensor]:
        """Return the operands of x - mean in gamma * (x - mean); else none."""
        origin = self._provenance.origins(tensor).only
        if origin is not None and self._graph.types[origin.node] == "Mul":
            left, right = self._graph.data_inputs(origin.node)[:2]
            for gamma, other in ((left, right), (right, left)):
                parameters, difference = self._parameters(gamma), self._difference(other)
                if parameters and difference:
                    uses.parameters.extend(parameters)
                    return difference
        return []

    def _is_subtracted(self, product: int, uses: _Uses) -> bool:
        """Return whether a product is subtracted, from beta if that is a parameter."""
        for consumer in self._graph.data_consumers(Tensor(product, 0)):
            inputs = self._graph.data_inputs(consumer)
            if self._graph.types[consumer] == "Neg":
                return True
            if self._graph.types[consumer] == "Sub" and inputs[-1].node == product:
                uses.parameters.extend(self._parameters(inputs[0]))
                return True
        return False

    def _statistics(self, tensors: Sequence[Tensor]) -> Tuple[Tuple[int, ...], Tuple[Tensor, ...]]:
        """Return the variables, and the moments of the batch, that `tensors` are made of."""
        variables: List[int] = []
        moments: List[Tensor] = []
        for tensor in tensors:
            variables += self._variables(tensor)
            moments += filter(self._is_batch_moment, self._provenance.origins(tensor).tensors)
        return tuple(dict.fromkeys(variables)), tuple(dict.fromkeys(moments))

    def _is_batch_moment(self, tensor: Tensor) -> bool:
        """Return whether it is computed from a mean over the first axis, that of the batch."""
        stack, seen = [tensor], {tensor}
        while stack:
            if len(seen) > limits.MOMENT_NODES:
                limits.MOMENT_NODES.reach()
                break
            current = stack.pop()
            op_type = self._graph.types[current.node]
            if op_type in FUSED_NORMALIZATIONS:
                return current.port in (1, 2)
            inputs = self._graph.data_inputs(current.node)
            if op_type in _REDUCTIONS and len(inputs) == 2 and 0 in self._axes(inputs[1]):
                return True
            if op_type in ARITHMETIC:
                for operand in inputs:
                    for origin in self._provenance.origins(operand).tensors:
                        if origin not in seen:
                            seen.add(origin)
                            stack.append(origin)
        return False

    def _are_of_weights(self, means: Sequence[Tensor]) -> bool:
        """Return whether the averaged values are variables, as in weight standardization."""
        inputs = [averaged for mean in means for averaged in self._graph.data_inputs(mean.node)[:1]]
        is_variable = self._provenance.is_variable
        return bool(inputs) and all(
            self._provenance.origins(averaged).all_are(is_variable) for averaged in inputs
        )

    def _axes(self, tensor: Tensor) -> List[Scalar]:
        origin = self._provenance.origins(tensor).only
        return [] if origin is None else self._graph.constant_list(origin.node) or []

    def _constant_value(self, tensor: Tensor) -> Optional[Scalar]:
        """Return the value of the constant that a tensor comes from, and from nothing else."""
        origin = self._provenance.origins(tensor).only
        return None if origin is None else self._graph.constant_value(origin.node)

    def _variables(self, tensor: Tensor) -> Tuple[int, ...]:
        return tuple(self._provenance.variables(tensor))

    def _parameters(self, tensor: Tensor) -> List[int]:
        """Return the variables that it is made of, or in a frozen graph the constant vectors."""
        constants = [
            origin.node
            for origin in self._provenance.origins(tensor).tensors
            if self._graph.types[origin.node] == "Const" and self._is_vector(origin.node)
        ]
        return [*self._provenance.variables(tensor), *constants]

    def _is_vector(self, constant: int) -> bool:
        value = self._graph.constant(constant)
        return value is None or len(value.tensor_shape.dim) > 0

    def _is_constant(self, tensor: Tensor) -> bool:
        """Return whether it is a constant, as a parameter in a frozen graph is."""
        origins = self._provenance.origins(tensor).tensors
        return any(self._graph.types[origin.node] == "Const" for origin in origins)
