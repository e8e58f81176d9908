"""Test unusual inputs: not finite, empty, a single example, every dtype, extreme sizes.

The closed form gives the expected values. On TensorFlow 1.15 the original layers are compared with
them, too. The exceptions are an empty batch, after which the original statistics stay NaN, and
update ops run in inference, which may make an original statistic NaN (docs/layers.md).
"""

import functools
import gc
import itertools

import numpy as np
import pytest
from support.layers.layer_session import LayerSession, batches
from support.layers.numpy_layer import NumpyLayer
from support.samples import combinations
import tensorflow.compat.v1 as tf

from bnguard import batch_norm, batch_normalization, create_train_op
from bnguard.layers.kernels import has_fused_bfloat16

pytestmark = pytest.mark.slow

UPDATE_OPS = tf.GraphKeys.UPDATE_OPS
SHAPES = {2: (4, 3), 4: (3, 2, 2, 3)}
STATISTICS = ("moving_mean", "moving_variance")
BATCH_NORM = ["batch_norm", "contrib"]
ORIGINALS = ["contrib", "tf.layers"] if tf.__version__ < "2" else []
NAMES = ["batch_norm", "batch_normalization", *ORIGINALS]
KERNELS_AND_MODES = [*itertools.product([None, False], ["tensor", True, False]), (True, "tensor")]
# The default run has every choice once for each layer; BNGUARD_CASES=all has all combinations.
CASES = [
    (name, rank, fused, mode, updates)
    for name in NAMES
    for rank, (fused, mode), updates in combinations(
        [2, 4], KERNELS_AND_MODES, [None, UPDATE_OPS] if name in BATCH_NORM else [UPDATE_OPS]
    )
]
OURS = [case for case in CASES if case[0] not in ORIGINALS]


def call(name, x, mode, fused=None, updates=UPDATE_OPS, **options):
    """Build the layer of this name, with a decay of 0.9 and a scale."""
    if name in BATCH_NORM:
        function = batch_norm
        if name == "contrib":
            from tensorflow.contrib.layers import batch_norm as function
        options = {"scale": True, "updates_collections": updates, **options}
        return function(x, 0.9, is_training=mode, fused=fused, **options)
    function = tf.layers.batch_normalization if name == "tf.layers" else batch_normalization
    return function(x, momentum=0.9, training=mode, fused=fused, **options)


@functools.lru_cache(maxsize=None)
def built(name, rank, fused, mode, updates):
    """Build a layer for batches of any size, in a session, once for all tests."""
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None] * (rank - 1) + [3])
        training = tf.placeholder(tf.bool, []) if mode == "tensor" else None
        y = call(name, x, mode if training is None else training, fused, updates)
        return LayerSession(x, y, training)


class Run:
    """A layer at its initial values, and its closed form."""

    def __init__(self, name, rank, fused, mode, updates):
        self.layer = built(name, rank, fused, mode, updates)
        self.trains, self.infers = mode is not False, mode is not True
        self.restart()
        fuses = fused is not False and (rank == 4 or name in BATCH_NORM)
        self.expected = NumpyLayer([3], range(rank - 1), bessel=fuses)
        adds_unset_moments = fuses and rank == 4 and mode == "tensor" and updates is not None
        self.may_be_corrupted = name in ORIGINALS and adds_unset_moments

    def variables(self):
        with self.layer.y.graph.as_default():
            return self.layer.variables()

    def assert_expected(self):
        values = self.variables()
        for name in STATISTICS:
            assert_close(values[name], getattr(self.expected, name))

    def assert_unchanged(self, since):
        """Compare bit for bit; restart an original that inference may have corrupted."""
        for name, value in self.variables().items():
            if self.may_be_corrupted:
                value = np.where(np.isnan(value), since[name], value)
            assert value.tobytes() == since[name].tobytes(), name
        if self.may_be_corrupted:
            self.restart()

    def restart(self):
        self.layer.session.run(self.layer.y.graph.get_operation_by_name("init"))


def assert_close(value, expected):
    """Compare with float32 tolerance; where the closed form is infinite, NaN is accepted."""
    finite = np.isfinite(expected)
    assert (np.isfinite(value) == finite).all()
    np.testing.assert_allclose(value[finite], expected[finite], atol=1e-5)


