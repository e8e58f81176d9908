"""Lowering: calls and functional control flow become Switch/Merge and Enter/Exit.

TensorFlow's executor only knows control flow v1. Before a step runs, TensorFlow lowers `If`, `Case`
and `While` to it, and inlines called functions. The analysis does the same, and so has one form to
understand. A lowered node stays, with its name and type, to pass on the outputs of what replaces
it; a call by the name of a function becomes a PartitionedCall.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from bnguard.analysis import limits
from bnguard.analysis.errors import AuditError
from bnguard.analysis.frontend.draft import Draft, Edge
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.graph import CONTROL
from bnguard.analysis.ir.op_types import is_write, output_port

_CALL = "PartitionedCall"
_IFS = frozenset(["If", "StatelessIf"])
_CASES = frozenset(["Case", "StatelessCase"])
_WHILES = frozenset(["While", "StatelessWhile"])
_FEW_EFFECTS = 16
_FUNCTION_ATTRIBUTES = {
    **dict.fromkeys([_CALL, "StatefulPartitionedCall"], ("f",)),
    **dict.fromkeys(_IFS, ("then_branch", "else_branch")),
    **dict.fromkeys(_CASES, ("branches",)),
    **dict.fromkeys(_WHILES, ("cond", "body")),
}


def lower(draft: Draft, library: Any) -> None:
    """Replace every call in `draft` by the body of the function that it calls, in place.

    Args:
      draft: a graph whose nodes are connected.
      library: a FunctionDefLibrary. A call of a function that it lacks stays opaque.

    Raises:
      AuditError: functions call each other in a circle or too deep, expand to millions of
        nodes, or have an input that is not there.
    """
    lowering = _Lowering(
        draft, {function.signature.name: function for function in library.function}
    )
    for node in range(len(draft.names)):
        lowering.expand(node, ())


class _Site(NamedTuple):
    """A call: its node, its data inputs, the node that starts it, and its callers."""

    node: int
    data: List[Edge]
    start: int
    stack: Tuple[str, ...]


class _Inlined(NamedTuple):
    """An inlined function body: its results, and the nodes that run for their effect."""

    results: List[Edge]
    effects: List[Edge]


class _Lowering:
    def __init__(self, draft: Draft, functions: Dict[str, Any]) -> None:
        self._draft = draft
        self._functions = functions
        self._limit = len(draft.names) + limits.LOWERED_NODES
        self._edges = self._name_bytes = 0  # of what was added

    def expand(self, node: int, stack: Tuple[str, ...]) -> None:
        """Lower `node`, and the calls inside it, if it is a call; `stack` names the callers."""
        op_type = self._draft.types[node]
        callees = [op_type] if op_type in self._functions else _callees(self._draft, node)
        self._count_edges(len(callees))
        if not callees or not all(callee in self._functions for callee in callees):
            return
        self._check(node, callees, stack)
        edges = self._draft.edges(node)
        self._count_edges(len(edges) * len(callees))
        # Branches and loops wait for each input separately, a call for all. The inputs are data
        # inputs, so that a feed cuts them as it does elsewhere.
        is_call = op_type not in _IFS | _CASES | _WHILES
        awaited = [edge for edge in edges if is_call or edge[1] == CONTROL]
        start = self._add(node, "start", "NoOp", awaited)
        site = _Site(node, [edge for edge in edges if edge[1] != CONTROL], start, stack)
        if op_type in _IFS | _CASES:
            outputs = self._branch(site, callees)
        elif op_type in _WHILES:
            outputs = self._loop(site, callees)
        else:
            arguments = [
                self._add(node, f"argument_{position}", "Identity", [edge, (start, CONTROL)])
                for position, edge in enumerate(site.data)
            ]
            outputs = self._inline(
                site, "", callees[0], [(argument, 0) for argument in arguments], start
            )
        if op_type in self._functions:
            self._draft.types[node] = _CALL  # a function may be called like an op
        self._connect(node, [*outputs.results, *outputs.effects])
        self._draft.lowered.add(node)

    def _check(self, node: int, callees: Sequence[str], stack: Tuple[str, ...]) -> None:
        name = self._draft.names[node]
        for callee in callees:
            if callee in stack:
                raise AuditError(f"function {callee} calls itself, at {name}")
        if len(stack) >= limits.FUNCTION_DEPTH:
            raise AuditError(
                f"functions are nested more than {limits.FUNCTION_DEPTH} deep, at {name}"
            )

    def _branch(self, site: _Site, callees: Sequence[str]) -> _Inlined:
        if not site.data:
            raise self._too_few(site, 1)
        selector, arguments = site.data[0], site.data[1:]
        # An If lists the branch for True first; that is port 1 of a Switch.
        is_if = self._draft.types[site.node] in _IFS
        order = callees[::-1] if is_if else callees

        def switch(name: str, edge: Edge) -> int:
            op_type, definition = ("Switch", None) if is_if else ("_SwitchN", _outputs(len(order)))
            edges = [edge, selector, (site.start, CONTROL)]
            return self._add(site.node, name, op_type, edges, definition)

        guard = switch("guard", selector)
        switches = [switch(f"switch_{number}", edge) for number, edge in enumerate(arguments)]
        results, done = [], []
        for port, callee in enumerate(order):
            prefix = f"branch_{port}/"
            pivot = self._add(site.node, f"{prefix}pivot", "Identity", [(guard, port)])
            inputs = [(switch, port) for switch in switches]
            branch = self._inline(site, prefix, callee, inputs, pivot)
            results.append(branch.results)
            edges = [(pivot, 0), *branch.effects]
            done.append((self._add(site.node, f"{prefix}done", "Identity", edges), 0))
        merges = [
            (self._add(site.node, f"merge_{number}", "Merge", edges), 0)
            for number, edges in enumerate(zip(*results))
        ]
        return _Inlined(merges, [(self._add(site.node, "done", "Merge", done), CONTROL)])

    def _loop(self, site: _Site, callees: Sequence[str]) -> _Inlined:
        if not site.data:
            raise self._too_few(site, 1)
        merges = []
        for position, edge in enumerate(site.data):
            enter = self._add(
                site.node, f"enter_{position}", "Enter", [edge, (site.start, CONTROL)]
            )
            merges.append(self._add(site.node, f"merge_{position}", "Merge", [(enter, 0)]))
        state = [(merge, 0) for merge in merges]
        predicate = self._inline(site, "cond/", callees[0], state, merges[0])
        go_on = self._add(site.node, "go_on", "LoopCond", predicate.results[:1] + predicate.effects)
        switches = [
            self._add(site.node, f"switch_{position}", "Switch", [edge, (go_on, 0)])
            for position, edge in enumerate(state)
        ]
        pivot = self._add(site.node, "body/pivot", "Identity", [(switches[0], 1)])
        inputs = [(switch, 1) for switch in switches]
        body = self._inline(site, "body/", callees[1], inputs, pivot)
        effects = body.effects
        if len(effects) > _FEW_EFFECTS:  # each iteration waits for all; one node does so for them
            effects = [(self._add(site.node, "body/done", "NoOp", effects), CONTROL)]
        for position, (merge, result) in enumerate(zip(merges, body.results)):
            again = self._add(site.node, f"next_{position}", "NextIteration", [result, *effects])
            self._connect(merge, [*self._draft.edges(merge), (again, 0)])
        exits = [
            self._add(site.node, f"exit_{position}", "Exit", [(switch, 0)])
            for position, switch in enumerate(switches)
        ]
        return _Inlined([(exit_node, 0) for exit_node in exits], [])

    def _inline(
        self, site: _Site, prefix: str, callee: str, arguments: Sequence[Edge], pivot: int
    ) -> _Inlined:
        """Copy the body of a function; nodes without an input wait for `pivot`."""
        function = self._functions[callee]
        self._count_edges(len(function.ret) + len(function.control_ret))
        if len(arguments) < len(function.signature.input_arg):
            raise self._too_few(site, len(function.signature.input_arg))
        parameters = function.signature.input_arg
        tensors = {parameter.name: edge for parameter, edge in zip(parameters, arguments)}
        nodes = {
            node_def.name: self._add(site.node, prefix + node_def.name, node_def.op, [], node_def)
            for node_def in function.node_def
        }
        self._draft.function_nodes.update((node, (name, callee)) for name, node in nodes.items())
        scope = _Scope(callee, tensors, nodes, self._draft.types, self._functions)
        for node_def in function.node_def:
            edges = [scope.edge(text) for text in node_def.input]
            self._connect(nodes[node_def.name], edges or [(pivot, CONTROL)])
        outputs = function.signature.output_arg
        results = [scope.edge(function.ret[output.name]) for output in outputs]
        for node in nodes.values():
            self.expand(node, (*site.stack, callee))
        # The order of a map differs between processes.
        effects = [scope.edge(f"^{name}") for name in sorted(function.control_ret.values())]
        if not effects and self._draft.types[site.node] not in _IFS | _CASES | _WHILES:
            # A called function, unlike a branch, runs all its stateful ops.
            effects = [(node, CONTROL) for node in nodes.values() if self._is_stateful(node)]
        return _Inlined(results, list(dict.fromkeys(effects)))

    def _is_stateful(self, node: int) -> bool:
        return is_write(self._draft.types[node]) or node in self._draft.lowered

    def _add(
        self, site: int, name: str, op_type: str, edges: Sequence[Edge], definition: Any = None
    ) -> int:
        if len(self._draft.names) >= self._limit:
            raise AuditError(f"its functions expand to more than {limits.LOWERED_NODES} nodes")
        name = f"{self._draft.names[site]}/{name}"
        self._name_bytes += len(name)
        if self._name_bytes > limits.LOWERED_NAME_BYTES:
            raise AuditError(
                f"the nodes of its functions have names of more than {limits.LOWERED_NAME_BYTES} "
                "bytes in all"
            )
        self._count_edges(len(edges))
        return self._draft.add(name, op_type, edges, definition)

    def _connect(self, node: int, edges: Sequence[Edge]) -> None:
        self._count_edges(len(edges))
        self._draft.connect(node, edges)

    def _count_edges(self, count: int) -> None:
        self._edges += count
        if self._edges > limits.LOWERED_EDGES:
            raise AuditError(
                f"its functions expand to nodes with more than {limits.LOWERED_EDGES} inputs"
            )

    def _too_few(self, site: _Site, wanted: int) -> AuditError:
        name, op_type = self._draft.names[site.node], self._draft.types[site.node]
        return AuditError(
            f"node {name} ({op_type}) has {len(site.data)} inputs; what it calls takes {wanted}"
        )


class _Scope(NamedTuple):
    """The names that inputs inside the body of a function may refer to."""

    function: str
    arguments: Dict[str, Edge]
    nodes: Dict[str, int]
    types: List[str]
    functions: Dict[str, Any]

    def edge(self, text: str) -> Edge:
        """Resolve `argument`, `node:output:position`, `node:position` or `^node`."""
        name, *rest = text.lstrip("^").split(":")
        if name in self.nodes:
            node = self.nodes[name]
            return node, CONTROL if text.startswith("^") else self._port(node, rest)
        if name not in self.arguments:
            raise AuditError(f"function {self.function} has the input {text!r}, which is not there")
        node, port = self.arguments[name]
        return node, CONTROL if text.startswith("^") else port

    def _port(self, node: int, rest: Sequence[str]) -> int:
        if not rest or not rest[-1].isdigit() or len(rest[-1]) > 9:
            return 0
        argument = rest[0] if len(rest) == 2 else ""
        called = self.functions.get(self.types[node])
        if called is None:
            return output_port(self.types[node], argument, int(rest[-1]))
        outputs = [output.name for output in called.signature.output_arg]
        return outputs.index(argument) if argument in outputs else int(rest[-1])


def _outputs(count: int) -> Any:
    definition = protos.message("NodeDef")()
    definition.attr["num_outs"].i = count
    return definition


def _callees(draft: Draft, node: int) -> List[str]:
    """Return the functions that the attributes of a call name, in the order of its branches."""
    op_type = draft.types[node]
    keys = _FUNCTION_ATTRIBUTES.get(op_type)
    if keys is None:
        return []
    attributes = draft.definitions.attributes(node)
    if op_type in _CASES:
        return [function.name for function in attributes["branches"].list.func]
    return [attributes[key].func.name for key in keys]
