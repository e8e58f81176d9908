"""Random files that no TensorFlow wrote: graphs of random nodes, and damaged real ones.

They are made of plain random choices, so that hypothesis and atheris can both drive them.
"""

from __future__ import annotations

import glob
import lzma
import os

from bnguard.analysis.api import AuditOptions, audit_all
from bnguard.analysis.errors import AuditError
from bnguard.analysis.formatters import FORMATS, format_reports
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.op_types import (
    FORWARDING,
    FUSED_NORMALIZATIONS,
    MADE_OF_ALL_BUT,
    least_inputs,
)
from support.commands import ROOT

NETWORKS = os.path.join(ROOT, "tests", "data", "networks")
KINDS = sorted(
    {
        *FORWARDING,
        *FUSED_NORMALIZATIONS,
        *MADE_OF_ALL_BUT,
        *"""Add AddV2 ApplyAdam ApplyMomentum Assign AssignAdd AssignSub AssignSubVariableOp
        AssignVariableOp BatchNormWithGlobalNormalization Case Const Equal Fill If LogicalAnd
        LogicalNot LoopCond Mean Mul NextIteration NoOp PartitionedCall Placeholder
        PlaceholderWithDefault RealDiv ReadVariableOp RestoreV2 Rsqrt SaveV2
        StatefulPartitionedCall Sub VarHandleOp VariableV2 While body branch first""".split(),
    }
)
SOURCES = ("Const", "Placeholder", "PlaceholderWithDefault", "VarHandleOp", "VariableV2", "NoOp")
FUNCTIONS = ("first", "branch", "body")
# Encodings that protobuf knows and hardly anybody writes: long numbers, groups, no field.
_ODD = [b"\x80\x80\x80\x80\x80\x00", b"\x80" * 9 + b"\x01", b"\x33\x34", b"\x33" * 100, b"\x02"]


def random_file(choices, message=""):
    """The bytes of a GraphDef or MetaGraphDef; `choices(n)` gives a number below n."""
    meta = protos.message("MetaGraphDef")()
    graph = meta.graph_def
    for number in range(choices(40)):
        _fill(graph.node.add(), f"n{number}", choices, number)
    for name in FUNCTIONS[: choices(len(FUNCTIONS) + 1)]:
        function = graph.library.function.add()
        function.signature.name = name
        for number in range(choices(3)):
            function.signature.input_arg.add().name = f"a{number}"
        for number in range(choices(6)):
            _fill(function.node_def.add(), f"n{number}", choices, number)
        for number in range(choices(3)):
            function.signature.output_arg.add().name = f"r{number}"
            function.ret[f"r{number}"] = _input(choices, 4)
        if choices(2):
            function.control_ret["c"] = f"n{choices(6)}"
    for key in ("update_ops", "train_op", "trainable_variables"):
        if choices(3) == 0:
            meta.collection_def[key].node_list.value.append(f"n{choices(24)}")
    if choices(4) == 0:
        meta.saver_def.save_tensor_name = f"n{choices(24)}:0"
    if choices(4) == 0:
        meta.signature_def["serve"].outputs["y"].name = f"n{choices(24)}:0"
        meta.signature_def["serve"].inputs["x"].name = f"n{choices(24)}:0"
    is_meta = message == "MetaGraphDef" if message else choices(2)
    return (meta if is_meta else graph).SerializeToString()


def damaged_file(choices):
    """A real .meta file with some bytes overwritten, cut off or doubled."""
    data = bytearray(_small_networks()[choices(len(_small_networks()))])
    for _ in range(1 + choices(4)):
        position = choices(len(data))
        choice = choices(5)
        if choice == 0:
            data[position] = choices(256)
        elif choice == 1:
            del data[position:]
        elif choice == 2:
            del data[position : position + 1 + choices(64)]
        elif choice == 3:
            data[position:position] = data[position : position + choices(64)]
        else:
            data[position:position] = _ODD[choices(len(_ODD))]
        data = data or bytearray(1)
    return bytes(data)


def survives(path):
    """Whether the file is audited at all; anything but a report and AuditError is let out."""
    try:
        reports = audit_all(path, AuditOptions())
    except AuditError as refusal:
        assert "\n" not in str(refusal)
        assert path in str(refusal)
        return False
    for form in FORMATS:
        format_reports(reports, form)
    return True


def _fill(node, name, choices, earlier):
    """A node that is mostly well-formed, and now and then in one way not."""
    odd = choices(60) == 0
    node.name = "" if odd and choices(2) else name
    node.op = SOURCES[choices(len(SOURCES))] if earlier < 3 else KINDS[choices(len(KINDS))]
    count = 0 if node.op in SOURCES else least_inputs(node.op) + choices(3)
    if odd:
        count = choices(6)
    reach = earlier + (4 if choices(12) == 0 else 0)
    node.input.extend(_input(choices, reach) for _ in range(count))
    node.input.extend(f"^n{choices(max(reach, 1))}" for _ in range(choices(5) // 3))
    if choices(3) == 0 or node.op == "Const":
        node.attr["value"].tensor.CopyFrom(_tensor(choices))
    if choices(3) == 0:
        node.attr["is_training"].b = bool(choices(2))
        node.attr["dtype"].type = choices(25)
    for key in ("f", "then_branch", "else_branch", "cond", "body"):
        if choices(2):
            node.attr[key].func.name = FUNCTIONS[choices(len(FUNCTIONS))]
    if choices(2):
        node.attr["branches"].list.func.add().name = FUNCTIONS[choices(len(FUNCTIONS))]
    if choices(8) == 0:
        node.attr["num_outs"].i = choices(5) - 2


def _input(choices, reach):
    if choices(200) == 0:
        return ("^", "", ":", "n0:-1", "n0:999999999999", "n0:output:1", "\u1234")[choices(7)]
    return f"n{choices(max(reach, 1))}{('', '', '', ':1', ':2')[choices(5)]}"


def _tensor(choices):
    tensor = protos.message("TensorProto")()
    tensor.dtype = choices(25)
    for _ in range(choices(3)):
        tensor.tensor_shape.dim.add().size = choices(4) - 1
    choice = choices(6)
    if choice == 0:
        tensor.tensor_content = bytes(choices(256) for _ in range(choices(20)))
    elif choice == 1:
        tensor.bool_val.append(bool(choices(2)))
    elif choice == 2:
        tensor.int_val.append(choices(5) - 1)
    elif choice == 3:
        tensor.float_val.append((0.0, 1.0, 1e-3, float("nan"), float("inf"))[choices(5)])
    elif choice == 4:
        tensor.half_val.append(choices(70000) - 1000)
    return tensor


def _small_networks(loaded=[]):  # noqa: B006  # read once
    if not loaded:
        for path in sorted(glob.glob(os.path.join(NETWORKS, "resnet_v2_50-*.xz"))):
            with lzma.open(path) as file:
                loaded.append(file.read())
    return loaded