@pytest.fixture
def run(request):
    return Run(*request.param)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("run", CASES, indirect=True, ids=str)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_value_that_is_not_finite_affects_its_channel_only(run, bad):
    (good, bad_batch), since = batches(SHAPES[run.layer.x.shape.ndims], 2), run.variables()
    bad_batch[0, ..., 1] = bad
    if run.infers:
        y = run.layer.infer(bad_batch)
        assert_close(y, run.expected.infer(bad_batch))
        assert np.isfinite(y[1:]).all()  # the other rows
        run.assert_unchanged(since)
    if run.trains:
        for batch in (good, bad_batch, good):
            assert_close(run.layer.train(batch), run.expected.train(batch))
            run.assert_expected()
        for name in STATISTICS:
            assert list(np.isfinite(run.variables()[name])) == [True, False, True]


@pytest.mark.parametrize(
    ("run", "empty"),
    [(case, empty) for case in OURS for empty in (["rows", "width"] if case[1] == 4 else ["rows"])],
    indirect=["run"],
    ids=str,
)
def test_an_empty_batch_changes_nothing(run, empty):
    (batch,) = batches(SHAPES[run.layer.x.shape.ndims], 1)
    nothing = batch[:0] if empty == "rows" else batch[:, :, :0]
    if run.trains:
        run.layer.train(batch)  # so that the statistics differ from their initial values
        run.expected.train(batch)
    since = run.variables()
    for mode in [True] * run.trains + [False] * run.infers:
        y = run.layer.train(nothing) if mode else run.layer.infer(nothing)
        assert y.shape == nothing.shape
        run.assert_unchanged(since)
    if run.trains:
        run.layer.train(batch), run.expected.train(batch)
        run.assert_expected()


@pytest.mark.parametrize("options", [{"zero_debias_moving_mean": True}, {"renorm": True}], ids=str)
@pytest.mark.parametrize("mode", ["tensor", True])
def test_an_empty_batch_changes_nothing_under_any_rule(mode, options):
    x, training = tf.placeholder(tf.float32, [None, 3]), tf.placeholder_with_default(True, [])
    layer = LayerSession(
        x, call("batch_norm", x, training if mode == "tensor" else True, **options)
    )
    (batch,) = batches(SHAPES[2], 1)
    layer.train(batch)
    since = layer.variables()
    layer.train(batch[:0])
    for name, value in layer.variables().items():
        assert value.tobytes() == since[name].tobytes(), name
    layer.train(batch)
    assert layer.variables()["moving_mean"].tobytes() != since["moving_mean"].tobytes()


@pytest.mark.parametrize("run", CASES, indirect=True, ids=str)
def test_a_batch_of_one_example_has_variance_0(run):
    """Bessel's correction would divide by 0, so the fused variance is 0, too."""
    (batch,) = batches((1,) * (run.layer.x.shape.ndims - 1) + (3,), 1)
    since = run.variables()
    if run.infers:
        np.testing.assert_allclose(run.layer.infer(batch), run.expected.infer(batch), atol=1e-5)
        run.assert_unchanged(since)
    if run.trains:
        assert not run.layer.train(batch).any()
        run.expected.bessel = False
        run.expected.train(batch)
        run.assert_expected()
        np.testing.assert_allclose(run.variables()["moving_variance"], 0.9, atol=1e-6)


@pytest.fixture(autouse=True, scope="module")
def _garbage_of_other_modules():
    """Collect it now: TensorFlow logs a warning when a tensor that nothing used is collected."""
    gc.collect()


@pytest.mark.parametrize("name", ["batch_norm", "batch_normalization"])
@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 3)])
def test_a_batch_with_single_values_is_warned_of_once(caplog, name, shape):
    x = tf.placeholder(tf.float32, shape, name="row")
    with caplog.at_level("WARNING", logger="tensorflow"):
        call(name, x, True)
    (record,) = caplog.records
    message = record.getMessage()
    assert "inputs row:0 has shape" in message
    assert "the batch's variance is 0" in message
    assert "Train on larger batches" in message


@pytest.mark.parametrize("name", ["batch_norm", "batch_normalization"])
@pytest.mark.parametrize(
    ("shape", "mode"), [((1, 3), False), ((2, 3), True), ((None, 3), True), ((1, 2, 1, 3), True)]
)
def test_other_batches_cause_no_warning(caplog, name, shape, mode):
    with caplog.at_level("WARNING", logger="tensorflow"):
        call(name, tf.placeholder(tf.float32, shape), mode)
    assert not caplog.records


@pytest.mark.parametrize("rank", [2, 4])
def test_a_train_op_stops_at_an_example_that_is_not_finite(rank):
    (batch,) = batches(SHAPES[rank], 1)
    x = tf.placeholder(tf.float32, batch.shape)
    y = call("batch_norm", x, True)
    train_op = create_train_op(tf.reduce_mean(y), tf.train.GradientDescentOptimizer(0.1))
    layer = LayerSession(x, y, updates=[])
    since = layer.variables()
    batch[0, ..., 0] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="LossTensor is inf or nan"):
        layer.run(train_op, batch)
    for name, value in layer.variables().items():
        assert value.tobytes() == since[name].tobytes(), name


