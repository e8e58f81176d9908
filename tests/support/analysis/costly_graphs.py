"""Small files that ask for much work: each shape is a GraphDef, of a size that is given.

The first six are those that once took longest. The others are of the same kinds: what is wide,
deep, long, shared by many, or multiplied by functions.
"""

from __future__ import annotations

from bnguard.analysis.ir import protos


class Builder:
    """A GraphDef of bytes under construction; a message per node would take as long as an audit."""

    def __init__(self):
        self.parts = []

    def node(self, name, op_type, *inputs, **attributes):
        """Add a node; an attribute is the bytes of an AttrValue."""
        data = _field(1, name.encode()) + _field(2, op_type.encode())
        data += b"".join(_field(3, text.encode()) for text in inputs)
        for key, value in attributes.items():
            data += _field(5, _field(1, key.encode()) + _field(2, value))
        self.parts.append(_field(1, data))
        return name

    def function(self, name, nodes=(), arguments=("a",), results=(), effects=()):
        """Add a function; `nodes` are tuples of name, type and inputs, `results` are inputs."""
        function = protos.message("FunctionDef")()
        function.signature.name = name
        for argument in arguments:
            function.signature.input_arg.add().name = argument
        for node_name, op_type, *inputs in nodes:
            function.node_def.add(name=node_name, op=op_type, input=inputs)
        for number, result in enumerate(results):
            function.signature.output_arg.add().name = f"r{number}"
            function.ret[f"r{number}"] = result
        for effect in effects:
            function.control_ret[effect] = effect
        self.parts.append(_field(2, _field(1, function.SerializeToString())))

    def layer(self, source, name="bn"):
        """Add a layer with an update, behind `source`, and return the output."""
        mean, variance = f"{name}/moving_mean", f"{name}/moving_variance"
        self.node(mean, "VariableV2")
        self.node(variance, "VariableV2")
        self.node(f"{name}/f", "FusedBatchNormV3", source, "x", "x", mean, variance)
        self.node(f"{name}/u", "AssignSub", mean, f"{name}/f:1")
        return self.node(f"{name}/y", "Identity", f"{name}/f", f"^{name}/u")

    def bytes(self):
        """Return the GraphDef."""
        return b"".join(self.parts)


BOOL = b"\x30\x0a"  # AttrValue(type=DT_BOOL)
SCALAR = b"\x3a\x00"  # AttrValue(shape={})


def func(name):
    """Return the AttrValue of a function."""
    return _field(10, _field(1, name.encode()))


def functions(*names):
    """Return the AttrValue of a list of functions."""
    return _field(1, b"".join(_field(9, _field(1, name.encode())) for name in names))


def number(value):
    """Return the AttrValue of an integer."""
    return b"\x18" + _varint(value)


def _field(field, data):
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(value):
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _started():
    graph = Builder()
    graph.node("x", "Placeholder")
    return graph


def _ended(graph, outputs):
    graph.node("sum", "AddN", *outputs)
    graph.layer("sum")
    return graph.bytes()


def switches(count):
    """One op behind Switches, each of a predicate of its own."""
    graph, outputs = _started(), []
    for i in range(count):
        graph.node(f"p{i}", "Placeholder")
        outputs.append(graph.node(f"s{i}", "Switch", "x", f"p{i}"))
    return _ended(graph, outputs)


def wide_switches(count):
    """The same with _SwitchN of 1024 outputs."""
    graph, outputs = _started(), []
    for i in range(count):
        graph.node(f"p{i}", "Placeholder")
        outputs.append(graph.node(f"s{i}", "_SwitchN", "x", f"p{i}", num_outs=number(1024)))
    return _ended(graph, outputs)


def chain(count, taken=20, ports=1024):
    """A chain of _SwitchN and Merge."""
    graph, last = _started(), "x"
    for i in range(count):
        graph.node(f"p{i}", "Placeholder")
        graph.node(f"s{i}", "_SwitchN", last, f"p{i}", num_outs=number(ports))
        last = graph.node(f"x{i}", "Merge", *(f"s{i}:{k}" for k in range(taken)))
    return _ended(graph, [last])


def merges(count, ports=1024, paths=23, depth=20):
    """Merges of paths, each behind _SwitchN of shared predicates."""
    graph, outputs = _started(), []
    for i in range(depth):
        graph.node(f"p{i}", "Placeholder")
    for j in range(count):
        ends = []
        for a in range(paths):
            last = "x"
            for i in range(depth):
                name = f"s{j}_{a}_{i}"
                graph.node(name, "_SwitchN", last, f"p{i}", num_outs=number(ports))
                last = f"{name}:{(a * 7 + i * 3 + j) % paths}"
            ends.append(last)
        outputs.append(graph.node(f"m{j}", "Merge", *ends))
    return _ended(graph, outputs)


def loop(inputs, effects):
    """A While with a body that has control outputs."""
    graph = _started()
    graph.node("w", "While", *["x"] * inputs, cond=func("c"), body=func("b"))
    graph.function("c", results=["a"])
    names = [f"e{i}" for i in range(effects)]
    graph.function("b", [(name, "NoOp") for name in names], results=["a"] * inputs, effects=names)
    return graph.bytes()


def long_name(length, nodes):
    """A call with a long name, of a function with nodes."""
    graph = _started()
    graph.node("a" * length, "f", "x")
    graph.function("f", [(f"n{i}", "NoOp") for i in range(nodes)])
    return graph.bytes()


def one_selector(count):
    """An op behind Switches that one placeholder decides."""
    graph, outputs = _started(), []
    graph.node("p", "Placeholder", dtype=BOOL, shape=SCALAR)
    for i in range(count):
        graph.node(f"n{i}", "LogicalNot", "p")
        outputs.append(graph.node(f"s{i}", "Switch", "x", f"n{i}"))
    return _ended(graph, outputs)


def roots(count):
    """Inverse roots of one variance, all taken by one op."""
    graph = _started()
    graph.node("v", "VariableV2")
    graph.node("e", "Const", value=_field(8, b"\x08\x01\x2d\x6f\x12\x83\x3a"))  # 0.001
    for i in range(count):
        graph.node(f"a{i}", "Add", "v", "e")
        graph.node(f"r{i}", "Rsqrt", f"a{i}")
    graph.node("p", "Pack", *[f"r{i}" for i in range(count)])
    graph.layer("p")
    return graph.bytes()


def train_ops(count):
    """A layer with train ops, each of a weight of its own."""
    graph = _started()
    graph.node("r", "Const", value=_field(8, b"\x08\x01\x12\x00"))
    output = graph.layer("x")
    for i in range(count):
        graph.node(f"g{i}", "VariableV2")
        graph.node(f"z{i}", "Mul", output, f"g{i}")
        graph.node(f"t{i}", "ApplyGradientDescent", f"g{i}", "r", f"z{i}")
    return graph.bytes()
