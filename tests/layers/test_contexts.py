"""Test the layers with a fed mode wherever TensorFlow can build or run them.

The default run has each context in a few builds; BNGUARD_CASES=all has each in all.
"""

import functools

from conftest import COMBINATIONS
import numpy as np
import pytest
from support.graphs import build_with
from support.layers.context_table import held
from support.layers.contexts import (
    CONTEXTS,
    compiled,
    jit,
    over_elements,
    repeated,
    without_optimizers,
)
from support.layers.layer_session import batches
from support.layers.numpy_layer import NumpyLayer
from support.samples import combinations
import tensorflow.compat.v1 as tf

from bnguard import batch_norm, batch_normalization
from bnguard.layers.errors import LayerError

pytestmark = pytest.mark.slow

UPDATE_OPS = tf.GraphKeys.UPDATE_OPS
SHAPE = (12, 5)
# A branch of control flow v2 cannot assign a ref variable, as several contexts do.
BUILDS = [
    (*build, fused) for build in COMBINATIONS for fused in (False, True) if build != ("ref", "v2")
]
OTHER_BUILDS = [build for build in BUILDS if build != ("ref", "v1", True)]
MODES = (False, True)  # inference first: training in place moves the statistics


def with_builds(*choices):
    """Run a test with few combinations of a build and other choices."""
    names = ("build", *(name for name, _ in choices))
    cases = combinations(BUILDS, *(values for _, values in choices))
    return pytest.mark.parametrize(names, cases)


def placeholders():
    return tf.placeholder(tf.float32, [None, SHAPE[1]]), tf.placeholder(tf.bool, [])


def in_place(fused, **options):
    """Return a function that builds a layer, `bn`, which moves its statistics in place."""
    options = {"updates_collections": None, "scope": "bn", "scale": True, **options}
    return lambda x, training: batch_norm(x, 0.9, is_training=training, fused=fused, **options)


def by_hand(fused):
    """Return a function that normalizes in a known mode, with the initial statistics."""

    def layer(x, training):
        zeros, ones = tf.zeros([5]), tf.ones([5])
        if not fused:
            moments = tf.nn.moments(x, [0]) if training else (zeros, ones)
            return tf.nn.batch_normalization(x, *moments, None, None, 0.001)
        moments = {} if training else {"mean": zeros, "variance": ones}
        images = tf.reshape(x, [-1, 1, 1, 5])
        options = {"epsilon": 0.001, "is_training": training, **moments}
        return tf.reshape(tf.nn.fused_batch_norm(images, ones, zeros, **options)[0], [-1, 5])

    return layer


def slope(y, x, **options):
    return tf.gradients(tf.reduce_sum(y**3), x, **options)[0]


def initialized(config=None):
    session = tf.Session(config=config)
    session.run(tf.global_variables_initializer())
    return session


def by_name(session, variables):
    """Return the values of variables, by the last part of their names."""
    names = [variable.name.split("/")[-1].partition(":")[0] for variable in variables]
    return dict(zip(names, map(np.array, session.run(list(variables)))))


def run_and_list_ops(session, fetches, feed):
    """Run a step; return the first fetch, and the types of the ops in the graph that ran.

    Of a Cast, the type that it casts to is told, too.
    """
    metadata = tf.RunMetadata()
    options = tf.RunOptions(output_partition_graphs=True)
    (outputs, _) = session.run(fetches, feed, options=options, run_metadata=metadata)
    nodes = [node for graph in metadata.partition_graphs for node in graph.node]
    casts = [tf.as_dtype(node.attr["DstT"].type).name for node in nodes if node.op == "Cast"]
    return outputs, {*(node.op for node in nodes), *(f"Cast to {name}" for name in casts)}


def assert_close(actual, expected, tolerance=1e-4):
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * abs(expected).max())


@with_builds(("context", list(CONTEXTS)))
def test_outputs_and_statistics_are_right(graph, context, build):
    *variables_and_control_flow, fused = build
    with build_with(*variables_and_control_flow):
        x, training = placeholders()
        built = CONTEXTS[context](in_place(fused), x, training)
    expected = NumpyLayer([5], bessel=fused)
    context = context.replace("_", " ")
    with tf.Session(config=built.config) as session:
        session.run([variable.initializer for variable in built.variables])
        session.run(tf.global_variables_initializer())
        for batch, trains in zip(batches(SHAPE, 4), (True, True, False, True)):
            outputs, ran = run_and_list_ops(
                session, [built.outputs, built.updates], {x: batch, training: trains}
            )
            assert not built.shown_by or built.shown_by in ran
            y = batch
            for _ in range(built.calls):
                y = expected.train(y) if trains else expected.infer(y)
            held(context, outputs, y)
            after = by_name(session, built.variables)
            for name in ("moving_mean", "moving_variance"):
                held(context, after[name], getattr(expected, name))


