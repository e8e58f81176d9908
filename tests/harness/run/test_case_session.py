"""A graph that TensorFlow refuses is one line, and TensorFlow's switches are restored."""

import numpy as np
import pytest
from support.graphs import build_with
from support.programs.tf1_programs import fails_with
import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError
from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.case_file import CaseFile
from bnguard.harness.cases.loading import LoadedCase
from bnguard.harness.claims import StatisticsStillAtInference
from bnguard.harness.run.case_session import CaseSession
from bnguard.harness.run.options import BuildOptions


def assign_in_a_branch(fused):
    """Build a graph that TensorFlow refuses for ref variables under control flow v2."""
    x = tf.placeholder(tf.float32, [None, 1])
    variable = tf.get_variable("v", [1], initializer=tf.zeros_initializer())
    y = tf.cond(
        tf.constant(True),
        lambda: tf.identity(tf.assign_add(variable, [1.0])),
        lambda: tf.constant([0.0]),
    )
    return Model(x, [Training(y)], Inference(x + y))


def session(build, options, path="repro/branch.py"):
    file = CaseFile("branch", "repro", path)
    case = LoadedCase(file, Case(StatisticsStillAtInference()), build, build)
    return CaseSession(case, options, lambda: build(None))


def test_a_combination_that_tensorflow_refuses_is_named():
    with pytest.raises(BnguardError) as caught:
        session(assign_in_a_branch, BuildOptions("no", "ref", "v2"))
    message = str(caught.value)
    assert f"repro/branch.py: phase build fails on TensorFlow {tf.__version__} with" in message
    assert "with ref variables, control flow v2 and fused=no: " in message
    assert "_ref" in message  # TensorFlow's own words
    assert "other --variables or another --control-flow" in message
    assert len(message.splitlines()) == 1


def test_a_refusal_inside_a_branch_is_not_blamed_on_the_case_file(tmp_path):
    """TensorFlow 2.7 and later would remove its own frames from tracebacks."""
    path = tmp_path / "branch.py"
    path.write_text(
        "import tensorflow.compat.v1 as tf\n"
        "def build(fused):\n"
        "    wide = tf.zeros([2, 3])\n"
        "    tf.cond(tf.placeholder(tf.bool, []), lambda: tf.matmul(wide, wide), lambda: wide)\n"
    )
    names = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    with fails_with("repro/branch.py: phase build fails on TensorFlow", "with ref variables"):
        session(names["build"], BuildOptions("no", "ref", "v1"), str(path))


def test_the_same_graph_is_built_where_tensorflow_allows_it():
    for variables, control_flow in [("ref", "v1"), ("resource", "v1"), ("resource", "v2")]:
        with session(assign_in_a_branch, BuildOptions("no", variables, control_flow)) as built:
            built.initialize()


@pytest.mark.parametrize("before", [True, False])
def test_the_switches_are_restored(before):
    with build_with(*(("resource", "v2") if before else ("ref", "v1"))):
        for options in (BuildOptions("no", "ref", "v1"), BuildOptions("no", "resource", "v2")):
            with session(assign_in_a_branch, options):
                pass
            assert tf.resource_variables_enabled() == tf.control_flow_v2_enabled() == before


def averaging(fused):
    """Build an average of the batches in `bn`."""
    x = tf.placeholder(tf.float32, [None, 1])
    with tf.variable_scope("bn"):
        mean = tf.get_variable("moving_mean", [1], initializer=tf.zeros_initializer())
        variance = tf.get_variable("moving_variance", [1], initializer=tf.ones_initializer())
    updates = [
        tf.assign(statistic, 0.9 * statistic + 0.1 * moment)
        for statistic, moment in zip((mean, variance), tf.nn.moments(x, [0]))
    ]
    return Model(x, [Training(tf.group(*updates))], Inference(x - mean))


def test_every_run_sees_the_variables_as_the_run_before_left_them(tmp_path):
    batch = np.array([[1.0], [3.0]])
    with session(averaging, BuildOptions("no", "ref", "v1")) as running:
        running.initialize()
        now, means = running.statistics(), []
        for _ in range(2):
            (run,) = running.train(batch, now)
            now = {"bn": run.layers["bn"].expected}
            means.append(run.layers["bn"].statistics.mean)
            assert run.layers["bn"].absorbed == "batch"
        np.testing.assert_allclose(means, [[0.2], [0.38]], rtol=1e-6)
        np.testing.assert_allclose(running.statistics()["bn"].mean, [0.38], rtol=1e-6)
        saved = running.save(str(tmp_path / "model"))
        running.initialize()
        assert running.statistics()["bn"].mean == [0.0]
        running.restore(saved)
        np.testing.assert_allclose(running.statistics()["bn"].mean, [0.38], rtol=1e-6)
