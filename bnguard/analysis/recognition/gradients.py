"""Gradients: which nodes compute them, and which take them.

What computes gradients is told by who made it, not by its type: a network also uses, in its forward
pass, ops that are mostly met in gradients, such as Conv2DBackpropInput (tf.nn.conv2d_transpose).
`tf.gradients` makes all its nodes in one scope. There it starts from a node `grad_ys_N`, since
TensorFlow 1.5, and names what it makes for the op X of the network `X_grad/...`. `tf.GradientTape`
has the scope `gradient_tape`, since TensorFlow 2.2. Only where no scope is found do op types tell.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import chain, compress, count, repeat
import re
from typing import AbstractSet, List, NamedTuple, Optional, Sequence, Set, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.reachability import data_flow
from bnguard.analysis.ir.graph import CONTROL, LOOP_ENDS, MERGES, Graph
from bnguard.analysis.ir.op_types import (
    ENTERS,
    EXITS,
    SWITCHES,
    VALUELESS,
    is_accumulator,
    is_write,
)

_SEED = re.compile(rb"(.*/)grad_ys_\d+(?:/Const)?\Z", re.DOTALL)
_OF_OP = b"_grad/"  # after the name of the op that is differentiated
_FEW_SCOPES = 8  # up to which a look at each name is faster than to sort the names
# That are compared, or joined, in the time of a visit to a node:
_SCOPES_AT_ONCE, _CHARACTERS_AT_ONCE = 16, 64
_FEWEST_OPS = 3  # that a loss consists of, with what it is computed from
# What tf.gradients makes in its scope besides the gradients of ops: seeds, sums, control flow.
_BESIDE_OPS = (
    SWITCHES
    | MERGES
    | ENTERS
    | EXITS
    | LOOP_ENDS
    | VALUELESS
    | frozenset(["Const", "Fill", "AddN", "Identity", "LoopCond", "Add", "AddV2", "Sub"])
)
_TAPE = b"gradient_tape/"
_GRADIENT_TYPE = re.compile(r"\w+Grad(V\d+)?|\w+Backprop\w*")
_USED_IN_NETWORKS = re.compile(r"\w+BackpropInput\w*|Resize\w+Grad|(Max|Avg)Pool\w*Grad\w*")


class Gradients(NamedTuple):
    """What computes the gradients of a graph.

    Attributes:
      nodes: the nodes.
      scopes: the scopes of the gradient computations, each with a slash at its end.
    """

    nodes: Set[int]
    scopes: Tuple[bytes, ...]


def find_gradients(graph: Graph) -> Gradients:
    """Return the nodes that compute gradients, and the scopes that they are in."""
    names = graph.names.encoded
    scopes = _seed_scopes(graph)
    found = _nodes_in(graph, scopes)
    others = [name for node, name in enumerate(names) if node not in found]
    more = _scopes_of_ops(graph, others)
    scopes += more
    found |= _nodes_in(graph, more)
    of_type = _of_gradient_types(graph)
    if any(_TAPE in names[node] for node in of_type):
        found.update([node for node, name in enumerate(names) if _TAPE in name])
    if not found and of_type:
        found = _told_by_type(graph, of_type)
    found.difference_update(_list_accumulators(graph))
    return Gradients(found, tuple(scopes))


def _nodes_in(graph: Graph, scopes: Sequence[bytes]) -> Set[int]:
    """Return the nodes in any of the scopes, each with a slash at its end."""
    names = graph.names.encoded
    if len(scopes) <= _FEW_SCOPES:
        is_inside = map(bytes.startswith, names, repeat(tuple(scopes)))
        return set(compress(count(), is_inside)) if scopes else set()
    ordered = sorted(names)
    return {graph.names.index[name] for scope in scopes for name in _names_in(ordered, scope)}


def _names_in(ordered: Sequence[bytes], scope: bytes) -> Sequence[bytes]:
    """Return those of sorted names that are in a scope, which ends with a slash."""
    end = scope[:-1] + bytes([scope[-1] + 1])
    return ordered[bisect_left(ordered, scope) : bisect_left(ordered, end)]


class Differentiated:
    """Tells, by names, which nodes of the network gradients were made for."""

    def __init__(self, graph: Graph, gradients: Gradients) -> None:
        self._names = graph.names.encoded
        self._gradients = gradients
        self._sorted = sorted(map(self._names.__getitem__, gradients.nodes))
        # Where both were imported with a prefix, the op's name begins with it, too.
        self._scopes = [
            (scope, scope[: scope.rstrip(b"/").rfind(b"/") + 1]) for scope in gradients.scopes
        ]

    def __contains__(self, node: int) -> bool:
        name = self._names[node]
        limits.spend(len(self._scopes))
        return node not in self._gradients.nodes and any(
            self._has(scope + name)
            or (prefix and name.startswith(prefix) and self._has(scope + name[len(prefix) :]))
            for scope, prefix in self._scopes
        )

    def _has(self, op: bytes) -> bool:
        start = op + _OF_OP
        place = bisect_left(self._sorted, start)
        return place < len(self._sorted) and self._sorted[place].startswith(start)


def differentiated_nodes(graph: Graph, gradients: Gradients) -> Set[int]:
    """Return the nodes of the network that gradients were made for, as far as names tell."""
    names, index = graph.names.encoded, graph.names.index
    ordered = sorted(map(names.__getitem__, gradients.nodes))
    found: Set[int] = set()
    for scope in gradients.scopes:
        prefix = scope[: scope.rstrip(b"/").rfind(b"/") + 1]  # of an import, or of a name scope
        inside = _names_in(ordered, scope)
        ops = {name[len(scope) : name.rfind(_OF_OP)] for name in inside if _OF_OP in name}
        found.update(index[op] for op in ops if op in index)
        if prefix:
            found.update(index[prefix + op] for op in ops if prefix + op in index)
    return found - gradients.nodes


def _seed_scopes(graph: Graph) -> List[bytes]:
    """Return the scopes, each with a slash at the end, in which a gradient computation starts."""
    names = graph.names.encoded
    likely = [
        names[node] for node in graph.of_types(["Const", "Fill"]) if b"grad_ys_" in names[node]
    ]
    return list({seed.group(1): None for seed in map(_SEED.match, likely) if seed})


def _scopes_of_ops(graph: Graph, names: Sequence[bytes]) -> List[bytes]:
    """Return the scopes of `names` with gradients, `SCOPE/X_grad/...` for an op X of the graph.

    A user's scope may have such a name, too. In one of tf.gradients most nodes have, besides those
    for control flow, and there are several ops X.
    """
    found: Tuple[bytes, ...] = ()
    if _OF_OP not in b" ".join(names):  # one search in all is faster than one in each
        return []
    for name in names:
        limits.spend(len(found) // _SCOPES_AT_ONCE)
        if _OF_OP in name and not name.startswith(found):
            scope = _scope_of_op(graph, name)
            found += () if scope is None else (scope,)
    ordered = sorted(names)
    return [scope for scope in found if _is_of_gradients(graph, _names_in(ordered, scope))]


def _is_of_gradients(graph: Graph, names: Sequence[bytes]) -> bool:
    """Return whether these names, of a scope, are those of a gradient computation."""
    of_ops = [name for name in names if _OF_OP in name]
    others = [graph.names.index[name] for name in names if _OF_OP not in name]
    computing = [node for node in others if graph.types[node] not in _BESIDE_OPS]
    ops = {name[: name.rfind(_OF_OP)] for name in of_ops}
    return len(ops) >= _FEWEST_OPS and len(computing) < len(of_ops)


def _scope_of_op(graph: Graph, name: bytes) -> Optional[bytes]:
    """Return SCOPE, with a slash at its end, of `SCOPE/X_grad/...`, for the longest such X.

    Where both were imported with a prefix, it is `PREFIX/SCOPE/X_grad/...` for an op `PREFIX/X`.
    """
    end_of_op = name.rfind(_OF_OP)  # the last, in the gradient of a gradient
    while end_of_op >= 0:
        parts = name[:end_of_op].split(b"/")
        limits.spend(len(parts) ** 2 * (1 + end_of_op // _CHARACTERS_AT_ONCE))
        for end in range(1, len(parts)):
            for prefix in range(end):
                if b"/".join(parts[:prefix] + parts[end:]) in graph.names.index:
                    return b"/".join(parts[:end]) + b"/"
        end_of_op = name.rfind(_OF_OP, 0, end_of_op)
    return None


def _of_gradient_types(graph: Graph) -> Sequence[int]:
    return graph.of_types(filter(_GRADIENT_TYPE.fullmatch, list(graph.present_types())))


def _told_by_type(graph: Graph, of_type: Sequence[int]) -> Set[int]:
    """Return the ops of types for gradients, if any variable is given what they compute.

    Those of types that networks use as well count only behind one of the other types.
    """
    types = graph.types
    certain = [node for node in of_type if not _USED_IN_NETWORKS.fullmatch(types[node])]
    takers = set(graph.of_types(filter(_takes_gradients, list(graph.present_types()))))
    flow = data_flow(graph, certain, ends=takers)
    return flow.intersection(of_type) if not takers.isdisjoint(flow) else set()


def _takes_gradients(op_type: str) -> bool:
    return is_write(op_type) or is_accumulator(op_type)


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
    takers = set(graph.of_types(filter(_takes_gradients, list(graph.present_types()))))
    computed = gradients - takers
    starts = [node for node in after if _takes_any(graph, node, computed)]
    flow = data_flow(graph, starts, ends=takers, closed=gradients)
    return takers.intersection(flow) | takers.intersection(gradients)


def _takes_any(graph: Graph, node: int, sources: AbstractSet[int]) -> bool:
    edges = zip(graph.sources[node], graph.ports[node])
    return any(port != CONTROL and source in sources for source, port in edges)
