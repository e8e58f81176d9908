"""Sites: the places where a graph normalizes a batch, and how to get the moments of that batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple, Union

from bnguard.analysis import limits
from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.dataflow.loops import nodes_in_loops
from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.ir.graph import Tensor
from bnguard.analysis.ir.op_types import (
    ADDITIONS,
    ARITHMETIC,
    DIVISIONS,
    FUSED_NORMALIZATIONS,
    PLACEHOLDERS,
)
from bnguard.analysis.ir.tensor_values import short_list, uniform_value
from bnguard.analysis.recognition.normalizations import Normalization, uses_batch
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph

_FUSED_INPUTS = 3  # x, gamma and beta: what a fused op computes its output and moments from
_REDUCTIONS = ("Mean", "Sum")
_SQUARES = frozenset(["Mul", "Pow", "Square", "SquaredDifference"])
_RECIPROCALS = frozenset(["Inv", "Reciprocal"])
_FACTOR = "exponential_avg_factor"  # with it, a fused op's outputs are averages, not moments


@dataclass(frozen=True)
class Site:
    """A place where a batch is normalized.

    Attributes:
      name: the name of the layer's node.
      layer: the normalization.
      x: the tensor whose moments the layer takes, or would take in training.
      mean, variance: the layer's own moments of the batch; None if they are to be computed from x.
      axes: the axes of x to reduce; None if they follow from the shape that x is normalized with.
      channels_first: of a fused op, whether axis 1 of x is that of the channels.
      weights: the total weight of the batch for each channel, where rows have weights.
      is_corrected: whether the variance has Bessel's correction, times n / (n - 1).
      is_exact: whether the moments of the layer are computed in two passes, not as E[x^2] - E[x]^2.
      epsilon: what the layer adds to its variance.
    """

    name: str
    layer: Normalization
    x: Tensor
    mean: Optional[Tensor] = None
    variance: Optional[Tensor] = None
    axes: Optional[Tuple[int, ...]] = None
    channels_first: Optional[bool] = None
    weights: Optional[Tensor] = None
    is_corrected: bool = False
    is_exact: bool = False
    epsilon: float = 0.0

    @property
    def tensors(self) -> Tuple[Tensor, ...]:
        """The tensors that a run has to evaluate."""
        found = (self.x, self.mean, self.variance, self.weights)
        return tuple(tensor for tensor in found if tensor is not None)


class NoSite(NamedTuple):
    """A layer that cannot be measured, and why, in words."""

    layer: Normalization
    reason: str


class SiteFinder:
    """Find how to measure layers in one mode of a graph.

    Args:
      recognized: the graph.
      feeds: the value of each training flag in training mode.
      fed: all tensors that are fed.
    """

    def __init__(
        self,
        recognized: RecognizedGraph,
        feeds: Mapping[Tensor, StaticValue],
        fed: Set[Tensor],
    ) -> None:
        self._recognized = recognized
        self._graph = recognized.graph
        self._provenance = recognized.provenance
        layers = recognized.normalizations
        tensors = [
            tensor
            for layer in layers
            for tensor in (Tensor(layer.node, 0), *layer.moments, *layer.inputs)
        ]
        self.execution = Execution(self._graph, list(dict.fromkeys(tensors)), feeds)
        fed_nodes = {tensor.node for tensor in fed}
        self._behind_placeholders = {
            node: closure([node], self._graph.consumers, fed_nodes)
            for node in self._graph.of_types(PLACEHOLDERS)
            if node not in fed_nodes
        }
        self._in_loops = nodes_in_loops(self._graph)

    def takes_moments(self, layer: Normalization) -> bool:
        """Return whether a layer takes the moments of its batch in this mode."""
        return bool(self._alive(layer.mean_moments) and self._alive(layer.variance_moments))

    def find(self, layer: Normalization) -> Union[Site, NoSite]:
        """Return how to measure the batch of a layer, or why that cannot be done."""
        if self.takes_moments(layer):
            site = self._with_moments(layer)
        elif self.execution.may_run(layer.node):
            site = self._without_moments(layer)
        else:
            return NoSite(layer, "its layer does not run in training mode")
        if isinstance(site, NoSite):
            return site
        if any(tensor.node in self._in_loops for tensor in site.tensors):
            return NoSite(layer, "its layer is inside a loop, whose tensors cannot be fetched")
        missing = next(filter(None, map(self._unfed, site.tensors)), None)
        if missing is not None:
            name = self._graph.names[missing]
            return NoSite(layer, f"its layer needs the placeholder {name}, which is not fed")
        return site

    def depths(self, sites: Mapping[int, List[Site]]) -> Dict[str, int]:
        """Return, for each site by name, how many statistics are used one after another before it.

        A site whose input depends on no statistic has depth 0.

        Args:
          sites: the sites that each variable of a statistic is estimated from.
        """
        tensors = {
            site.name: tuple(map(self._through_calls, site.tensors))
            for found in sites.values()
            for site in found
        }
        inputs = self._live_inputs([tensor for found in tensors.values() for tensor in found])
        in_order = sorted(inputs, key=self._graph.ranks.__getitem__)
        of_variable = dict.fromkeys(sites, 0)
        depths: Dict[str, int] = {}
        for _ in range(len(tensors) + 1):
            of_node: Dict[int, int] = {}
            for node in in_order:
                before = [of_node.get(source, 0) for source in inputs[node]]
                of_node[node] = max([of_variable.get(node, 0), *before])
            found = {
                name: max(of_node[tensor.node] for tensor in of_site)
                for name, of_site in tensors.items()
            }
            of_variable = {
                variable: 1 + max(found[site.name] for site in of_statistic)
                for variable, of_statistic in sites.items()
            }
            if found == depths:
                break
            depths = found
        in_use = sorted(set(depths.values()))
        return {name: in_use.index(depth) for name, depth in depths.items()}

    def _live_inputs(self, tensors: List[Tensor]) -> Dict[int, List[int]]:
        stack = [tensor.node for tensor in tensors]
        inputs: Dict[int, List[int]] = {}
        while stack:
            node = stack.pop()
            if node not in inputs:
                inputs[node] = self._provenance_inputs(node)
                stack += inputs[node]
        return inputs

    def _provenance_inputs(self, node: int) -> List[int]:
        variables = self._provenance.variables(Tensor(node, 0)) if self._is_handle(node) else []
        live = [t for t, _ in self.execution.inputs(node)] if self.execution.needs(node) else []
        if self._graph.types[node] in FUSED_NORMALIZATIONS and uses_batch(self._graph, node):
            used = self._graph.data_inputs(node)[:_FUSED_INPUTS]
            live = [tensor for tensor in live if tensor in used]
        return [*variables, *(self._through_calls(tensor).node for tensor in live)]

    def _through_calls(self, tensor: Tensor) -> Tensor:
        """Return what a call passes on as this output; its other outputs do not matter."""
        while tensor.node in self._graph.lowered:
            tensor = self._graph.data_inputs(tensor.node)[tensor.port]
        return tensor

    def _is_handle(self, node: int) -> bool:
        """Return whether a node is a later handle of a variable, which stands for the first."""
        return self._graph.types[node] == "VarHandleOp" and self._provenance.variables(
            Tensor(node, 0)
        ) != [node]

    def _alive(self, tensors: Tuple[Tensor, ...]) -> List[Tensor]:
        return [tensor for tensor in tensors if self.execution.may_run(tensor.node)]

    def _unfed(self, tensor: Tensor) -> Optional[int]:
        """Return a placeholder that a tensor needs and that is not fed."""
        for placeholder, behind in self._behind_placeholders.items():
            if tensor.node in behind:
                return placeholder
        return None

    def _with_moments(self, layer: Normalization) -> Union[Site, NoSite]:
        mean = self._alive(layer.mean_moments)[0]
        variance = self._alive(layer.variance_moments)[0]
        name, epsilon = self._graph.names[layer.node], self._epsilon(layer)
        op_type = self._graph.types[mean.node]
        if op_type in FUSED_NORMALIZATIONS:
            return self._fused(layer, mean.node, epsilon)
        weights = self._weights(mean)
        reduction = self._reduction(mean)
        of_squares = self._reduction(variance)
        if reduction is None or of_squares is None or not self._is_of_squares(of_squares):
            return NoSite(layer, "its batch variance is not computed as a mean of squares")
        is_mean = op_type == "Mean"
        is_exact = weights is not None or (
            is_mean
            and self._graph.types[variance.node] == "Mean"
            and self._input_type(of_squares) == "SquaredDifference"
        )
        return Site(
            name,
            layer,
            self._graph.data_input(reduction, 0),
            mean,
            variance,
            axes=self._axes(reduction),
            weights=weights,
            is_exact=is_exact,
            epsilon=epsilon,
        )

    def _fused(self, layer: Normalization, node: int, epsilon: float) -> Site:
        attributes = self._graph.attributes(node)
        is_average = _FACTOR in attributes and attributes[_FACTOR].f != 1
        return Site(
            self._graph.names[layer.node],
            layer,
            self._graph.data_input(node, 0),
            None if is_average else Tensor(node, 1),
            None if is_average else Tensor(node, 2),
            channels_first=self._is_channels_first(node),
            is_corrected=True,
            is_exact=not is_average,
            epsilon=epsilon,
        )

    def _without_moments(self, layer: Normalization) -> Union[Site, NoSite]:
        inputs = self._alive(layer.inputs)
        if not inputs:
            return NoSite(layer, "the input of its layer is not known")
        is_fused = self._graph.types[layer.node] in FUSED_NORMALIZATIONS
        first = self._is_channels_first(layer.node) if is_fused else None
        return Site(
            self._graph.names[layer.node],
            layer,
            inputs[0],
            channels_first=first,
            is_corrected=is_fused,
            epsilon=self._epsilon(layer),
        )

    def _is_channels_first(self, fused: int) -> bool:
        attributes = self._graph.attributes(fused)
        has_format = "data_format" in attributes
        return has_format and bool(attributes["data_format"].s.startswith(b"NC"))

    def _epsilon(self, layer: Normalization) -> float:
        if self._graph.types[layer.node] in FUSED_NORMALIZATIONS:
            attributes = self._graph.attributes(layer.node)
            return float(attributes["epsilon"].f) if "epsilon" in attributes else 1e-4
        inputs = self._graph.data_inputs(layer.node)
        total = self._provenance.origins(inputs[0]).only if inputs else None
        if total is None or self._graph.types[total.node] not in ADDITIONS:
            return 0.0
        for term in self._graph.data_inputs(total.node):
            constant = self._constant(term)
            value = None if constant is None else uniform_value(constant)
            if isinstance(value, float):
                return value
        return 0.0

    def _constant(self, tensor: Tensor) -> Any:
        origin = self._provenance.origins(tensor).only
        return None if origin is None else self._graph.constant(origin.node)

    def _axes(self, reduction: int) -> Optional[Tuple[int, ...]]:
        constant = self._constant(self._graph.data_input(reduction, 1))
        axes = None if constant is None else short_list(constant)
        return None if axes is None else tuple(map(int, axes))

    def _reduction(self, moment: Tensor) -> Optional[int]:
        """Return the first reduction over the batch that a moment is computed from."""
        queue, seen = [moment], {moment}
        for tensor in queue:
            if len(queue) > limits.MOMENT_NODES:
                return None
            op_type = self._graph.types[tensor.node]
            if op_type in _REDUCTIONS and 0 in (self._axes(tensor.node) or ()):
                return tensor.node
            if op_type in ARITHMETIC or op_type in _RECIPROCALS:
                for operand in self._graph.data_inputs(tensor.node):
                    for origin in self._provenance.origins(operand).tensors:
                        if origin not in seen:
                            seen.add(origin)
                            queue.append(origin)
        return None

    def _is_of_squares(self, reduction: int) -> bool:
        return self._input_type(reduction) in _SQUARES

    def _input_type(self, reduction: int) -> str:
        origin = self._provenance.origins(self._graph.data_input(reduction, 0)).only
        return "" if origin is None else self._graph.types[origin.node]

    def _weights(self, mean: Tensor) -> Optional[Tensor]:
        """Return the sum of the weights in a mean that is sum(w * x) / sum(w), else None."""
        op_type = self._graph.types[mean.node]
        if op_type != "Mul" and op_type not in DIVISIONS:
            return None
        operands = self._graph.data_inputs(mean.node)[:2]
        pairs = [operands] if op_type in DIVISIONS else [operands, operands[::-1]]
        for numerator, denominator in pairs:
            total, divisor = map(self._provenance.root, (numerator, denominator))
            if op_type == "Mul":
                if self._graph.types[divisor.node] not in _RECIPROCALS:
                    continue
                divisor = self._provenance.root(self._graph.data_input(divisor.node, 0))
            sums = all(self._graph.types[tensor.node] == "Sum" for tensor in (total, divisor))
            if sums and self._input_type(total.node) == "Mul":
                return divisor
        return None
