"""Tensors inside functions: make them outputs of every call around them, so they can be fetched.

A function body is a graph of its own, whose tensors a session cannot fetch. The called function is
copied for the call, and the copy gets one more output. Other branches of the same `If` get a
constant in that place.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Optional

from bnguard.analysis.ir.graph import Graph, Tensor
from bnguard.errors import BnguardError

_ATTRIBUTES = {
    **dict.fromkeys(["PartitionedCall", "StatefulPartitionedCall"], ("f",)),
    **dict.fromkeys(["If", "StatelessIf"], ("else_branch", "then_branch")),
    **dict.fromkeys(["Case", "StatelessCase"], ("branches",)),
}
_BRANCH = re.compile(r"branch_(\d+)/(.*)\Z", re.DOTALL)
# What lowering adds beside the nodes of a function: ends of the name, with the input or output.
_ADDED = re.compile(r"(.*)/(argument|switch|merge)_(\d+)\Z", re.DOTALL)
_INT64 = 9  # DT_INT64
_FUSED_OUTPUTS = ("y", "batch_mean", "batch_variance")
_ELEMENTWISE = {
    **dict.fromkeys(["Add", "AddV2", "Div", "DivNoNan", "Maximum", "Mul", "RealDiv", "Sub"], "z"),
    **dict.fromkeys(["Cast", "Inv", "Neg", "Reciprocal", "Rsqrt", "Sqrt", "Square"], "y"),
    "SquaredDifference": "z",
}


class _Reference(NamedTuple):
    """How a function's body refers to a tensor, and its dtype as a number."""

    text: str
    dtype: int


