"""Every case shows its defect in repro/, as claimed, and not in fixed/."""

from dataclasses import replace
from functools import lru_cache
import json

from conftest import COMBINATIONS
import numpy as np
import pytest
from scipy import stats
from support import samples
from support.closed_form import running_statistics

from bnguard import checkpoint_reader
from bnguard.errors import BnguardError
from bnguard.harness.cases import catalogue, loading
from bnguard.harness.cases.errors import UnavailableError
from bnguard.harness.report import figure
from bnguard.harness.report.json import as_json
from bnguard.harness.report.tables import print_comparison
from bnguard.harness.report.text import as_text
from bnguard.harness.results.terms import SIDES

pytestmark = pytest.mark.slow

CASES = catalogue.names()
STEPS, ROWS = 8, 3
STEPS_OF = {"cold_statistics": 30}  # 0.9 ** 30 is 4 %
FUSED = {("ref", "v2"): "auto", ("resource", "v1"): "yes"}  # the others are non-fused
# The quick loop has the first combination only.
# The default run has one build of each case, as `bnguard repro` has it.
OTHERS = COMBINATIONS[1:] if samples.EVERY else []
BUILDS = [COMBINATIONS[0], *(pytest.param(*build, marks=pytest.mark.slow) for build in OTHERS)]
REFUSED = {  # an op of a branch cannot be referred to from outside: only v2 knows that
    ("update_ops_in_control_flow", "repro", "ref", "v2"),
    ("update_ops_in_control_flow", "repro", "resource", "v2"),
}


@pytest.fixture
def run(run_case):
    """One side of a case in a small experiment; skipped where it cannot run here at all."""

    def run(case, side, variables="ref", control_flow="v1", **options):
        try:
            load(case, side)
        except UnavailableError as unavailable:
            pytest.skip(str(unavailable))
        steps = STEPS_OF.get(case, STEPS)
        options = {"fused": "no", "train_steps": steps, "infer_steps": ROWS, **options}
        return run_case(case, side, variables, control_flow, **options)

    return run