LOOPS = ["map_fn", "scan", "while_loop"]


@pytest.mark.parametrize(
    ("kind", "build", "shares"),
    [*combinations(LOOPS, COMBINATIONS, [False, True]), ("map_fn", ("resource", "v1"), False)],
)
def test_the_update_of_each_element_counts(graph, kind, build, shares):
    """TensorFlow's own moving averages count the last element alone, in map_fn and scan."""
    layer = in_place(False, reuse=tf.AUTO_REUSE)
    if shares and build == ("ref", "v2"):
        build = ("resource", "v2")
    with build_with(*build):
        x, training = tf.placeholder(tf.float32, [5, *SHAPE]), tf.placeholder(tf.bool, [])
        if shares:
            layer(x[0], False)
        outputs = over_elements(kind, lambda batch: layer(batch, training), x)
    expected = NumpyLayer([SHAPE[1]])
    rows = batches(SHAPE, 5)
    for batch in rows:
        expected.train(batch)
    with initialized() as session:
        for mode in (True, False):
            session.run(outputs, {x: rows, training: mode})
        after = by_name(session, tf.global_variables())
    for name in ("moving_mean", "moving_variance"):
        held(kind, after[name], getattr(expected, name))


@pytest.mark.parametrize(
    ("variables", "updates_collections"), combinations(["ref", "resource"], [None, UPDATE_OPS])
)
def test_iterations_that_run_at_once_are_warned_of(graph, variables, updates_collections, caplog):
    x, training = tf.placeholder(tf.float32, [5, *SHAPE]), tf.placeholder(tf.bool, [])
    options = {"updates_collections": updates_collections, "reuse": tf.AUTO_REUSE}
    for kind in ("scan", "while_loop"):
        layer = in_place(False, scope=kind, **options)
        with build_with(variables, "v1"), caplog.at_level("WARNING", logger="tensorflow"):
            over_elements(kind, lambda batch, use=layer: use(batch, training), x, 7)
            assert len(caplog.messages) == 2
            assert "a loop that runs up to 7 iterations at once" in caplog.messages[0]
            assert "AssignMovingAvg" in caplog.messages[0]
            caplog.clear()
            over_elements(kind, lambda batch, use=layer: use(batch, training), x, 1)
            over_elements(kind, lambda batch, use=layer: use(batch, False), x, 7)
        assert not caplog.messages


def in_a_cond(layer, x):
    return tf.cond(tf.placeholder_with_default(True, []), lambda: layer(x[0]), lambda: x[0])


@pytest.mark.parametrize("training", [True, "fed"])
@pytest.mark.parametrize("updates_collections", [None, UPDATE_OPS])
def test_a_ref_variable_in_a_body_of_control_flow_v2_is_refused(
    graph, training, updates_collections
):
    with build_with("ref", "v2"):
        x = tf.placeholder(tf.float32, [5, *SHAPE])
        mode = tf.placeholder(tf.bool, []) if training == "fed" else training
        layer = in_place(False, reuse=tf.AUTO_REUSE, updates_collections=updates_collections)
        layer(x[0], False)
        for build in (in_a_cond, *(functools.partial(over_elements, kind) for kind in LOOPS)):
            with pytest.raises(LayerError) as caught:
                build(lambda batch: layer(batch, mode), x)
            assert "bn/moving_mean is a ref variable" in str(caught.value)
            assert "tf.compat.v1.enable_resource_variables()" in str(caught.value)
        in_a_cond(lambda batch: layer(batch, False), x)