class Exporter:
    """Give tensors of a graph, as the analysis knows them, names that a session can fetch.

    Args:
      graph: the analysis of the graph.
      graph_def: the graph, which is changed in place.
    """

    def __init__(self, graph: Graph, graph_def: Any) -> None:
        self._graph = graph
        self._library = graph_def.library
        self._nodes = {node.name: node for node in graph_def.node}
        self._functions = {f.signature.name: f for f in self._library.function}
        self._own = 0  # the number of functions that were copied
        self._exported: Dict[Tensor, str] = {}
        self._shapes: Dict[Tensor, str] = {}

    def name(self, tensor: Tensor) -> str:
        """Return `node:port` for a tensor, which may be inside functions.

        Raises:
          BnguardError: it is in a loop, or in a function that is called in another way.
        """
        if tensor not in self._exported:
            outside = self._outside(tensor)
            name = self._graph.names[outside.node]
            if name in self._nodes:
                self._exported[tensor] = f"{name}:{outside.port}"
            else:
                self._exported[tensor] = self._from_call(self._nodes, name, outside).text
        return self._exported[tensor]

    def is_inside(self, tensor: Tensor) -> bool:
        """Return whether a tensor is inside a function."""
        return self._graph.names[self._outside(tensor).node] not in self._nodes

    def shape_name(self, tensor: Tensor) -> str:
        """Return `node:port` for the shape, int64, of a tensor inside a function.

        The tensor itself stays inside, so its memory can be used again as usual.

        Raises:
          BnguardError: as for `name`.
        """
        if tensor not in self._shapes:
            outside = self._outside(tensor)
            name = self._graph.names[outside.node]
            self._shapes[tensor] = self._from_call(self._nodes, name, outside, is_shape=True).text
        return self._shapes[tensor]

    def _outside(self, tensor: Tensor) -> Tensor:
        """Return the tensor that a node which lowering added passes on."""
        added = _ADDED.match(self._graph.names[tensor.node])
        while added and self._graph.names[tensor.node] not in self._nodes:
            call = self._graph.find(added.group(1))
            if call is None or call not in self._graph.lowered:
                break
            if added.group(2) == "merge":
                tensor = Tensor(call, int(added.group(3)))
            else:
                tensor = self._graph.data_input(tensor.node, 0)
            added = _ADDED.match(self._graph.names[tensor.node])
        return tensor

    def _from_call(
        self, nodes: Dict[str, Any], name: str, tensor: Tensor, is_shape: bool = False
    ) -> _Reference:
        """Return the new output of the call, among `nodes`, around the node called `name`."""
        call = self._call_around(nodes, name, tensor)
        rest = name[len(call.name) + 1 :]
        chosen, callees = 0, self._own_callees(call)
        if len(callees) > 1 or call.op in ("Case", "StatelessCase"):
            branch = _BRANCH.match(rest)
            if branch is None:
                raise self._unreachable(tensor)
            chosen, rest = int(branch.group(1)), branch.group(2)
        body = {node.name: node for node in callees[chosen].node_def}
        if rest in body:
            inside = self._in_body(body, rest, tensor)
            inside = _shape_of(callees[chosen], inside) if is_shape else inside
        else:
            inside = self._from_call(body, rest, tensor, is_shape)
        for number, callee in enumerate(callees):
            self._add_output(callee, inside if number == chosen else None, inside.dtype)
        output = f"added_{len(callees[0].signature.output_arg) - 1}"
        if call.op in _ATTRIBUTES:
            call.attr["Tout"].list.type.append(inside.dtype)
            if "output_shapes" in call.attr:
                del call.attr["output_shapes"]
            output = "output"
        position = len(callees[0].signature.output_arg) - 1
        if nodes is self._nodes:
            return _Reference(f"{call.name}:{position}", inside.dtype)
        is_list = call.op in _ATTRIBUTES
        return _Reference(f"{call.name}:{output}:{position if is_list else 0}", inside.dtype)

    def _call_around(self, nodes: Dict[str, Any], name: str, tensor: Tensor) -> Any:
        parts = name.split("/")
        for end in range(len(parts) - 1, 0, -1):
            node = nodes.get("/".join(parts[:end]))
            if node is not None and (node.op in _ATTRIBUTES or node.op in self._functions):
                return node
        raise self._unreachable(tensor)

    def _own_callees(self, call: Any) -> List[Any]:
        """Return copies of the functions that a call calls, which it calls from now on."""
        if call.op in self._functions:
            call.op = self._copy(call.op)
            return [self._functions[call.op]]
        found = []
        for attribute in _ATTRIBUTES[call.op]:
            value = call.attr[attribute]
            for function in value.list.func if attribute == "branches" else [value.func]:
                function.name = self._copy(function.name)
                found.append(self._functions[function.name])
        return found

    def _copy(self, name: str) -> str:
        if name.endswith("_measured"):
            return name
        self._own += 1
        function = self._library.function.add()
        function.CopyFrom(self._functions[name])
        function.signature.name = f"{name}_{self._own}_measured"
        self._functions[function.signature.name] = function
        return str(function.signature.name)

    def _in_body(self, body: Dict[str, Any], rest: str, tensor: Tensor) -> _Reference:
        """Return the reference to a tensor of a body, as one of its consumers has it."""
        scope = self._graph.names[tensor.node][: -len(rest)]
        for consumer in self._graph.consumers[tensor.node]:
            name = self._graph.names[consumer]
            inner = name[len(scope) :]
            inputs = self._graph.data_inputs(consumer)
            if name.startswith(scope) and inner in body and tensor in inputs:
                node = body[inner]
                if "T" in node.attr:
                    return _Reference(node.input[inputs.index(tensor)], node.attr["T"].type)
        node = body[rest]
        argument, position = "output", tensor.port
        if node.op.startswith("FusedBatchNorm") and tensor.port < len(_FUSED_OUTPUTS):
            argument, position = _FUSED_OUTPUTS[tensor.port], 0
        elif node.op in _ELEMENTWISE:
            argument = _ELEMENTWISE[node.op]
        return _Reference(f"{rest}:{argument}:{position}", _dtype(node, tensor.port))

    def _add_output(self, function: Any, inside: Optional[_Reference], dtype: int) -> None:
        """Add an output to a function: a tensor of its body, or a constant."""
        signature = function.signature
        name = f"added_{len(signature.output_arg)}"
        signature.output_arg.add(name=name, type=dtype)
        if inside is not None:
            function.ret[name] = inside.text
            return
        constant = function.node_def.add(name=f"{name}_constant", op="Const")
        constant.attr["dtype"].type = dtype
        constant.attr["value"].tensor.dtype = dtype
        constant.attr["value"].tensor.tensor_shape.SetInParent()
        function.ret[name] = f"{constant.name}:output:0"

    def _unreachable(self, tensor: Tensor) -> BnguardError:
        return BnguardError(
            f"{self._graph.names[tensor.node]}: inside a loop or a function from which no tensor "
            "can be taken; expected a layer outside, or in a branch or a called function."
        )


def _shape_of(function: Any, inside: _Reference) -> _Reference:
    """Add the shape of a tensor to the body of a function."""
    name = f"added_{len(function.signature.output_arg)}_shape"
    shape = function.node_def.add(name=name, op="Shape", input=[inside.text])
    shape.attr["T"].type = inside.dtype
    shape.attr["out_type"].type = _INT64
    return _Reference(f"{name}:output:0", _INT64)


def _dtype(node: Any, port: int) -> int:
    for key in ("U" if port else "T", "T", "DstT", "dtype"):
        if key in node.attr:
            return int(node.attr[key].type)
    return 1  # DT_FLOAT
