"""Statistics estimated from data equal NumPy's, for each kind of layer; nothing else changes."""

import importlib.util
import os
import sys

import numpy as np
import pytest
from support.graphs import build_with
from support.layers.layer_kinds import CHANNELS, KINDS, moments, rows
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.statistics.names import role_of

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5
# The default run has each kind in one build, in turn; BNGUARD_CASES=all has each in all.
BUILDS = [("ref", "v1"), ("resource", "v2"), ("resource", "v1")]
EVERY = os.environ.get("BNGUARD_CASES") == "all"
RUNS = [
    (kind, *build)
    for number, kind in enumerate(KINDS)
    for build in (BUILDS if EVERY else [BUILDS[number % 2]])
]


def values(session):
    return {variable.op.name: session.run(variable) for variable in tf.global_variables()}


@pytest.mark.parametrize(("kind", "variables", "control_flow"), RUNS)
def test_statistics_equal_numpys(kind, variables, control_flow):
    if kind.startswith("Keras") and sys.version_info >= (3, 8):
        if importlib.util.find_spec("tf_keras") is None:
            pytest.skip("Keras 2 is not installed")
    if kind == "fused, channels first" and tf.__version__ < "2":
        pytest.skip("this TensorFlow has the fused op with channels first for GPUs only")
    with build_with(variables, control_flow), tf.Graph().as_default() as graph:
        if kind == "in a branch" and (variables, control_flow) == ("ref", "v2"):
            pytest.skip("a branch of control flow v2 cannot assign a ref variable")
        if kind == "in a function" and variables == "ref":
            pytest.skip("a function cannot capture a ref variable")
        KINDS[kind]()
        (x,) = [op.outputs[0] for op in graph.get_operations() if op.name == "x"]
        data = rows(x.shape.as_list())
        axis = 1 if "channels first" in kind else -1
        init = tf.global_variables_initializer()
        graph.finalize()
        with tf.Session() as session:
            session.run(init)
            before = values(session)
            difference = bnguard.reestimate(session, [{x: b} for b in np.array_split(data, 4)])
            after = values(session)
    mean, variance = moments(data, axis)
    expected = {
        "mean": mean,
        "variance": variance,
        "deviation": np.sqrt(variance + 1e-3),
        "biased": np.zeros(CHANNELS),  # nothing was counted, so nothing is left to debias
    }
    statistics = {name for name in after if role_of(name.partition("/part_")[0]) != "unknown"}
    assert {change.name for change in difference.changed} <= {
        name.partition("/part_")[0] for name in statistics
    }
    checked = set()
    for name in sorted({name.partition("/part_")[0] for name in statistics}):
        pieces = [after[part] for part in sorted(after) if part.partition("/part_")[0] == name]
        role = role_of(name)
        checked.add(role)
        if role in expected:
            value = np.concatenate([piece.ravel() for piece in pieces])
            np.testing.assert_allclose(value, expected[role], TOLERANCE, err_msg=name)
        else:
            np.testing.assert_array_equal(pieces[0], before[name])
    assert {"mean", "variance"} <= checked
    assert ("deviation" in checked) == ("renormalization" in kind)
    for name in set(after) - statistics:
        assert after[name].tobytes() == before[name].tobytes(), name