@pytest.mark.parametrize("options", [{}, {"renorm": True}, {"zero_debias_moving_mean": True}])
def test_a_getter_that_returns_tensors_is_refused_in_training_only(graph, options):
    def getter(getter, name, *arguments, **more):
        return tf.identity(getter(name, *arguments, **more))

    x, training = placeholders()
    with tf.variable_scope("s", custom_getter=getter):
        for mode in (True, training):
            with pytest.raises(LayerError) as caught:
                batch_norm(x, is_training=mode, **options)
            assert "the custom getter of the variable scope returned Ident" in str(caught.value)
            assert "a tensor, for a running statistic; a variable is expected" in str(caught.value)
        y = batch_norm(x, is_training=False, scope="bn")
    batch = batches(SHAPE)[0]
    with initialized() as session:
        assert_close(session.run(y, {x: batch}), NumpyLayer([SHAPE[1]]).infer(batch))


def gradient(x, training, layer):
    return slope(layer(x, training), x)


def gradient_beside_its_op(x, training, layer):
    return slope(layer(x, training), x, colocate_gradients_with_ops=True)


def gradient_built_in_a_branch(x, training, layer):
    y, takes = layer(x, training), tf.placeholder_with_default(True, [])
    return tf.cond(takes, lambda: slope(y, x), lambda: x)


def gradient_built_in_a_loop(x, training, layer):
    y = layer(x, training)
    return tf.while_loop(
        lambda index, _: index < 3,
        lambda index, total: (index + 1, total + slope(y, x)),
        [0, tf.zeros_like(x)],
    )[1]


def gradient_of_a_branch(x, training, layer):
    takes = tf.placeholder_with_default(True, [])
    return slope(tf.cond(takes, lambda: layer(x, training), lambda: x), x)


def gradient_of_a_loop(x, training, layer):
    return slope(repeated(layer, x, training, 2), x)


def second_derivative(x, training, layer):
    return slope(slope(layer(x, training), x), x)


def second_derivative_beside_its_op(x, training, layer):
    first = slope(layer(x, training), x, colocate_gradients_with_ops=True)
    return slope(first, x, colocate_gradients_with_ops=True)


DERIVATIVES = [
    gradient,
    gradient_beside_its_op,
    gradient_built_in_a_branch,
    gradient_built_in_a_loop,
    gradient_of_a_branch,
    gradient_of_a_loop,
    second_derivative,
    second_derivative_beside_its_op,
]


@with_builds(("derivative", DERIVATIVES))
def test_derivatives_are_those_of_the_branch_that_runs(graph, build, derivative):
    *variables_and_control_flow, fused = build
    # Without writes, so that the second call in a loop infers with the initial statistics, too.
    layer = in_place(fused, updates_collections="unused")
    with build_with(*variables_and_control_flow):
        x, training = placeholders()
        actual = derivative(x, training, layer)
        expected = {mode: derivative(x, mode, by_hand(fused)) for mode in MODES}
    batch = batches(SHAPE)[0]
    for config in (None, without_optimizers()):
        with initialized(config) as session:
            for mode in MODES:
                found = session.run(actual, {x: batch, training: mode})
                name = derivative.__name__.replace("_", " ")
                held(name, found, session.run(expected[mode], {x: batch}))


@pytest.mark.parametrize(
    ("dtype", "control_flow"),
    [(tf.float16, "v1"), (tf.bfloat16, "v1"), (tf.bfloat16, "v2"), (tf.float64, "v1")],
)
def test_the_gradient_of_every_type_is_that_of_the_known_mode(graph, dtype, control_flow):
    """In TensorFlow 1.15 no gradient of bfloat16 comes out of a branch."""
    x, training = placeholders()
    narrow = tf.cast(x, dtype)
    with build_with("ref", control_flow):
        derivatives = {
            mode: slope(tf.cast(in_place(False, scope=f"bn_{index}")(narrow, mode), tf.float32), x)
            for index, mode in enumerate((training, *MODES))
        }
    batch = batches(SHAPE)[0]
    with initialized() as session:
        for mode in MODES:  # each of the layers updates its own statistics
            found = session.run(derivatives[training], {x: batch, training: mode})
            np.testing.assert_array_equal(found, session.run(derivatives[mode], {x: batch}))
            assert np.any(found)


