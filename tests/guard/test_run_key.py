"""Run keys: fetches and feeds in every form that Session.run accepts."""

from collections import namedtuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bnguard.guard.run_key import RunKey, fed_scalar, run_key_of

Pair = namedtuple("Pair", "left right")


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [2], name="x")
        tf.identity(x, name="y")
        tf.no_op(name="train")
        tf.get_variable("ref", [2], use_resource=False)
        tf.get_variable("resource", [2], use_resource=True)
        tf.placeholder(tf.int64, [2], name="places")
        yield graph


@pytest.mark.parametrize(
    ("fetches", "names"),
    [
        (lambda t: t("y:0"), ["y:0"]),
        (lambda t: "y:0", ["y:0"]),
        (lambda t: "train", ["train"]),
        (lambda t: t("y:0").op, ["y"]),
        (lambda t: [t("x:0"), (t("y:0"), "train")], ["x:0", "y:0", "train"]),
        (lambda t: {"b": t("y:0"), 3: {"a": t("x:0")}}, ["y:0", "x:0"]),
        (lambda t: Pair(t("y:0"), t("x:0")), ["y:0", "x:0"]),
        (lambda t: [t("y:0"), t("y:0")], ["y:0"]),
        (lambda t: tf.global_variables(), ["ref:0", "resource/Read/ReadVariableOp:0"]),
        (lambda t: tf.IndexedSlices(t("y:0"), t("places:0")), ["y:0", "places:0"]),
        (lambda t: [], []),
        (lambda t: ["nosuch:0", 3, None, t("y:0")], ["y:0"]),
    ],
)
def test_fetches_of_every_form_are_named(graph, fetches, names):
    assert list(run_key_of(graph, fetches(graph.get_tensor_by_name), None).fetches) == names


def test_feeds_are_named_and_only_flags_keep_their_values(graph):
    x = graph.get_tensor_by_name("x:0")
    feed = {x: [1, 2], "y:0": np.bool_(True)}
    assert run_key_of(graph, [], feed).feeds == (("x:0", None), ("y:0", True))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (np.bool_(False), False),
        (np.array(True), True),
        (3, 3),
        (np.int64(3), 3),
        ("train", b"train"),
        (b"train", b"train"),
        (0.5, 0.5),
        (np.float32(1), 1.0),
        ([True], True),
        (np.array([[True]]), True),
        (float("nan"), None),
        ([True, False], None),
        (np.ones(2), None),
        ([], None),
        (None, None),
    ],
)
def test_a_flag_is_one_bool_number_or_string(value, expected):
    assert fed_scalar(value) == expected
    assert type(fed_scalar(value)) is type(expected)


def test_a_fed_number_has_the_type_of_its_tensor():
    with tf.Graph().as_default() as graph:
        flag, share = tf.placeholder(tf.bool, []), tf.placeholder(tf.float32, [])
        (_, fed_flag), (_, fed_share) = run_key_of(graph, [], {flag: 1, share: 0.1}).feeds
    assert fed_flag is True
    assert fed_share == np.float32(0.1)


def test_a_run_key_is_printed_as_fetches_and_flags():
    assert str(RunKey(("y:0", "train"), (("x:0", None), ("flag:0", False)))) == (
        "y:0, train with flag:0=False"
    )
    assert str(RunKey(("y:0",), (("x:0", None),))) == "y:0"
