"""Where a graph normalizes a batch, with which mean and variance, recognised by structure.

Either one fused op does it, or it is written out as by tf.nn.batch_normalization: the inverse
of the square root of (variance + epsilon), multiplied with what is normalized and with the mean.
"""

from __future__ import annotations

from typing import AbstractSet, Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

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
from bnguard.analysis.ir.tensor_values import Scalar, short_list, uniform_value

_REDUCTIONS = frozenset(["Mean", "Sum"])
_ROOTS = frozenset(["Pow", "Rsqrt", "Sqrt"])
_EXPONENTS = (0.5, -0.5)
_WITH_EPSILON = ADDITIONS | frozenset(["Maximum"])
_RECIPROCALS = frozenset(["Inv", "Reciprocal"])
_LARGEST_EPSILON = 0.5


class Normalization(NamedTuple):
    """One place that normalizes.

    Attributes:
      node: the fused op, or the op that takes the root.
      running_mean, running_variance: the variables that it may use as mean and variance.
      moments: the mean and the variance of its own batch, where it may use these.
      normalized: the nodes of what it normalizes.
      parameters: gamma and beta, as far as they are variables.
      is_scaled: whether it has a gamma or a beta, be they variables or constants.
    """

    node: int
    running_mean: Tuple[int, ...]
    running_variance: Tuple[int, ...]
    moments: Tuple[Tensor, ...]
    normalized: Tuple[int, ...]
    parameters: Tuple[int, ...]
    is_scaled: bool


class _Uses(NamedTuple):
    """What an inverse standard deviation meets: candidate means, gamma and beta, and x."""

    means: List[Tensor]
    parameters: List[int]
    normalized: List[int]


def find_normalizations(provenance: Provenance, gradients: AbstractSet[int]) -> List[Normalization]:
    """Every normalization in the tracer's graph, in the graph's order.

    Args:
      tracer: of the graph.
      gradients: the nodes that compute gradients; they take the inverse deviation, too.
    """
    finder = _Finder(provenance, gradients)
    return sorted([*finder.fused(), *finder.old(), *finder.written_out()])


