"""The checkpoint of each case's repro side is rescued, or needs no rescue, or cannot be rescued."""

from click.testing import CliRunner
import numpy as np
import pytest
from scipy import stats
from support import samples
from support.graphs import build_with
from support.layers.layer_kinds import moments
import tensorflow.compat.v1 as tf

import bnguard
from bnguard import checkpoint_reader
from bnguard.cli import commands
from bnguard.harness.cases import catalogue, loading
from bnguard.harness.cases.docstring import Docstring
from bnguard.harness.cases.errors import UnavailableError

pytestmark = pytest.mark.slow

STEPS, BATCH = 8, 4
VERDICTS = {name: Docstring(catalogue.find(name, "repro")).rescue[0] for name in catalogue.names()}
SAMPLE = ["gan_mixed_stats", "saver_trainable_only", "two_branch_cond"]
TRAINED_STATISTICS = {"stats_in_trainable_collection", "training_flag_default_false"}
FOREIGN = {"update_ops_pull_other_inputs": "teacher/bn"}  # what another network's inputs damage


def cases(verdict, sample=()):
    """Return the cases with a verdict; those of the sample alone in the default run."""
    names = [name for name, found in VERDICTS.items() if found == verdict]
    assert set(sample) <= set(names)
    return names if samples.EVERY or not sample else list(sample)


class Program:
    """The program of one side of a case, in a graph and session of its own."""

    def __init__(self, case, side, serve=""):
        try:
            loaded = loading.load(catalogue.find(case, side))
        except UnavailableError as unavailable:
            pytest.skip(str(unavailable))
        self.model = loaded.serve(False, serve) if serve else loaded.build(False)
        self.saver = self.model.saver or tf.train.Saver()
        self.session = tf.Session(self.model.target)
        self.session.run(tf.global_variables_initializer())

    def train(self, batches):
        for batch in batches:
            for training in self.model.training:
                self.session.run(training.fetch, {self.model.x: batch, **training.feed})

    def infer(self, rows):
        run = self.model.inference
        inputs = self.model.x if run.inputs is None else run.inputs
        fetches = [run.output, inputs, *run.beside]
        return self.session.run(fetches, {self.model.x: rows, **run.feed})[:2]

    def data(self, batches):
        """Return what each layer has to describe: its inputs in all batches, by scope."""
        found = {}
        for batch in batches:
            for training in self.model.training:
                feed = {self.model.x: batch, **training.feed}
                for scope, inputs in self.model.data.items():
                    tensor = inputs.get(self._due(training, scope, inputs))
                    if isinstance(tensor, tf.Tensor):
                        values = self.session.run(tensor, feed)
                        found.setdefault(scope, []).append(values)
        return {scope: np.concatenate(values) for scope, values in found.items()}

    def _due(self, training, scope, inputs):
        """Return the name of a layer's data in a run; a frozen layer describes its only data."""
        is_frozen = not any(each.due(scope, inputs) in inputs for each in self.model.training)
        return next(iter(inputs)) if is_frozen else training.due(scope, inputs)

    def values(self):
        return {v.op.name: np.array(self.session.run(v)) for v in tf.global_variables()}


@pytest.fixture
def program():
    programs = []

    def make(case, side, serve=""):
        programs.append(Program(case, side, serve))
        return programs[-1]

    with build_with("ref", "v1"), tf.Graph().as_default():
        yield make
    for each in programs:
        each.session.close()


@pytest.fixture
def draw():
    """Draw rows of a case's data."""
    random = np.random.RandomState(1006)

    def draw(case, count):
        data = loading.load(catalogue.find(case, "repro")).case
        normal = stats.multivariate_normal(data.mean, data.deviation**2)
        shape = (count, *data.spatial, len(data.mean))
        values = normal.rvs(int(np.prod(shape[:-1])), random_state=random)
        return np.float32(values).reshape(shape)

    return draw


def damaged(case, program, draw):
    """Train the repro side and infer with it; return it, and its batches."""
    trained = program(case, "repro")
    batches = [draw(case, BATCH) for _ in range(STEPS)]
    if case in FOREIGN:
        other = tf.get_default_graph().get_tensor_by_name("teacher/x:0")
        for batch in batches:
            trained.session.run(
                trained.model.training[0].fetch, {trained.model.x: batch, other: batch * 7}
            )
    else:
        trained.train(batches)
    for _ in range(3):
        trained.infer(draw(case, 1))
    return trained, batches


def rescue_by_command(prefix, batches, placeholder, *args):
    np.savez(f"{prefix}.npz", **{placeholder: np.concatenate(batches)})
    arguments = ["reestimate", prefix, "--data", f"{prefix}.npz", "--batch-size", str(BATCH), *args]
    result = CliRunner().invoke(commands.cli, arguments)
    assert result.exit_code == 0, result.output
    assert "the weights were trained with its present values" not in result.output
    return f"{prefix}-reestimated"