TOLERANCES = {"float16": 4e-3, "bfloat16": 4e-2, "float64": 1e-12}


@pytest.mark.parametrize(
    ("dtype", "name", "rank", "fused"),
    combinations(
        list(TOLERANCES),
        ["batch_norm", "batch_normalization"],
        [2, 4],
        [None, False],
    ),
)
def test_floating_types_match_the_closed_form(dtype, name, rank, fused):
    dtype, atol = tf.as_dtype(dtype), TOLERANCES[dtype]
    training = tf.placeholder(tf.bool, [])
    x = tf.placeholder(dtype, [None] * (rank - 1) + [3])
    layer = LayerSession(x, call(name, x, training, fused), training)
    has_kernel = dtype != tf.float64 and (dtype != tf.bfloat16 or has_fused_bfloat16())
    fuses = fused is None and (rank == 4 or name == "batch_norm") and has_kernel
    expected = NumpyLayer([3], range(rank - 1), bessel=fuses)
    kept = tf.float64 if dtype == tf.float64 else tf.float32
    assert layer.y.dtype == dtype
    assert {variable.dtype.base_dtype for variable in tf.global_variables()} == {kept}
    for batch in batches(SHAPES[rank], 2):
        batch = batch.astype(dtype.as_numpy_dtype)
        exact = batch.astype(np.float64)
        y = layer.train(batch).astype(np.float64)
        np.testing.assert_allclose(y, expected.train(exact), atol=atol)
        y = layer.infer(batch).astype(np.float64)
        np.testing.assert_allclose(y, expected.infer(exact), atol=8 * atol, rtol=atol)
        for name in STATISTICS:
            value = layer.variables()[name]
            np.testing.assert_allclose(value, getattr(expected, name), rtol=min(atol, 1e-3))


@pytest.mark.parametrize(
    ("name", "shape", "fused"),
    combinations(
        ["batch_norm", "batch_normalization"], [(4, 0), (2, 2, 2, 0)], [None, True, False]
    ),
)
def test_inputs_without_channels_are_not_fused(graph, name, shape, fused):
    """The fused kernel of TensorFlow 1.15 divides by their number, which ends the process."""
    x, training = tf.placeholder(tf.float32, [None, *shape[1:]]), tf.placeholder(tf.bool, [])
    layer = LayerSession(x, call(name, x, training, fused), training)
    assert not [op for op in graph.get_operations() if op.type.startswith("FusedBatchNorm")]
    assert layer.train(np.zeros(shape)).shape == layer.infer(np.zeros(shape)).shape == shape


@pytest.mark.parametrize(
    ("name", "shape"),
    combinations(["batch_norm", "batch_normalization"], [(2, 10**6), (1, 1, 2, 10**6)]),
)
def test_a_million_channels_match_the_closed_form(name, shape):
    x = tf.placeholder(tf.float32, shape)
    layer = LayerSession(x, call(name, x, True))
    fuses = len(shape) == 4 or name == "batch_norm"
    expected = NumpyLayer(shape[-1:], range(len(shape) - 1), bessel=fuses)
    (batch,) = batches(shape, 1)
    np.testing.assert_allclose(layer.train(batch), expected.train(batch), atol=1e-3)
    for name in STATISTICS:
        value = layer.variables()[name]
        np.testing.assert_allclose(value, getattr(expected, name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["batch_norm", "batch_normalization"])
def test_a_mode_fed_as_a_number_is_true_unless_0(name):
    """The session converts it to a bool before the layer sees it."""
    x, training = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.bool, [])
    layer = LayerSession(x, call(name, x, training))
    (batch,) = batches(SHAPES[2], 1)
    since = layer.variables()
    layer.session.run([layer.y, layer.updates], {x: batch, training: 0.0})
    for variable, value in layer.variables().items():
        assert value.tobytes() == since[variable].tobytes(), variable
    for true in (1.0, 0.5, np.nan):
        since = layer.variables()
        layer.session.run([layer.y, layer.updates], {x: batch, training: true})
        assert (layer.variables()["moving_mean"] != since["moving_mean"]).all()


@pytest.mark.parametrize("mode", [0, 1, np.int64(0), np.int32(1)])
@pytest.mark.parametrize("name", ["batch_norm", "batch_normalization", *ORIGINALS])
def test_the_mode_0_is_false_and_1_is_true(name, mode):
    call(name, tf.placeholder(tf.float32, [4, 3]), mode)
    assert len(tf.get_collection(UPDATE_OPS)) == (2 if mode else 0)
