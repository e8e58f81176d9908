"""The source's experiment: the defect to the digit in repro/, its absence in fixed/."""

from itertools import product

from conftest import COMBINATIONS
import numpy as np
import pytest
from support.closed_form import (
    SOURCE_ROWS,
    output,
    running_statistics,
    source_data,
)
from support.samples import EVERY

from bnguard import checkpoint_reader
from bnguard.harness.claims import StatisticsStillAtInference
from bnguard.harness.results.terms import SIDES

pytestmark = pytest.mark.slow

CASE = "two_branch_cond"
# The default run has each class of variables and each control flow once; the first is the source's.
BUILDS = COMBINATIONS if EVERY else COMBINATIONS[::3]
STATISTICS = ("bn/moving_mean", "bn/moving_variance")
BATCHES, ROWS = source_data()
TRAINED = running_statistics(BATCHES)[-1]


@pytest.fixture(params=BUILDS, ids="-".join)
def repro(request, run_case):
    return run_case(CASE, "repro", *request.param)


@pytest.fixture(params=BUILDS, ids="-".join)
def fixed(request, run_case):
    return run_case(CASE, "fixed", *request.param)


class TestSource:
    def test_the_recurrence_itself_gives_the_table(self):
        after = running_statistics(ROWS, *TRAINED)[1:]
        for row, (mean, variance) in zip(SOURCE_ROWS, after):
            assert_prints_as(mean, row["moving_mean"])
            assert_prints_as(variance, row["moving_variance"])

    def test_repro_prints_the_table(self, repro):
        for inferred in repro.passes:
            for row, step in zip(SOURCE_ROWS, inferred.steps):
                assert_prints_as(step.x[0], row["x"])
                assert_prints_as(step.check[0], row["check"])
                assert_prints_as(step.moving_mean, row["moving_mean"])
                assert_prints_as(step.moving_variance, row["moving_variance"])

    def test_the_printed_y_is_the_outcome_of_reading_before_the_update(self):
        before = running_statistics(ROWS, *TRAINED)
        for row, x, statistics in zip(SOURCE_ROWS, ROWS, before):
            assert_prints_as(output(x[0], *statistics), row["y"])


class TestRepro:
    def test_every_row_moves_the_statistics_as_a_training_step_on_it_would(self, repro):
        for inferred in repro.passes:
            history = running_statistics(ROWS, *TRAINED)[1:]
            assert len(inferred.steps) == len(history)
            for step, (mean, variance) in zip(inferred.steps, history):
                np.testing.assert_allclose(step.moving_mean, mean, rtol=1e-5)
                np.testing.assert_allclose(step.moving_variance, variance, rtol=1e-5)

    def test_every_output_is_one_of_the_four_possible(self, repro):
        for inferred in repro.passes:
            history = running_statistics(ROWS, *TRAINED)
            for step, before, after in zip(inferred.steps, history, history[1:]):
                for channel in range(2):
                    possible = [
                        output(step.x[0, channel], mean[channel], variance[channel])
                        for mean, variance in product(*zip(before, after))
                    ]
                    distance = np.min(np.abs(np.array(possible) - step.y[0, channel]))
                    assert distance < 1e-4

    def test_reads_says_which_outcome_it_was(self, repro):
        for inferred in repro.passes:
            history = running_statistics(ROWS, *TRAINED)
            for step, before, after in zip(inferred.steps, history, history[1:]):
                from_before = np.allclose(step.y, output(step.x, *before), atol=1e-4)
                from_after = np.allclose(step.y, output(step.x, *after), atol=1e-4)
                expected = "before" if from_before else "after" if from_after else "mixed"
                assert step.reads == expected

    def test_the_checkpoint_after_evaluation_differs_in_the_statistics_alone(self, repro):
        before = checkpoint_reader.read(repro.checkpoints.before)
        after = checkpoint_reader.read(repro.checkpoints.after)
        assert {name for name in before if before[name].tobytes() != after[name].tobytes()} == set(
            STATISTICS
        )
        mean, variance = running_statistics(ROWS, *TRAINED)[-1]
        np.testing.assert_allclose(after["bn/moving_mean"], mean, rtol=1e-5)
        np.testing.assert_allclose(after["bn/moving_variance"], variance, rtol=1e-5)
        assert {name for name, change in repro.checkpoints.drift.items() if change} == set(
            STATISTICS
        )

    def test_the_verdict_is_drift(self, repro):
        assert StatisticsStillAtInference().judge(repro)[1:3] == ("drift", True)


