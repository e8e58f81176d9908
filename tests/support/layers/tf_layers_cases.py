"""Observe tf.layers.batch_normalization in a separate process.

`python tf_layers_cases.py FILE` writes the observations to FILE. From TensorFlow 2.16 on, the
original needs tf_keras, and TF_USE_LEGACY_KERAS=1 before TensorFlow is imported. The tests of
bnguard's layer, which needs no Keras, should not run with that setting.
"""

import functools
import itertools
import os
import pickle
import subprocess
import sys
import tempfile

import tensorflow.compat.v1 as tf

from support.paths import ROOT, TESTS

SHAPES = {2: (6, 3), 3: (6, 5, 3), 4: (6, 5, 4, 3)}


def regularizer(parameter):
    return 0.1 * tf.reduce_sum(tf.square(parameter + 1))


def halve(parameter):
    return 0.5 * parameter


def adjustment(shape):
    return tf.fill(shape[-1:], 1.5), tf.fill(shape[-1:], 0.5)


VARIANTS = {
    "defaults": {},
    "no scale": {"scale": False},
    "no center": {"center": False},
    "momentum": {"momentum": 0.7},
    "epsilon": {"epsilon": 0.1},
    "beta initializer": {"beta_initializer": tf.constant_initializer([1.0, 2.0, 3.0])},
    "gamma initializer": {"gamma_initializer": tf.constant_initializer([1.0, 2.0, 3.0])},
    "mean initializer": {"moving_mean_initializer": tf.constant_initializer([1.0, 2.0, 3.0])},
    "variance initializer": {
        "moving_variance_initializer": tf.constant_initializer([1.0, 2.0, 3.0])
    },
    "initializers by name": {"beta_initializer": "ones", "gamma_initializer": "Zeros"},
    "beta regularizer": {"beta_regularizer": regularizer},
    "gamma regularizer": {"gamma_regularizer": regularizer},
    "frozen": {"trainable": False},
    "name": {"name": "mine"},
    "not fused": {"fused": False},
    "fused": {"fused": True},
    "renorm": {"renorm": True, "momentum": 0.9, "renorm_momentum": 0.8},
    "renorm clipping": {
        "renorm": True,
        "renorm_clipping": {"rmin": 0.9, "rmax": 1.1, "dmax": 0.1},
    },
    "adjustment": {"adjustment": adjustment},
    "first axis": {"axis": 1},
    "two axes": {"axis": [1, -1]},
    "virtual batches": {"virtual_batch_size": 2, "momentum": 0.9},
    "virtual batches, renorm": {"virtual_batch_size": 3, "renorm": True, "momentum": 0.9},
}


def comparable(rank, variant):
    if variant == "fused":
        return rank == 4  # the original may refuse it elsewhere
    if variant == "first axis":
        return rank == 3  # no such fused kernel for a CPU in TensorFlow 1.15
    return variant != "two axes" or rank > 2


ALL_CASES = [
    case
    for case in itertools.product([2, 3, 4], [True, False, "tensor"], list(VARIANTS))
    if comparable(case[0], case[2])
]


# The modes of the variants in the default run, in turn; a fed mode builds both of the others.
MODES_IN_TURN = ["tensor", True]


def is_sampled(rank, mode, variant):
    """Return whether the default run includes the case: each variant once, the defaults thrice."""
    if variant == "defaults":
        return (rank, mode) in [(2, "tensor"), (3, True), (4, False)]
    in_turn = MODES_IN_TURN[list(VARIANTS).index(variant) % 2]
    return mode == in_turn and rank == (3 if variant == "first axis" else 4)


# `make parity` compares all cases.
is_complete = os.environ.get("BNGUARD_PARITY") == "all"
CASES = [case for case in ALL_CASES if is_complete or is_sampled(*case)]


@functools.lru_cache(maxsize=None)
def observations():
    """Run this file as a program, and return the observations by case."""
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": f"{TESTS}:{ROOT}"}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "observations")
        subprocess.check_call([sys.executable, __file__, path], env=environment)
        with open(path, "rb") as file:
            return pickle.load(file)


def write_observations(path):
    from support.layers.observed import observe

    tf.disable_v2_behavior()
    tf.logging.set_verbosity(tf.logging.ERROR)
    layer = tf.layers.batch_normalization
    found = {}
    for case in CASES:
        rank, mode, variant = case
        found[case] = observe(layer, SHAPES[rank], {"training": mode}, **VARIANTS[variant])
    with open(path, "wb") as file:
        pickle.dump(found, file)


if __name__ == "__main__":
    write_observations(sys.argv[1])