def rescue(case, trained, batches, tmp_path):
    """Rescue a checkpoint as the case's docstring says; return its values."""
    prefix = trained.saver.save(trained.session, str(tmp_path / "model"))
    x = trained.model.x.op.name
    if case == "gan_mixed_stats":
        return rescue_discriminator(prefix, batches)
    if case == "gradient_accumulation_updates":
        feeds = [{"x:0": batch, "part:0": part} for batch in batches for part in (0, 1)]
        bnguard.reestimate(trained.session, feeds)
        return trained.values()
    scope = ("--scope", FOREIGN[case].partition("/")[0]) if case in FOREIGN else ()
    output = rescue_by_command(prefix, batches, "teacher/x" if scope else x, *scope)
    return checkpoint_reader.read(output)


def rescue_discriminator(prefix, batches):
    """Restore the discriminator in a graph that applies it to real data alone."""
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        bnguard.batch_norm(x, decay=0.9, scale=True, fused=False, scope="d/bn")
        with tf.Session() as session:
            tf.train.Saver().restore(session, prefix)
            bnguard.reestimate(session, [{x: batch} for batch in batches])
            return {v.op.name: session.run(v) for v in tf.global_variables()}


def infer_repaired(case, values, program, rows):
    """Return what the fixed side infers with the rescued values, and its layer's inputs."""
    with tf.Graph().as_default():
        repaired = program(case, "fixed")
        for variable in tf.global_variables():
            name = variable.op.name
            if case == "unshared_inference_statistics":
                name = name.replace("bn/", "BatchNorm_1/")
            if name in values:
                variable.load(values[name], repaired.session)
        return repaired.infer(rows)


@pytest.mark.parametrize("case", cases("Yes", SAMPLE))
def test_a_rescued_checkpoint_fits_the_data_and_infers_as_in_training_mode(
    case, program, draw, tmp_path
):
    trained, batches = damaged(case, program, draw)
    before = trained.values()
    values = rescue(case, trained, batches, tmp_path)
    data = trained.data(batches)
    if case in FOREIGN:
        data = {FOREIGN[case]: np.concatenate(batches)}
    data.pop("g/bn", None)  # the generator's is not in the graph of the discriminator
    if case == "target_network_statistics_not_copied":
        data["target/bn"] = data["online/bn"]
    assert data
    for scope, inputs in data.items():
        mean, variance = moments(inputs)
        np.testing.assert_allclose(values[f"{scope}/moving_mean"], mean, 1e-5)
        np.testing.assert_allclose(values[f"{scope}/moving_variance"], variance, 1e-5)
    for name in before:
        if "moving_" not in name and name in values:
            assert values[name].tobytes() == before[name].tobytes(), name
    if case in FOREIGN:
        return  # inference reads the other network
    scope = next(iter(trained.model.data))
    mean, variance = moments(data[scope])
    rows = np.concatenate(batches)
    y, inputs = infer_repaired(case, values, program, rows)
    expected = (inputs - mean) / np.sqrt(variance + trained.model.epsilon)
    expected *= values.get(f"{scope}/gamma", 1)
    expected += values.get(f"{scope}/beta", 0)
    np.testing.assert_allclose(y, expected, 1e-4, 1e-4)


@pytest.mark.parametrize("case", cases("Not needed", ["restore_misses_stats"]))
def test_a_checkpoint_that_needs_no_rescue_is_right(case, run_case):
    record = run_case(case, "repro", train_steps=STEPS, infer_steps=1)
    values = checkpoint_reader.read(record.checkpoints.before)
    (layer,) = record.training[-1].layers.values()
    np.testing.assert_allclose(values["bn/moving_mean"], layer.expected.mean, 1e-5)
    np.testing.assert_allclose(values["bn/moving_variance"], layer.expected.variance, 1e-5)


@pytest.mark.parametrize("case", cases("No"))
def test_weights_that_were_trained_with_the_statistics_need_them(case, program, draw):
    """Before: inference is what training computes. With the moments of the data it is not."""
    trained, batches = damaged(case, program, draw)
    rows = np.concatenate(batches)
    loss = tf.losses.get_losses()[0]

    def loss_in_training():
        feeds = {trained.model.x: rows, **trained.model.training[0].feed}
        return trained.session.run(loss, feeds)

    before = loss_in_training(), trained.infer(rows)[0]
    with pytest.warns(RuntimeWarning, match="the weights were trained with its present values"):
        bnguard.reestimate(trained.session, [{trained.model.x: batch} for batch in batches])
    after = loss_in_training(), trained.infer(rows)[0]
    assert abs(after[0] / before[0] - 1) > 0.1
    assert np.abs(after[1] - before[1]).max() > 1


def test_those_that_cannot_be_rescued_are_told():
    assert set(cases("No")) == TRAINED_STATISTICS
    assert set(VERDICTS.values()) == {"Yes", "No", "Not needed"}
    for name in VERDICTS:
        texts = [Docstring(catalogue.find(name, side)).rescue for side in ("repro", "fixed")]
        assert texts[0] == texts[1]
        assert texts[0][1]