@pytest.mark.parametrize(("variables", "control_flow"), BUILDS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("case", CASES)
def test_each_side_shows_what_it_claims_or_tensorflow_refuses(
    run, case, side, variables, control_flow
):
    how = (case, side, variables, control_flow)
    fused = FUSED.get((variables, control_flow), "no")
    if how in REFUSED:
        with pytest.raises(BnguardError, match="phase build fails") as refusal:
            run(*how, fused=fused)
        assert f"{variables} variables, control flow {control_flow}" in str(refusal.value)
        assert "is not an element of this graph" in str(refusal.value)
        return
    verdict = judge(run(*how, fused=fused))
    claim = load(case, side).case.claim
    assert verdict.word == (claim.defective if side == "repro" else claim.healthy), verdict.reasons
    assert verdict.shown
    assert verdict.figure


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("case", CASES)
def test_a_construction_on_the_wrong_side_is_noticed(run, case, side):
    """With the two files swapped, neither side shows its claim, so the tests above can fail."""
    other = "fixed" if side == "repro" else "repro"
    assert not judge(replace(run(case, side), side=other)).shown


@pytest.mark.parametrize("case", CASES)
def test_no_other_claim_accepts_the_defect(run, case):
    record = run(case, "repro")
    own = load(case, "repro").case.claim
    for other in {load(name, "repro").case.claim.__class__ for name in available()}:
        if other is own.__class__:
            continue
        for name in available():
            claim = load(name, "repro").case.claim
            scopes = getattr(claim, "instead", {})
            if claim.__class__ is other and set(scopes) <= set(record.initial):
                assert not claim.judge(record).shown, f"{name}'s claim"


@pytest.mark.parametrize("case", CASES)
def test_text_and_json_show_every_record(run, case):
    judged = [(record, judge(record)) for record in (run(case, side) for side in SIDES)]
    for record, verdict in judged:
        document = json.loads(json.dumps(as_json(record, verdict), allow_nan=False))
        assert document["verdict"] == verdict.word
        assert "as this side claims" in as_text(record, verdict)
    print_comparison(judged, catalogue.diff(case))


@pytest.mark.parametrize("case", CASES if samples.EVERY else CASES[::12])
def test_the_figure_shows_every_record(run, case, tmp_path):
    figure.draw([run(case, side) for side in SIDES], str(tmp_path / "plot.svg"))
    assert (tmp_path / "plot.svg").stat().st_size


@pytest.mark.parametrize("case", CASES if samples.EVERY else CASES[::12])
def test_a_checkpoint_of_the_fixed_side_serves_without_training(run, case):
    """The flags --restore and --no-train."""
    trained = run(case, "fixed")
    record = run(case, "fixed", restore=trained.checkpoints.before, train=False)
    (only,) = record.passes
    assert (only.session, record.training) == ("restored", ())
    for name, value in trained.passes[1].before.items():
        assert only.before[name].tobytes() == value.tobytes()
    assert not any(only.drift.values())


class TestAgainstNumPy:
    """Cases whose layer sees the data itself: the statistics, recomputed here from the seed."""

    @pytest.mark.parametrize(
        ("case", "scope"),
        [
            ("updates_attached_to_loss", "bn"),
            ("update_ops_in_control_flow", "bn"),
            ("update_ops_pull_other_inputs", "student/bn"),
            ("gan_mixed_stats", "d/bn"),
        ],
    )
    def test_fixed_statistics_are_the_recurrence_over_the_batches(self, run, case, scope):
        batches, _ = data(mean=(10, -5), deviation=3)
        saved = checkpoint_reader.read(run(case, "fixed").checkpoints.before)
        assert_statistics(saved, scope, *running_statistics(batches)[-1])

    def test_each_tower_sees_its_half(self, run):
        batches, _ = data(mean=(0, 10), deviation=3)
        last = [batch[2:] + 12 for batch in batches]
        both = [np.concatenate([batch[:2], batch[2:] + 12]) for batch in batches]
        for side, seen in (("repro", last), ("fixed", both)):
            saved = checkpoint_reader.read(run("multi_tower_updates", side).checkpoints.before)
            assert_statistics(saved, "bn", *running_statistics(seen)[-1])

    def test_one_update_in_a_step_averages_the_rows_of_both_inputs(self, run):
        pairs, _ = data(mean=(10, -5, 10, -5), deviation=3)
        moments = np.array([[0.0, 0.0], [1.0, 1.0]])
        for pair in pairs:
            rows = pair.reshape(-1, 2)
            moments = 0.1 * moments + 0.9 * np.array([rows.mean(axis=0), rows.var(axis=0)])
        saved = checkpoint_reader.read(run("statistics_updated_twice", "fixed").checkpoints.before)
        assert_statistics(saved, "bn", *moments)

    def test_evaluating_the_loss_trains_on_the_rows(self, run):
        batches, rows = data(mean=(10, -5), deviation=3)
        saved = checkpoint_reader.read(run("updates_attached_to_loss", "repro").checkpoints.after)
        assert_statistics(saved, "bn", *running_statistics(batches + rows)[-1])

    @pytest.mark.parametrize(
        "case",
        ["update_ops_never_run", "control_dependency_noop", "keras_updates_not_in_collection"],
    )
    def test_updates_that_never_run_leave_zero_and_one_in_the_checkpoint(self, run, case):
        saved = checkpoint_reader.read(run(case, "repro").checkpoints.before)
        assert saved["bn/moving_mean"].tolist() == [0, 0]
        assert saved["bn/moving_variance"].tolist() == [1, 1]

    def test_trainable_statistics_go_down_the_gradient(self, run):
        batches, _ = data(mean=(10, -5), deviation=3)
        record = run("stats_in_trainable_collection", "repro")
        means, variances = descend(batches, rate=0.005)
        for run_, mean, variance in zip(record.training, means, variances):
            statistics = run_.layers["bn"].statistics
            np.testing.assert_allclose(statistics.mean, mean, rtol=1e-5)
            np.testing.assert_allclose(statistics.variance, variance, rtol=1e-5)

    @pytest.mark.parametrize("fused", ["auto", "yes"])
    def test_statistics_descend_whatever_the_kernel_option(self, run, fused):
        """The case is never fused: the fused kernel has no gradient for its statistics."""
        for side, word in (("repro", "descend"), ("fixed", "untouched")):
            verdict = judge(run("stats_in_trainable_collection", side, fused=fused))
            assert (verdict.word, verdict.shown) == (word, True)

    def test_a_mixture_is_far_from_the_real_rows(self, run):
        """Only the session knows the generated rows, and so the exact mixture."""
        batches, _ = data(mean=(10, -5), deviation=3, steps=40)
        record = run("gan_mixed_stats", "repro", train_steps=40)
        real = running_statistics(batches)[-1][0]
        assert (np.abs(record.training[-1].layers["d/bn"].statistics.mean - real) > 1).all()

    def test_an_image_is_normalized_by_its_own_moments(self, run):
        """Before the output is used, gamma is near 1 and beta near 0: the moments are 0 and 1."""
        for inferred in run("training_flag_true_at_inference", "repro", train_steps=1).passes:
            for step in inferred.steps:
                np.testing.assert_allclose(
                    step.y.mean(axis=(0, 1, 2)), inferred.after["bn/beta"], atol=1e-5
                )


class TestCheckpoints:
    def test_the_partial_saver_leaves_the_statistics_out(self, run):
        names = {
            side: set(checkpoint_reader.read(run("saver_trainable_only", side).checkpoints.before))
            for side in SIDES
        }
        assert names["fixed"] - names["repro"] >= {"bn/moving_mean", "bn/moving_variance"}
        assert names["repro"] >= {"bn/beta", "bn/gamma"}

    def test_the_partial_map_does_not_restore_the_statistics(self, run):
        record = run("restore_misses_stats", "repro")
        saved = checkpoint_reader.read(record.checkpoints.before)
        assert (saved["bn/moving_mean"] != 0).all()
        assert record.passes[1].before["serving/bn/moving_mean"].tolist() == [0, 0]
        assert record.passes[1].before["serving/bn/moving_variance"].tolist() == [1, 1]


class TestFailures:
    def test_the_train_op_asks_for_the_other_networks_placeholder(self, run):
        record = run("update_ops_pull_other_inputs", "repro")
        assert record.failure.phase == "train"
        assert "You must feed a value for placeholder tensor 'teacher/x'" in record.failure.message
        assert record.passes == ()

    @pytest.mark.parametrize(
        ("variables", "control_flow"), COMBINATIONS if samples.EVERY else COMBINATIONS[::3]
    )
    def test_the_frozen_training_graph_is_refused_at_import(self, run, variables, control_flow):
        record = run("freeze_keeps_assign", "repro", variables, control_flow)
        assert record.failure.phase == "serve"
        assert ("float_ref" if variables == "ref" else "resource") in record.failure.message
        assert [inferred.session for inferred in record.passes] == ["trained"]

    def test_the_frozen_inference_graph_answers_the_same(self, run):
        trained, restored = run("freeze_keeps_assign", "fixed").passes
        for here, there in zip(trained.steps, restored.steps):
            assert here.y.tobytes() == there.y.tobytes()

    def test_dead_updates_stop_the_step_counter_without_an_error(self, run):
        counts = {
            side: run("update_ops_in_control_flow", side).passes[0].before["global_step"]
            for side in SIDES
        }
        assert counts == {"repro": STEPS, "fixed": 2 * STEPS}


@lru_cache(maxsize=None)
def load(case, side):
    return loading.load(catalogue.find(case, side))


def available():
    for case in CASES:
        try:
            load(case, "repro")
        except UnavailableError:
            continue
        yield case


def judge(record):
    return load(record.case, record.side).case.claim.judge(record)


def data(mean, deviation, steps=STEPS):
    """The training batches and inference rows that a case with this data draws."""
    np.random.seed(1006)
    normal = stats.multivariate_normal(mean, deviation**2)
    batches = [normal.rvs(4) for _ in range(steps)]
    return batches, [normal.rvs(1).reshape(1, -1) for _ in range(ROWS)]


def descend(batches, rate, epsilon=0.001):
    """Gradient descent of the case's loss by hand: mean((gamma z + beta) w + b - t)^2."""
    mean, variance = np.array([20.0, 10.0]), np.array([25.0, 4.0])
    beta, gamma = np.zeros(2), np.ones(2)
    weights, bias = np.array([-1.0, 1.0]) / 2, 0.0
    means, variances = [], []
    for x in batches:
        std = np.sqrt(variance + epsilon)
        z = (x - mean) / std
        y = gamma * z + beta
        error = 2 * (y @ weights + bias - x[:, 0] * x[:, 1] / 5) / len(x)
        by_y = error[:, np.newaxis] * weights
        mean = mean - rate * (-by_y * gamma / std).sum(axis=0)
        variance = variance - rate * (-by_y * gamma * z / (2 * std**2)).sum(axis=0)
        weights, bias = weights - rate * error @ y, bias - rate * error.sum()
        beta, gamma = beta - rate * by_y.sum(axis=0), gamma - rate * (by_y * z).sum(axis=0)
        means.append(mean)
        variances.append(variance)
    return means, variances


def assert_statistics(values, scope, mean, variance):
    np.testing.assert_allclose(values[f"{scope}/moving_mean"], mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values[f"{scope}/moving_variance"], variance, rtol=1e-5)