@pytest.mark.parametrize(
    ("variables", "control_flow"), combinations(["ref", "resource"], ["v1", "v2"])
)
def test_every_input_has_zero_gradients_where_its_branch_does_not_run(
    graph, variables, control_flow
):
    """A statistic has none in training; weights and adjustments have none in inference."""
    with build_with(variables, control_flow):
        x, training = placeholders()
        weights = tf.placeholder(tf.float32, [None])
        factor = tf.get_variable("factor", initializer=1.0)
        plain = in_place(False)(x, training)
        mean = next(v for v in tf.global_variables() if v.op.name == "bn/moving_mean")
        weighted = in_place(False, scope="weighted", batch_weights=weights)(x, training)
        adjusted = in_place(False, scope="adjusted", adjustment=lambda shape: (factor, 0 * factor))
        in_inference = slope(plain, mean)
        in_training = [slope(weighted, weights), slope(adjusted(x, training), factor)]
    feed = {x: batches(SHAPE)[0], weights: np.linspace(1, 2, SHAPE[0])}
    with initialized() as session:
        for mode in MODES:
            feed[training] = mode
            assert np.any(session.run(in_inference, feed)) == (not mode)
            for found in session.run(in_training, feed):
                assert np.any(found) == mode


def averages(x, training, fused):
    return batch_norm(x, 0.9, is_training=training, fused=fused)


def debiased(x, training, fused):
    return batch_norm(x, 0.9, is_training=training, fused=fused, zero_debias_moving_mean=True)


def renorm(x, training, fused):
    return batch_normalization(x, momentum=0.9, training=training, fused=fused, renorm=True)


def weighted(x, training, fused):
    weights = tf.linspace(1.0, 2.0, SHAPE[0])
    return batch_norm(x, 0.9, is_training=training, fused=fused, batch_weights=weights)


SESSIONS = {"grappler": tf.ConfigProto, "as built": without_optimizers, "jit": lambda: jit(2)}


@pytest.mark.parametrize(
    ("layer", "session", "variables", "control_flow", "fused"),
    [
        (layer, session, *build)
        for layer, session, build in [
            *combinations([averages, debiased, renorm, weighted], SESSIONS, OTHER_BUILDS),
            *combinations([averages, debiased], SESSIONS, [("ref", "v1", True)]),
        ]
    ],
)
def test_update_ops_of_an_inferring_step_change_no_bit(
    graph, layer, session, variables, control_flow, fused
):
    with build_with(variables, control_flow):
        # Of a known size: no operation is there for empty batches.
        x, training = tf.placeholder(tf.float32, SHAPE), tf.placeholder(tf.bool, [])
        step = [layer(x, training, fused), tf.get_collection(UPDATE_OPS)]
    states = []
    with initialized(SESSIONS[session]()) as running:
        for batch, mode in zip(batches(SHAPE, 20), [True] + [False] * 18 + [True]):
            running.run(step, {x: batch, training: mode})
            states.append(b"".join(v.tobytes() for v in running.run(tf.global_variables())))
    assert states[0] == states[-2]
    assert states[-2] != states[-1]


@pytest.mark.parametrize(
    ("variables", "fused", "mode"), combinations(["ref", "resource"], [False, True], MODES)
)
def test_xla_compiles_an_imported_graph_of_a_known_mode(graph, variables, fused, mode):
    """XLA refuses a Switch, so it compiles no graph with a fed mode, from any layer."""
    batch = batches(SHAPE)[0]
    with build_with(variables, "v1"):
        x, _ = placeholders()
        y = in_place(fused, updates_collections="unused")(x, mode)
        outputs = [y, slope(y, x)]
    with initialized() as session:
        expected = session.run(outputs, {x: batch})
        freeze = tf.graph_util.convert_variables_to_constants
        frozen = freeze(session, graph.as_graph_def(), [tensor.op.name for tensor in outputs])
    with tf.Graph().as_default(), tf.Session() as session:
        x2, _ = placeholders()
        imported = compiled(frozen, (x.op.name, x2), [tensor.name for tensor in outputs])
        for found, value in zip(session.run(imported, {x2: batch}), expected):
            held("compiled", found, value)


@pytest.mark.parametrize("updates_collections", [None, UPDATE_OPS])
@pytest.mark.parametrize("variables", ["ref", "resource"])
def test_a_training_step_adds_no_gradients_of_the_branch_that_did_not_run(
    graph, variables, updates_collections
):
    with build_with(variables, "v1"):
        x, training = placeholders()
        y = in_place(True, updates_collections=updates_collections)(x, training)
        gradients = tf.gradients(y, [x, *tf.trainable_variables()], grad_ys=x)
    assert [gradient.op.type for gradient in gradients] == ["Merge"] * 3
