"""Gradients: which nodes compute them, and which take them."""

from __future__ import annotations

from itertools import chain, compress, count, repeat
import re
from typing import AbstractSet, Set, Tuple

from bnguard.analysis.dataflow.reachability import data_flow
from bnguard.analysis.ir.graph import CONTROL, Graph
from bnguard.analysis.ir.op_types import is_accumulator, is_write

# tf.gradients starts from constants of this name, in the scope of all that it creates.
_SEED = re.compile(rb"(.*/)grad_ys_\d+(?:/Const)?\Z", re.DOTALL)
_GRADIENT_TYPE = re.compile(r"\w+Grad(V\d+)?|\w+Backprop\w*")
_TAPE = b"gradient_tape/"  # the scope of what tf.GradientTape creates


def gradient_nodes(graph: Graph) -> Set[int]:
    """Return the nodes that compute gradients, by their types and the scopes of these nodes."""
    op_types = [op_type for op_type in graph.present_types() if _GRADIENT_TYPE.fullmatch(op_type)]
    found = set(graph.of_types(op_types))
    names, scopes = graph.names.encoded, _scopes(graph)
    has_tape = any(_TAPE in names[node] for node in found)
    if scopes:
        found.update(compress(count(), map(bytes.startswith, names, repeat(scopes))))
    if has_tape:
        found.update([node for node, name in enumerate(names) if _TAPE in name])
    found.difference_update(_list_accumulators(graph))
    return found


def _list_accumulators(graph: Graph) -> Set[int]:
    """Return the empty lists, and their settings, that forward loops fill for the gradients."""
    lists = graph.of_types(["EmptyTensorList"])
    return {*lists, *(source for node in lists for source in graph.sources[node])}


def after_gradients(graph: Graph, gradients: AbstractSet[int]) -> Set[int]:
    """Return the consumers of `gradients` that are not gradients."""
    consumers = map(graph.consumers.__getitem__, gradients)
    return set(chain.from_iterable(consumers)).difference(gradients)


def gradient_takers(graph: Graph, gradients: AbstractSet[int], after: AbstractSet[int]) -> Set[int]:
    """Return the first ops after `gradients`, by data edges, that write variables or accumulators.

    Args:
      graph: the graph.
      gradients: the nodes that compute gradients.
      after: `after_gradients(graph, gradients)`.
    """
    op_types = [
        op_type for op_type in graph.present_types() if is_write(op_type) or is_accumulator(op_type)
    ]
    takers = set(graph.of_types(op_types))
    computed = gradients - takers
    starts = [node for node in after if _takes_any(graph, node, computed)]
    flow = data_flow(graph, starts, ends=takers, closed=gradients)
    return takers.intersection(flow) | takers.intersection(gradients)


def _takes_any(graph: Graph, node: int, sources: AbstractSet[int]) -> bool:
    edges = zip(graph.sources[node], graph.ports[node])
    return any(port != CONTROL and source in sources for source, port in edges)


def _scopes(graph: Graph) -> Tuple[bytes, ...]:
    names = graph.names.encoded
    likely = [names[node] for node in graph.of_types(["Const"]) if b"grad_ys_" in names[node]]
    return tuple({seed.group(1) for seed in map(_SEED.match, likely) if seed})