def uses_batch(graph: Graph, fused: int) -> bool:
    """Whether a fused op normalizes with its batch's moments, and gives them out at 1 and 2."""
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
            moments: Tuple[Tensor, ...] = ()
            if uses_batch(self._graph, node):
                moments = (Tensor(node, 1), Tensor(node, 2))
            parameters = self._variables(scale) + self._variables(offset)
            yield Normalization(
                node,
                self._variables(mean),
                self._variables(variance),
                moments,
                (x.node,),
                parameters,
                bool(parameters) or self._is_constant(scale) or self._is_constant(offset),
            )

    def old(self) -> Iterator[Normalization]:
        for node in self._graph.of_types([OLD_NORMALIZATION]):
            inputs = self._graph.data_inputs(node)
            if len(inputs) == 5:
                _, mean, variance, beta, gamma = map(self._variables, inputs)
                x = (inputs[0].node,)
                yield Normalization(node, mean, variance, (), x, gamma + beta, True)

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
                    mean_moments + moments,
                    tuple(dict.fromkeys(uses.normalized)),
                    tuple(one for one in parameters if self._graph.types[one] in VARIABLES),
                    bool(parameters),
                )

    def _variance_under(self, root: int) -> Optional[Tensor]:
        """What a root is taken of, less the epsilon that keeps it from being zero."""
        inputs = self._graph.data_inputs(root)
        if not inputs or (self._graph.types[root] == "Pow" and not self._is_root(inputs[1])):
            return None
        total = self._provenance.origins(inputs[0])
        if len(total) == 1 and self._graph.types[total[0].node] in _WITH_EPSILON:
            left, right = self._graph.data_inputs(total[0].node)[:2]
            if self._is_epsilon(right):
                return left
            return right if self._is_epsilon(left) else None
        return inputs[0] if self._graph.types[root] == "Sqrt" else None

    def _is_root(self, exponent: Tensor) -> bool:
        constant = self._constant(exponent)
        return constant is not None and uniform_value(constant) in _EXPONENTS

    def _is_epsilon(self, tensor: Tensor) -> bool:
        constant = self._constant(tensor)
        value = None if constant is None else uniform_value(constant)
        return isinstance(value, float) and 0 < value <= _LARGEST_EPSILON

    def _uses_of(self, inverse: Tensor) -> _Uses:
        """What an inverse standard deviation meets on its way."""
        uses = _Uses([], [], [])
        queue = [inverse]
        for tensor in queue:
            for consumer in self._graph.data_consumers(tensor):
                if consumer not in self._gradients:
                    self._visit(tensor, consumer, queue, uses)
            if len(queue) > limits.MOMENT_NODES:
                break
        return uses

    def _visit(self, tensor: Tensor, consumer: int, queue: List[Tensor], uses: _Uses) -> None:
        kind, inputs = self._graph.types[consumer], self._graph.data_inputs(consumer)
        outputs = [Tensor(consumer, 0)]
        others = [one for one in inputs if one != tensor]
        if kind in MADE_OF_FIRST and inputs[0] == tensor:
            queue += [Tensor(consumer, 0), Tensor(consumer, 1)] if kind == "Switch" else outputs
        elif kind in MADE_OF_ALL_BUT or kind in _RECIPROCALS:
            queue += outputs
        elif kind in ADDITIONS and len(others) == 1:
            uses.parameters.extend(self._parameters(others[0]))
            if self._is_epsilon(others[0]):
                queue += outputs
        elif (kind == "Mul" or (kind in DIVISIONS and inputs[-1] == tensor)) and len(others) == 1:
            (other,) = others
            difference = self._difference(other) or self._scaled_difference(other, uses)
            if difference:  # (x - mean) * inverse, or gamma * (x - mean) * inverse
                uses.means.append(difference[-1])
                uses.normalized.extend([one.node for one in difference[:-1]])
                queue += outputs
            elif self._is_subtracted(consumer, uses):  # beta - mean * inverse
                uses.means.append(other)
            else:  # gamma * inverse, or what batch renormalization makes of gamma; or x * inverse
                parameters = [
                    one for part in self._factors(other) for one in self._parameters(part)
                ]
                uses.parameters.extend(parameters)
                uses.normalized.extend([] if parameters else [other.node])
                queue += outputs

    def _factors(self, tensor: Tensor) -> List[Tensor]:
        """Of a gamma that batch renormalization corrects, gamma and the correction."""
        root = self._provenance.root(tensor)
        is_product = self._graph.types[root.node] == "Mul"
        return self._graph.data_inputs(root.node) if is_product else [tensor]

    def _difference(self, tensor: Tensor) -> List[Tensor]:
        """Both operands of x - mean or x + (-mean), or that of -mean; none if it is neither."""
        origins = self._provenance.origins(tensor)
        if len(origins) != 1:
            return []
        node = origins[0].node
        kind, operands = self._graph.types[node], self._graph.data_inputs(node)
        if kind in ADDITIONS:
            negated = self._provenance.root(operands[1]).node
            if self._graph.types[negated] == "Neg":
                return [operands[0], *self._graph.data_inputs(negated)]
        return operands if kind in ("Sub", "Neg") else []

    def _scaled_difference(self, tensor: Tensor, uses: _Uses) -> List[Tensor]:
        """The same of gamma * (x - mean)."""
        origins = self._provenance.origins(tensor)
        if len(origins) == 1 and self._graph.types[origins[0].node] == "Mul":
            left, right = self._graph.data_inputs(origins[0].node)[:2]
            for gamma, other in ((left, right), (right, left)):
                parameters, difference = self._parameters(gamma), self._difference(other)
                if parameters and difference:
                    uses.parameters.extend(parameters)
                    return difference
        return []

    def _is_subtracted(self, product: int, uses: _Uses) -> bool:
        """Whether a product is taken from something, which is beta if it is a parameter."""
        for consumer in self._graph.data_consumers(Tensor(product, 0)):
            inputs = self._graph.data_inputs(consumer)
            if self._graph.types[consumer] == "Neg":
                return True
            if self._graph.types[consumer] == "Sub" and inputs[-1].node == product:
                uses.parameters.extend(self._parameters(inputs[0]))
                return True
        return False

    def _statistics(self, tensors: Sequence[Tensor]) -> Tuple[Tuple[int, ...], Tuple[Tensor, ...]]:
        """Which variables, and which moments of the batch, `tensors` are made of."""
        variables: List[int] = []
        moments: List[Tensor] = []
        for tensor in tensors:
            variables += self._variables(tensor)
            moments += filter(self._is_batch_moment, self._provenance.origins(tensor))
        return tuple(dict.fromkeys(variables)), tuple(dict.fromkeys(moments))

    def _is_batch_moment(self, tensor: Tensor) -> bool:
        """Whether it is computed from a mean over the first axis, which is the batch's."""
        stack, seen = [tensor], {tensor}
        while stack and len(seen) < limits.MOMENT_NODES:
            current = stack.pop()
            kind = self._graph.types[current.node]
            if kind in FUSED_NORMALIZATIONS:
                return current.port in (1, 2)
            inputs = self._graph.data_inputs(current.node)
            if kind in _REDUCTIONS and len(inputs) == 2 and 0 in self._axes(inputs[1]):
                return True
            if kind in ARITHMETIC:
                for one in inputs:
                    for origin in self._provenance.origins(one):
                        if origin not in seen:
                            seen.add(origin)
                            stack.append(origin)
        return False

    def _are_of_weights(self, means: Sequence[Tensor]) -> bool:
        """Whether it is variables that are averaged, as by weight standardization."""
        inputs = [one for mean in means for one in self._graph.data_inputs(mean.node)[:1]]
        origins = [origin for one in inputs for origin in self._provenance.origins(one)]
        return bool(origins) and all(self._graph.types[one.node] in VARIABLES for one in origins)

    def _axes(self, tensor: Tensor) -> List[Scalar]:
        constant = self._constant(tensor)
        return [] if constant is None else short_list(constant) or []

    def _constant(self, tensor: Tensor) -> Any:
        """The TensorProto that a tensor comes from, and from nothing else, or None."""
        origins = self._provenance.origins(tensor)
        return self._graph.constant(origins[0].node) if len(origins) == 1 else None

    def _variables(self, tensor: Tensor) -> Tuple[int, ...]:
        return tuple(self._provenance.variables(tensor))

    def _parameters(self, tensor: Tensor) -> List[int]:
        """The variables that it is made of, or, as in a frozen graph, the constant vectors."""
        constants = [
            origin.node
            for origin in self._provenance.origins(tensor)
            if self._graph.types[origin.node] == "Const" and self._is_vector(origin.node)
        ]
        return [*self._provenance.variables(tensor), *constants]

    def _is_vector(self, constant: int) -> bool:
        value = self._graph.constant(constant)
        return value is None or len(value.tensor_shape.dim) > 0

    def _is_constant(self, tensor: Tensor) -> bool:
        """Whether it is a constant, as a parameter in a frozen graph is."""
        origins = self._provenance.origins(tensor)
        return any(self._graph.types[origin.node] == "Const" for origin in origins)
