"""Constant folding, compared with what TensorFlow computes."""

import itertools
import math

import numpy as np
import pytest
from support.analysis.graph_defs import message_of
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.analysis.dataflow.constant_folding import _FOLDS, can_fold, fold
from bnguard.analysis.dataflow.deadness import selected_port
from bnguard.analysis.ir.protos import DATA_TYPES, message

NUMBERS = [0, 1, -1, 2, 7, -3, 2**24 + 1, 2**31 - 1]
REALS = [float(np.float32(value)) for value in (0, 1, -1.5, 0.1, 3, 1e30, np.inf, -np.inf, np.nan)]
BOOLS = [False, True]
BINARY = {
    **dict.fromkeys(["AddV2", "Sub", "Mul", "Maximum", "Minimum"], (NUMBERS, REALS)),
    **dict.fromkeys(["FloorDiv", "FloorMod"], (NUMBERS,)),
    **dict.fromkeys(["Greater", "GreaterEqual", "Less", "LessEqual"], (NUMBERS, REALS)),
    **dict.fromkeys(["Equal", "NotEqual"], (NUMBERS, REALS, BOOLS)),
    **dict.fromkeys(["LogicalAnd", "LogicalOr"], (BOOLS,)),
}
CASTS = {
    "DT_BOOL": tf.bool,
    "DT_INT8": tf.int8,
    "DT_INT32": tf.int32,
    "DT_INT64": tf.int64,
    "DT_UINT8": tf.uint8,
    "DT_FLOAT": tf.float32,
    "DT_DOUBLE": tf.float64,
}


def computing(op_type, kind, **attributes):
    """Return the function of values of a type that TensorFlow computes; None where it refuses."""
    dtype = {bool: tf.bool, int: tf.int64, float: tf.float32}[kind]
    graph = tf.Graph()
    session = tf.Session(graph=graph)
    with graph.as_default():
        inputs = [tf.placeholder(dtype, []) for _ in range(len({"Cast": "x"}.get(op_type, "xy")))]
        op = getattr(tf.raw_ops, op_type)(**dict(zip("xy", inputs)), **attributes)

    def computed(*values):
        try:
            return session.run(op, dict(zip(inputs, values)))
        except tf.errors.InvalidArgumentError:
            return None

    return computed


@pytest.mark.parametrize("op_type", sorted(BINARY))
def test_a_folded_value_is_the_one_that_tensorflow_computes(op_type):
    folded_any = False
    for values in BINARY[op_type]:
        computed = computing(op_type, type(values[0]))
        for pair in itertools.product(values, repeat=2):
            folded = fold(op_type, dict, list(pair))
            if folded is not None:
                expected = computed(*pair)
                assert expected in (folded, np.float32(folded)), (op_type, pair)
                folded_any = True
    assert folded_any


@pytest.mark.parametrize("target", sorted(CASTS))
def test_a_folded_cast_is_the_one_that_tensorflow_computes(target):
    attributes = message("NodeDef")().attr
    attributes["DstT"].type = DATA_TYPES[target]
    for values in (BOOLS, NUMBERS, REALS):
        computed = computing("Cast", type(values[0]), DstT=CASTS[target])
        for value in values:
            folded = fold("Cast", lambda: attributes, [value])
            if folded is not None:
                expected = computed(value)
                both_nan = folded != folded and math.isnan(expected)
                assert both_nan or expected == CASTS[target].as_numpy_dtype(folded), value


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e30, -1.0, 10**400])
def test_a_cast_out_of_the_range_of_an_integer_type_has_no_value(value):
    attributes = message("NodeDef")().attr
    attributes["DstT"].type = DATA_TYPES["DT_UINT8"]
    assert fold("Cast", lambda: attributes, [value]) is None


def test_half_of_the_operands_may_decide():
    assert fold("LogicalAnd", dict, [None, False]) is False
    assert fold("LogicalOr", dict, [True, None]) is True
    assert fold("LogicalAnd", dict, [None, True]) is None
    assert fold("Mul", dict, [None, 0]) == 0
    assert fold("SelectV2", dict, [None, 3, 3]) == 3
    assert fold("SelectV2", dict, [None, 3, 4]) is None


def test_an_op_that_is_not_understood_is_not_folded():
    assert not can_fold("Conv2D")


ODD = [None, True, False, 0, -1, 3, 1 << 63, 10**400, -(10**400), 0.5, -0.0, 1e308]
ODD += [float("inf"), float("-inf"), float("nan"), b"", b"x"]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_no_operands_are_too_odd(count):
    """Whatever a file or a feed gives, the result is a scalar or not known."""
    operands = ODD if count < 3 else ODD[::2]
    for op_type in [*_FOLDS, "Cast"]:
        for to in DATA_TYPES.values() if op_type == "Cast" else [0]:
            attributes = message("NodeDef")().attr
            attributes["DstT"].type = to
            for inputs in itertools.product(operands, repeat=count):
                found = fold(op_type, lambda made=attributes: made, list(inputs))
                assert found is None or isinstance(found, (bool, int, float, bytes))


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("to", ["DT_BOOL", "DT_INT8", "DT_INT64", "DT_FLOAT", "DT_COMPLEX64"])
def test_a_switch_on_the_cast_of_any_fed_value(value, to):
    nodes = [("c", "Placeholder"), ("cast", "Cast", "c"), ("x", "Placeholder")]
    nodes += [("s", "Switch", "x", "cast"), ("v/moving_mean", "VariableV2")]
    nodes += [("w", "AssignAdd", "v/moving_mean", "s:1"), ("y", "Identity", "w")]
    graph = message_of(nodes)
    graph.node[1].attr["DstT"].type = DATA_TYPES[to]
    report = bnguard.audit(graph, "y", {"c": value, "x": None}, select=["BN101"])
    cast = fold("Cast", lambda: graph.node[1].attr, [value])
    assert len(report.findings) == (0 if selected_port(cast, 2) == 0 else 1)
