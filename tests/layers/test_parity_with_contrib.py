"""Compare batch_norm with tf.contrib.layers.batch_norm, where tf.contrib exists.

Each test builds the same program with both layers, and compares everything that a caller can see:
variables, collections, outputs, gradients and statistics, step by step. Combinations that contrib
gets wrong are left out; docs/layers.md lists them, and test_contrib.py tests them.
"""

import itertools
import os

import numpy as np
import pytest
from support import originals
from support.layers.layer_session import LayerSession, batches
from support.layers.observed import assert_same, observe
import tensorflow.compat.v1 as tf

from bnguard import batch_norm

contrib = originals.contrib(__name__).layers
UPDATE_OPS = tf.GraphKeys.UPDATE_OPS
SHAPES = {2: (6, 3), 3: (4, 5, 3), 4: (4, 5, 5, 3)}
WEIGHTS = np.array([0.5, 2.0, 1.0, 0.0, 3.0, 1.0], np.float32)


def regularizer(parameter):
    return 0.1 * tf.reduce_sum(tf.square(parameter + 1))


def adjustment(shape):
    return tf.fill(shape[-1:], 1.5), tf.fill(shape[-1:], 0.5)


VARIANTS = {
    "defaults": {},
    "scale": {"scale": True},
    "no center": {"center": False},
    "decay": {"decay": 0.7},
    "epsilon": {"epsilon": 0.1},
    "activation": {"activation_fn": tf.nn.relu},
    "initializers": {
        "scale": True,
        "param_initializers": {
            "beta": tf.constant_initializer([1.0, 2.0, 3.0]),
            "gamma": tf.constant_initializer([3.0, 2.0, 1.0]),
            "moving_mean": tf.constant_initializer([0.5, 0.1, 0.2]),
            "moving_variance": tf.constant_initializer([2.0, 3.0, 4.0]),
        },
    },
    "regularizers": {
        "scale": True,
        "param_regularizers": {"beta": regularizer, "gamma": regularizer},
    },
    "frozen": {"scale": True, "trainable": False},
    "variables collections": {
        "scale": True,
        "variables_collections": {"beta": ["b"], "gamma": ["g", "h"], "moving_mean": ["m"]},
    },
    "variables collection": {"scale": True, "variables_collections": ["all"]},
    "outputs collections": {"outputs_collections": ["outputs"]},
    "weights": {"batch_weights": WEIGHTS},
    "zero debias": {"zero_debias_moving_mean": True, "decay": 0.9},
    "renorm": {"renorm": True, "scale": True, "decay": 0.9, "renorm_decay": 0.8},
    "renorm clipping": {
        "renorm": True,
        "decay": 0.9,
        "renorm_clipping": {"rmin": 0.9, "rmax": 1.1, "dmax": 0.1},
    },
    "adjustment": {"adjustment": adjustment},
    "channels first": {"data_format": "NCHW", "scale": True},
    "scope": {"scope": "mine"},
}


def comparable(rank, fused, updates, variant):
    """Return whether contrib supports the combination and computes it correctly."""
    legacy = updates is None or "batch_weights" in VARIANTS[variant]
    if "renorm" in variant:
        return updates == UPDATE_OPS
    if variant == "adjustment":
        return not legacy  # contrib ignores it
    if variant == "regularizers":
        return not (legacy and (fused is False or rank == 3))  # contrib ignores them
    if variant == "channels first":
        return fused is False or rank == 3  # no such kernel for a CPU in TensorFlow 1.15
    return True


CASES = [
    case
    for case in itertools.product(
        [2, 3, 4], [None, False], [True, False, "tensor"], [None, UPDATE_OPS], list(VARIANTS)
    )
    if comparable(case[0], case[1], case[3], case[4])
]


# `make parity` compares all; the default run compares each variant in several modes.
SAMPLE = CASES if os.environ.get("BNGUARD_PARITY") == "all" else CASES[::7]


@pytest.mark.parametrize(("rank", "fused", "mode", "updates", "variant"), SAMPLE)
def test_same_as_contrib(rank, fused, mode, updates, variant):
    options = {"fused": fused, "updates_collections": updates, **VARIANTS[variant]}
    shape = SHAPES[rank]
    if "batch_weights" in options:
        options["batch_weights"] = options["batch_weights"][: shape[0]]
    if options.get("data_format") == "NCHW":
        shape = (shape[0], 3, *shape[1:-1])
    ours, theirs = (
        observe(layer, shape, {"is_training": mode}, **options)
        for layer in (batch_norm, contrib.batch_norm)
    )
    if fused is None and rank in (2, 4):
        collect_debiasing(theirs)
    assert_same(ours, theirs)