class TestFixed:
    def test_training_gives_the_recurrence(self, fixed):
        assert_statistics(fixed.passes[0].before, *TRAINED)

    def test_every_variable_is_bit_identical_before_and_after_inference(self, fixed):
        for inferred in fixed.passes:
            assert set(inferred.before) == {"bn/beta", "bn/gamma", *STATISTICS}
            for name, value in inferred.before.items():
                assert value.tobytes() == inferred.after[name].tobytes()

    def test_every_output_is_computed_from_the_trained_statistics(self, fixed):
        for inferred in fixed.passes:
            for step in inferred.steps:
                np.testing.assert_allclose(step.y, output(step.x, *TRAINED), atol=1e-4)
                assert step.reads == "before"

    def test_both_sessions_give_the_same_outputs_to_the_bit(self, fixed):
        trained, restored = fixed.passes
        assert (trained.session, restored.session) == ("trained", "restored")
        for first, second in zip(trained.steps, restored.steps):
            assert first.x.tobytes() == second.x.tobytes()
            assert first.y.tobytes() == second.y.tobytes()

    def test_the_two_checkpoints_are_identical(self, fixed):
        before = checkpoint_reader.read(fixed.checkpoints.before)
        after = checkpoint_reader.read(fixed.checkpoints.after)
        assert_statistics(before, *TRAINED)
        for name in before:
            assert before[name].tobytes() == after[name].tobytes()

    def test_the_verdict_is_still(self, fixed):
        assert StatisticsStillAtInference().judge(fixed)[1:3] == ("still", True)


class TestFused:
    """The fused kernel corrects the variance of a batch of 4 by 4/3, as TF 1.15's table shows."""

    @pytest.mark.parametrize("fused", ["yes", "auto"])
    def test_moving_variance_carries_bessels_correction(self, run_case, fused):
        trained = running_statistics(BATCHES, correction=4 / 3)[-1]
        for side in SIDES:
            assert_statistics(
                run_case(CASE, side, *COMBINATIONS[0], fused).passes[0].before, *trained
            )

    def test_the_first_row_gives_the_published_figures(self, run_case):
        step = run_case(CASE, "repro", *COMBINATIONS[0], "yes").passes[0].steps[0]
        np.testing.assert_allclose(step.moving_variance, [1.09, 0.785], atol=5e-3)

    @pytest.mark.parametrize(("variables", "control_flow"), BUILDS)
    def test_both_sides_show_what_they_claim(self, run_case, variables, control_flow):
        for side in SIDES:
            record = run_case(CASE, side, variables, control_flow, "yes")
            assert StatisticsStillAtInference().judge(record).shown


class TestRepeated:
    @pytest.mark.slow
    def test_fixed_outputs_are_deterministic_over_several_runs(self, run_case):
        outputs = set()
        for repeat in range(6 if EVERY else 3):
            # infer_steps only tells the runs apart; the first ten rows are the same
            record = run_case(CASE, "fixed", *COMBINATIONS[0], infer_steps=10 + repeat)
            for inferred in record.passes:
                outputs.add(b"".join(step.y.tobytes() for step in inferred.steps[:10]))
        assert len(outputs) == 1


def test_swapping_the_sides_is_noticed(run_case):
    """Each construction fails the other side's claim, so the tests above can fail."""
    for side, other in (("repro", "fixed"), ("fixed", "repro")):
        record = run_case(CASE, other, *COMBINATIONS[0])
        swapped = record.__class__(**{**vars(record), "side": side})
        assert not StatisticsStillAtInference().judge(swapped).shown


def assert_statistics(values, mean, variance):
    np.testing.assert_allclose(values["bn/moving_mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values["bn/moving_variance"], variance, rtol=1e-5)


def assert_prints_as(actual, printed):
    """Equal to every digit that the source prints: three decimals."""
    np.testing.assert_allclose(actual, printed, atol=0.5001e-3, rtol=0)
