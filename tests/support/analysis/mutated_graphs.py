"""Graphs that are nearly well-formed: mutations of the messages of graphs, field by field.

A graph starts from a small one of each kind: branches, loops, calls, gradients, Savers, wide and
deep shapes, random nodes. A mutation changes one thing that TensorFlow or a program would have made
otherwise; a file has a few. The result is a binary file or a text, of a GraphDef, a MetaGraphDef or
a SavedModel, and now and then damaged in its bytes.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random

from bnguard.analysis.errors import AuditError
from bnguard.analysis.frontend.loader import load
from bnguard.analysis.ir import protos
from support.analysis import costly_graphs
from support.analysis.hostile_files import KINDS, SOURCES, random_file

NUMBERS = (0, 1, -1, 2, 5, 1023, 1 << 20, (1 << 31) - 1, -(1 << 31), (1 << 63) - 1, -(1 << 63))
REALS = (0.0, -0.0, 1.0, 0.9, 1e-3, 1e-45, 3e38, float("inf"), float("-inf"), float("nan"))
TYPES = (0, 1, 2, 3, 7, 9, 10, 14, 19, 20, 101, 110, 999, -1, (1 << 31) - 1)
TEXTS = (
    "", "^", ":", "^^n1", "n1:-1", "n1:0:0", "n1:999999999", "n1:9999999999", "/", "_grad/",
    "a/b/c", "line\nbreak", "\u1234\u0301", "\x1b[31m", "n1 ", "gradients/grad_ys_0", "a" * 300,
    "a/" * 150, "bn/moving_mean", "bn/moving_variance", "save/SaveV2", "gradients/n1_grad/Mul",
)  # fmt: skip
MESSAGES = ("GraphDef", "MetaGraphDef", "SavedModel")
_WIDTHS = (2, 3, 25, 70, 300)
_VALUE_KEYS = ("is_training", "dtype", "DstT", "shape", "value", "num_outs", "shared_name", "T")
_CALLS = ("f", "then_branch", "else_branch", "cond", "body")
_TYPES = tuple(sorted({*KINDS, *SOURCES, "AddN", "Cast", "LogicalNot", "IdentityN", "Pow", "Exit"}))


def mutated_file(choices):
    """Return the bytes of a mutated graph, as a file; `choices(n)` gives a number below n."""
    meta = mutated_graph(choices)
    form = choices(40)  # a text takes twenty times as long as the other files
    if form == 0:
        return _as_text(meta, choices)
    message = MESSAGES[choices(len(MESSAGES))]
    data = _as_message(meta, message).SerializeToString()
    return _damaged(data, choices) if form < 3 else data


def mutated_graph(choices):
    """Return a MetaGraphDef, of a seed, with up to three mutations."""
    meta = protos.message("MetaGraphDef")()
    meta.ParseFromString(_seeds()[choices(len(_seeds()))])
    for _ in range(choices(4)):
        _MUTATIONS[choices(len(_MUTATIONS))](meta, choices)
    return meta


def _as_message(meta, name):
    if name == "MetaGraphDef":
        return meta
    if name == "GraphDef":
        return meta.graph_def
    model = protos.message("SavedModel")()
    model.meta_graphs.add().CopyFrom(meta)
    return model


def _as_text(meta, choices):
    text = str(_as_message(meta, MESSAGES[choices(2)])).encode()
    choice = choices(6)
    if choice == 0:
        text = b"# comment\n" * choices(1000) + text
    elif choice == 1:
        text = text.replace(b"DT_FLOAT", str(TYPES[choices(len(TYPES))]).encode(), 1)
    elif choice == 2:
        text += b"unknown_field { x: 1 }\n" * choices(3) + b"node {" * choices(3)
    return text


def _damaged(data, choices):
    data = bytearray(data or b"\0")
    position = choices(len(data))
    data[position : position + choices(3)] = bytes(choices(256) for _ in range(choices(3)))
    return bytes(data)


def _node(meta, choices):
    """Return any node of the graph or of a function; one is added if there is none."""
    nodes = meta.graph_def.node
    functions = meta.graph_def.library.function
    if functions and choices(2):
        nodes = functions[choices(len(functions))].node_def or nodes
    return nodes[choices(len(nodes))] if nodes else meta.graph_def.node.add(name="n1", op="NoOp")


def _any_name(meta, choices):
    choice = choices(8)
    if choice == 0:
        return TEXTS[choices(len(TEXTS))]
    name = _node(meta, choices).name
    return f"^{name}" if choice == 1 else f"{name}:{choices(4)}" if choice < 4 else name


def _retype(meta, choices):
    _node(meta, choices).op = _TYPES[choices(len(_TYPES))]


def _rename(meta, choices):
    _node(meta, choices).name = _any_name(meta, choices)


def _rewire(meta, choices):
    node = _node(meta, choices)
    if node.input:
        node.input[choices(len(node.input))] = _any_name(meta, choices)


def _widen(meta, choices):
    node, name = _node(meta, choices), _any_name(meta, choices)
    at = choices(len(node.input) + 1)
    inputs = [*node.input[:at], *[name] * _WIDTHS[choices(len(_WIDTHS))], *node.input[at:]]
    del node.input[:]
    node.input.extend(inputs)


def _narrow(meta, choices):
    node = _node(meta, choices)
    if node.input:
        del node.input[choices(len(node.input))]


def _duplicate(meta, choices):
    node = _node(meta, choices)
    for number in range(_WIDTHS[choices(len(_WIDTHS))]):
        meta.graph_def.node.add().CopyFrom(node)
        meta.graph_def.node[-1].name = f"{node.name}_{number}"


def _remove(meta, choices):
    if meta.graph_def.node:
        del meta.graph_def.node[choices(len(meta.graph_def.node))]


def _set_attribute(meta, choices):
    node = _node(meta, choices)
    value = node.attr[_VALUE_KEYS[choices(len(_VALUE_KEYS))]]
    choice = choices(7)
    if choice == 0:
        value.i = NUMBERS[choices(len(NUMBERS))]
    elif choice == 1:
        value.f = REALS[choices(len(REALS))]
    elif choice == 2:
        value.b = bool(choices(2))
    elif choice == 3:
        value.type = TYPES[choices(len(TYPES))]
    elif choice == 4:
        for _ in range(choices(4)):
            value.shape.dim.add().size = NUMBERS[choices(len(NUMBERS))]
    elif choice == 5:
        value.s = bytes(choices(256) for _ in range(choices(4)))
    else:
        _set_tensor(value.tensor, choices)


def _set_tensor(tensor, choices):
    tensor.dtype = TYPES[choices(len(TYPES))]
    for _ in range(choices(3)):
        tensor.tensor_shape.dim.add().size = NUMBERS[choices(len(NUMBERS))]
    for _ in range(choices(3)):
        choice = choices(6)
        if choice == 0:
            tensor.tensor_content = bytes(choices(256) for _ in range(8 * choices(3)))
        elif choice == 1:
            tensor.float_val.append(REALS[choices(len(REALS))])
        elif choice == 2:
            tensor.double_val.append(REALS[choices(len(REALS))])
        elif choice == 3:
            tensor.int64_val.append(NUMBERS[choices(len(NUMBERS))])
        elif choice == 4:
            tensor.string_val.append(bytes(choices(256) for _ in range(choices(9))))
        else:
            tensor.half_val.append(choices(1 << 17) - (1 << 16))


def _make_constant(meta, choices):
    """Let a Cast, or another op of one input, take a constant that is odd."""
    node, constant = _node(meta, choices), meta.graph_def.node.add()
    constant.name, constant.op = f"odd_{choices(1000)}", "Const"
    _set_tensor(constant.attr["value"].tensor, choices)
    node.attr["DstT"].type = TYPES[choices(len(TYPES))]
    if node.input:
        node.input[choices(len(node.input))] = constant.name


def _call(meta, choices):
    node, functions = _node(meta, choices), meta.graph_def.library.function
    if not functions:
        functions.add().signature.name = "first"
    callee = functions[choices(len(functions))].signature.name
    choice = choices(len(_CALLS) + 2)
    if choice < len(_CALLS):
        node.attr[_CALLS[choice]].func.name = callee
    elif choice == len(_CALLS):
        node.op = callee
    else:
        node.op = "Case"
        for _ in range(choices(40)):
            node.attr["branches"].list.func.add().name = callee


def _change_function(meta, choices):
    functions = meta.graph_def.library.function
    if not functions:
        return
    function = functions[choices(len(functions))]
    choice = choices(6)
    if choice == 0:
        function.signature.input_arg.add().name = _any_name(meta, choices)
    elif choice == 1:
        function.signature.output_arg.add().name = _any_name(meta, choices)
    elif choice == 2:
        function.ret[_any_name(meta, choices)] = _any_name(meta, choices)
    elif choice == 3:
        function.control_ret[_any_name(meta, choices)] = _any_name(meta, choices)
    elif choice == 4:
        function.node_def.add().CopyFrom(_node(meta, choices))
    else:
        functions.add().CopyFrom(function)
        functions[-1].signature.name += "_again"


def _change_collections(meta, choices):
    choice = choices(5)
    name = _any_name(meta, choices)
    if choice == 0:
        key = ("update_ops", "train_op", "trainable_variables", "losses")[choices(4)]
        meta.collection_def[key].node_list.value.append(name)
    elif choice == 1:
        data = bytes(choices(256) for _ in range(choices(12)))
        meta.collection_def["variables"].bytes_list.value.append(data)
    elif choice == 2:
        meta.saver_def.save_tensor_name = name
    elif choice == 3:
        meta.signature_def[TEXTS[choices(len(TEXTS))]].outputs["y"].name = name
    else:
        meta.signature_def["serve"].inputs[name].name = name


_MUTATIONS = (
    _retype, _rename, _rewire, _rewire, _widen, _narrow, _duplicate, _remove, _set_attribute,
    _set_attribute, _make_constant, _make_constant, _call, _change_function, _change_collections,
)  # fmt: skip


@lru_cache(maxsize=None)
def _seeds():
    graphs = [_layer_in_a_branch(), _trained_layer()]
    graphs += [
        costly_graphs.switches(3),
        costly_graphs.chain(3, taken=3, ports=3),
        costly_graphs.merges(2, ports=3, paths=3, depth=3),
        costly_graphs.loop(3, 3),
        costly_graphs.long_name(10, 3),
    ]
    metas = []
    for data in graphs:
        meta = protos.message("MetaGraphDef")()
        meta.graph_def.ParseFromString(data)
        metas.append(meta.SerializeToString())
    for seed in range(200):
        meta = protos.message("MetaGraphDef")()
        meta.graph_def.ParseFromString(random_file(Random(seed).randrange, message="GraphDef"))
        if _is_graph(meta.graph_def):
            metas.append(meta.SerializeToString())
    return tuple(metas)


def _is_graph(graph):
    try:
        load(graph)
    except AuditError:
        return False
    return True


def _layer_in_a_branch():
    graph = costly_graphs.Builder()
    graph.node("x", "Placeholder")
    graph.node("flag", "Placeholder", dtype=costly_graphs.BOOL, shape=costly_graphs.SCALAR)
    graph.node("switch", "Switch", "x", "flag")
    graph.layer("switch:1")
    graph.node("off", "Identity", "switch")
    graph.node("merge", "Merge", "off", "bn/y")
    graph.node("y", "Softmax", "merge")
    return graph.bytes()


def _trained_layer():
    graph = costly_graphs.Builder()
    graph.node("x", "Placeholder")
    graph.node("gamma", "VariableV2")
    graph.node("rate", "Const", value=b"\x42\x04\x08\x01\x12\x00")
    y = graph.layer("x")
    graph.node("scaled", "Mul", y, "gamma")
    graph.node("loss", "Mean", "scaled", "rate")
    graph.node("gradients/grad_ys_0", "Fill", "rate", "rate")
    graph.node("gradients/scaled_grad/Mul", "Mul", "gradients/grad_ys_0", y)
    graph.node("train", "ApplyGradientDescent", "gamma", "rate", "gradients/scaled_grad/Mul")
    graph.node("save/Const", "Const")
    graph.node("save/SaveV2", "SaveV2", "save/Const", "save/Const", "save/Const", "gamma")
    graph.node("save/RestoreV2", "RestoreV2", "save/Const", "save/Const", "save/Const")
    graph.node("save/Assign", "Assign", "gamma", "save/RestoreV2")
    return graph.bytes()