def collect_debiasing(seen):
    """Add the debiasing variables: contrib collects them only where it is not fused."""
    names = {name for name, _, _ in seen["variables"] if "/moving_mean/" in name}
    seen["collections"]["model_variables"] |= names


# The arguments that most programs pass, in every combination.
AXES = {
    "rank": [2, 4],
    "fused": [True, False],
    "mode": [True, False, "tensor", "variable"],
    "updates_collections": [None, UPDATE_OPS],
    "data_format": ["NHWC", "NCHW"],
    "decay": [0.7, 0.999],
    "center": [True, False],
    "scale": [True, False],
    "zero_debias_moving_mean": [True, False],
    "weighted": [True, False],
    "reused": [True, False],
}
CROSS = [
    case
    for case in itertools.product(*AXES.values())
    # TensorFlow 1.15 has no fused NCHW kernel for a CPU.
    if not (case[list(AXES).index("fused")] and "NCHW" in case)
]
CROSS_SAMPLE = CROSS if os.environ.get("BNGUARD_PARITY") == "all" else CROSS[::97]


@pytest.mark.parametrize("case", CROSS_SAMPLE, ids=str)
def test_same_as_contrib_in_combination(case):
    options = dict(zip(AXES, case))
    shape, mode = SHAPES[options.pop("rank")], {"is_training": options.pop("mode")}
    if options["data_format"] == "NCHW":
        shape = (shape[0], 3, *shape[1:-1])
    if options.pop("weighted"):
        options["batch_weights"] = WEIGHTS[: shape[0]]
    reused = options.pop("reused")
    ours, theirs = (
        observe(again(layer) if reused else layer, shape, mode, **options)
        for layer in (batch_norm, contrib.batch_norm)
    )
    if options["fused"] and "batch_weights" not in options:
        collect_debiasing(theirs)
    assert_same(ours, theirs)


def again(layer):
    """Return the layer, made to reuse variables that a layer for inference created."""

    def reusing(x, is_training, **options):
        layer(x, is_training=False, scope="bn", **options)
        # Inference creates no debiasing variables.
        reuse = tf.AUTO_REUSE if options["zero_debias_moving_mean"] else True
        return layer(x, is_training=is_training, scope="bn", reuse=reuse, **options)

    return reusing


@pytest.mark.parametrize("fused", [None, False])
def test_update_ops_have_contribs_names(fused):
    for function in (contrib.batch_norm, batch_norm):
        with tf.Graph().as_default():
            function(tf.placeholder(tf.float32, [4, 5, 5, 3]), fused=fused)
            updates = [getattr(update, "op", update) for update in tf.get_collection(UPDATE_OPS)]
            assert [update.name for update in updates] == [
                "BatchNorm/AssignMovingAvg",
                "BatchNorm/AssignMovingAvg_1",
            ]


def test_float16_outputs_are_contribs():
    outputs = []
    for function in (contrib.batch_norm, batch_norm):
        with tf.Graph().as_default():
            x = tf.placeholder(tf.float16, (4, 5, 5, 3))
            layer = LayerSession(x, function(x, fused=False, scale=True))
            assert {variable.dtype.base_dtype for variable in tf.global_variables()} == {tf.float32}
            batch = batches((4, 5, 5, 3))[0].astype(np.float16)
            outputs.append(layer.train(batch).astype(np.float32))
    np.testing.assert_allclose(*outputs, atol=4e-3)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        (None, {"updates_collections": None}, "has undefined rank"),
        ([5, 3, None], {"fused": False, "batch_weights": [1.0] * 5}, "undefined channels dim"),
        ([4, 3], {"data_format": "CHWN"}, "data_format has to be either NCHW or NHWC."),
        ([4, 3], {"renorm": True, "updates_collections": None}, "renorm is not supported with"),
        ([4, 3], {"renorm": True, "renorm_clipping": {"max": 1.0}}, "contains keys not in"),
    ],
)
def test_errors_contain_contribs_words(shape, options, words):
    for function in (contrib.batch_norm, batch_norm):
        with pytest.raises(ValueError, match=words):
            function(tf.placeholder(tf.float32, shape), **options)
