"""Claims on hand-made records: healthy ones, each defect, and each defect with one more."""

from dataclasses import replace

import numpy as np
import pytest
from support.closed_form import DECAY, EPSILON, output

from bnguard.harness.claims import (
    EveryRunTrains,
    ProgramRuns,
    RowsIndependent,
    StatisticsFollowData,
    StatisticsFollowEveryRun,
    StatisticsNotDecayed,
    StatisticsNotTrained,
    StatisticsStillAtInference,
    StatisticsSurviveRestore,
    StatisticsUpdatedOnce,
    StatisticsWarm,
    TrainingNormalizesAsDue,
)
from bnguard.harness.results import invariants
from bnguard.harness.results.closed_form import LayerStatistics, advance
from bnguard.harness.results.record import (
    Failure,
    InferencePass,
    InferenceStep,
    LayerRun,
    Record,
    TrainingRun,
)
from bnguard.harness.results.terms import Outcome, Phase, Reads

INITIAL = LayerStatistics(np.zeros(2), np.ones(2))
AFTER_ONE = LayerStatistics(np.array([0.5, 1.0]), np.array([1.4, 1.9]))
TRAINED = LayerStatistics(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
X = np.array([[2.0, 5.0]], np.float32)
MOVED = {
    "bn/moving_mean": (DECAY * TRAINED.mean + (1 - DECAY) * X[0]).astype(np.float32),
    "bn/moving_variance": (DECAY * TRAINED.variance).astype(np.float32),
}


def values(statistics=TRAINED, beta=0.5, scope="bn"):
    return {
        f"{scope}/beta": np.full(2, beta, np.float32),
        f"{scope}/moving_mean": statistics.mean.astype(np.float32),
        f"{scope}/moving_variance": statistics.variance.astype(np.float32),
    }


def step(reads=Reads.BEFORE, y=None):
    mean, variance = TRAINED
    return InferenceStep(
        x=X,
        y=output(X, mean, variance) if y is None else y,
        check=(X - mean) / (np.sqrt(variance) + EPSILON),
        beta=np.zeros(2),
        gamma=np.ones(2),
        moving_mean=mean,
        moving_variance=variance,
        reads=reads,
    )


def one_pass(session, before=None, after=None, **fields):
    before = values() if before is None else before
    after = dict(before) if after is None else after
    fields = {"layer": "bn", "steps": (step(),), "expected": MOVED, **fields}
    return InferencePass(session, before=before, after=after, **fields)


def training_run(absorbed, statistics, due="batch", expected=None, **fields):
    expected = statistics if expected is None else expected
    layer = LayerRun(due, absorbed, statistics, expected)
    return TrainingRun(
        **{"moved": ("bn/beta",), "layers": {"bn": layer}, "reads": "batch", **fields}
    )


def healthy():
    """A program that trained twice, was saved, and was restored."""
    passes = one_pass("trained"), one_pass("restored", together=step())
    training = training_run("batch", AFTER_ONE), training_run("batch", TRAINED)
    return Record(
        *("case", "fixed", "2.21.0", "ref", "v1", "no"),
        passes=passes,
        initial={"bn": INITIAL},
        training=training,
        trainable=("bn/beta",),
    )


def drifting():
    after = {**values(), **MOVED}
    passes = [
        replace(inferred, after=after, steps=(step("after"),)) for inferred in healthy().passes
    ]
    return replace(healthy(), passes=tuple(passes))


def stale():
    runs = [training_run("nothing", INITIAL, expected=due) for due in (AFTER_ONE, TRAINED)]
    return replace(healthy(), training=tuple(runs), passes=untrained_passes())


def inert():
    runs = [replace(run, reads="before") for run in stale().training]
    return replace(stale(), training=tuple(runs))


def untrained_passes():
    before = values(INITIAL)
    return one_pass("trained", before), one_pass("restored", before, together=step())


def dependent():
    passes = [replace(inferred, steps=(step("batch"),)) for inferred in healthy().passes]
    passes[1] = replace(passes[1], together=step("batch", y=X))
    return replace(healthy(), passes=tuple(passes))


def skipping():
    idle = training_run("nothing", TRAINED, due="nothing", moved=(), reads=None)
    return replace(healthy(), training=(*healthy().training, idle))


def lost():
    trained, restored = healthy().passes
    before = values(INITIAL)
    answered = step(y=output(X, *INITIAL))
    restored = replace(restored, before=before, after=dict(before), steps=(answered,))
    return replace(healthy(), passes=(trained, restored))


def failing():
    failure = Failure(Phase.SERVE, "ValueError", "incompatible with expected float_ref")
    return replace(healthy(), passes=healthy().passes[:1], failure=failure)


def descending():
    runs = [training_run("other", now, "nothing", INITIAL) for now in (AFTER_ONE, TRAINED)]
    runs = [replace(run, reads="before") for run in runs]
    trainable = ("bn/beta", "bn/moving_mean", "bn/moving_variance")
    return replace(healthy(), training=tuple(runs), trainable=trainable)


def unshared():
    """Inference reads the layer in `served`, which stands still; that of training moves."""
    return two_layers("served", "bn")


def two_layers(still, moving, absorbed="batch"):
    runs = []
    for due in (AFTER_ONE, TRAINED):
        layers = {
            still: LayerRun("batch", "nothing", INITIAL, due),
            moving: LayerRun("batch", absorbed, due, due),
        }
        runs.append(replace(training_run("batch", due), layers=layers))
    initial = {still: INITIAL, moving: INITIAL}
    return replace(stale(), training=tuple(runs), initial=initial)


def decayed(rate=0.5):
    """Each run shrinks the statistics by `rate` after the update; decay is 0.9."""
    first = LayerStatistics(*((1 - rate) * due for due in AFTER_ONE))
    behind = LayerStatistics(*(DECAY * (now - due) for now, due in zip(first, AFTER_ONE)))
    second = LayerStatistics(*((1 - rate) * (due + lag) for due, lag in zip(TRAINED, behind)))
    runs = [
        training_run("other", now, expected=due)
        for now, due in ((first, AFTER_ONE), (second, TRAINED))
    ]
    return replace(healthy(), training=tuple(runs), decay=DECAY)


def cold():
    """Two updates with a decay of 0.9 leave 81 % of the initial value."""
    return replace(healthy(), decay=0.9)


def last_only():
    """A step of two runs with a batch and one to apply them: the last run absorbs its batch."""
    runs = [
        training_run("nothing", INITIAL, expected=AFTER_ONE),
        training_run("nothing", INITIAL, expected=TRAINED),
        training_run("batch", AFTER_ONE, due="nothing", expected=TRAINED, reads=None),
    ]
    return replace(healthy(), training=tuple(runs))


def frozen_on_batch():
    runs = [training_run("nothing", TRAINED, due="nothing", reads="batch") for _ in range(2)]
    return replace(healthy(), training=tuple(runs))


def updated_twice():
    """Both updates compute their change from the value before: 0.8 v + 0.1 (a + b)."""
    negative = LayerStatistics(TRAINED.mean, np.array([-0.5, 4.0]))
    runs = [
        training_run("left + right", now, due="left", expected=due)
        for now, due in ((AFTER_ONE, TRAINED), (negative, TRAINED))
    ]
    return replace(healthy(), training=tuple(runs))


DEFECTS = [
    (StatisticsStillAtInference(), drifting),
    (StatisticsFollowData({"bn": "nothing"}), stale),
    (TrainingNormalizesAsDue(Reads.BEFORE, "inert"), inert),
    (RowsIndependent(), dependent),
    (EveryRunTrains(), skipping),
    (StatisticsSurviveRestore(), lost),
    (ProgramRuns(("float_ref", "resource"), fails_in=Phase.SERVE), failing),
    (StatisticsNotTrained(), descending),
    (StatisticsUpdatedOnce(), updated_twice),
    (TrainingNormalizesAsDue(Reads.BATCH, "batch"), frozen_on_batch),
    (StatisticsNotDecayed(0.5), decayed),
    (StatisticsWarm(), cold),
    (StatisticsFollowEveryRun(), last_only),
    (StatisticsFollowData({"served": "nothing"}, "unshared"), unshared),
]
IDS = [claim.__class__.__name__ for claim, _ in DEFECTS]


@pytest.mark.parametrize(("claim", "defect"), DEFECTS, ids=IDS)
class TestEveryClaim:
    def test_a_healthy_record_has_its_healthy_word(self, claim, defect):
        assert invariants.violations(healthy()) == []
        assert word_and_shown(claim.judge(healthy())) == (claim.healthy, True)
        assert word_and_shown(claim.judge(replace(healthy(), side="repro"))) == (
            claim.healthy,
            False,
        )

    def test_its_defect_has_its_defective_word(self, claim, defect):
        verdict = claim.judge(replace(defect(), side="repro"))
        assert word_and_shown(verdict) == (claim.defective, True), verdict.reasons
        assert word_and_shown(claim.judge(defect())) == (claim.defective, False)
        assert verdict.outcome is Outcome.DEFECTIVE

    def test_the_figure_distinguishes_the_two(self, claim, defect):
        figures = [claim.judge(record).figure for record in (healthy(), defect())]
        assert all(figures)
        assert figures[0] != figures[1]

    def test_it_does_not_accept_a_different_defect(self, claim, defect):
        for other, other_defect in DEFECTS:
            if other is not claim:
                record = replace(other_defect(), side="repro")
                assert claim.judge(record).word in ("unclear", claim.healthy)
                assert not claim.judge(record).shown, other

    def test_a_record_without_the_evidence_is_unclear(self, claim, defect):
        empty = replace(healthy(), training=(), passes=(), initial={})
        for side in ("repro", "fixed"):
            verdict = claim.judge(replace(empty, side=side))
            assert word_and_shown(verdict) == ("unclear", False)
            assert verdict.reasons

    @pytest.mark.parametrize(
        "wrong", ["beta moves", "reads other", "restores other", "trains nothing"]
    )
    def test_its_defect_with_something_else_wrong_is_unclear(self, claim, defect, wrong):
        record = {
            "beta moves": beta_moves,
            "reads other": reads_other,
            "restores other": restores_other,
            "trains nothing": trains_nothing,
        }[wrong](defect())
        if record is None:
            return
        for side in ("repro", "fixed"):
            verdict = claim.judge(replace(record, side=side))
            assert word_and_shown(verdict) == ("unclear", False), verdict.reasons


def word_and_shown(verdict):
    return verdict.word, verdict.shown


def beta_moves(record):
    first, *rest = record.passes
    return replace(record, passes=(replace(first, after={**first.after, "bn/beta": X[0]}), *rest))


def reads_other(record):
    first, *rest = record.passes
    return replace(record, passes=(replace(first, steps=(step("other"),)), *rest))


def restores_other(record):
    """A failure may have left no restored session to be wrong."""
    if len(record.passes) < 2:
        return None
    first, second = record.passes
    before, after = ({**held, "bn/beta": X[0]} for held in (second.before, second.after))
    return replace(record, passes=(first, replace(second, before=before, after=after)))


def trains_nothing(record):
    """Leave the first training run without a move."""
    first, *rest = record.training
    return replace(record, training=(replace(first, moved=()), *rest))


class TestReasons:
    def test_sentences_have_the_numbers(self):
        reasons = StatisticsStillAtInference().judge(drifting()).reasons
        assert reasons[0] == "bn absorbed batch in 2 training runs; batch was due."
        assert reasons[1].startswith(
            "1 inferences in the trained session: bn/moving_mean moved by 0.3,"
        )
        assert reasons[2] == (
            "1 of 1 outputs read statistics that the same step had updated; the session had run "
            "this fetch 0 times before."
        )

    @pytest.mark.parametrize(
        ("record", "fragments"),
        [
            (stale(), ["2 of 2 training runs moved bn by other data", "run 1 absorbed nothing"]),
            (stale(), ["bn/moving_mean is [0. 0.] after training; [1. 2.] is due"]),
            (inert(), ["2 of 2 training runs normalized by other statistics", "before"]),
            (skipping(), ["1 of 3 training runs changed no variable"]),
            (drifting(), ["bn/moving_mean moved by 0.3 in the trained session's inference"]),
            (dependent(), ["inferences in the trained session read other statistics", "batch"]),
            (lost(), ["bn/moving_mean is [0. 0.] in the restored session, and was [1. 2.]"]),
            (lost(), ["The trained and the restored session give different outputs: 1 of 1 rows"]),
            (failing(), ["It fails in phase serve: incompatible with expected float_ref"]),
        ],
    )
    def test_every_violation_is_a_sentence(self, record, fragments):
        assert any(
            all(fragment in sentence for fragment in fragments)
            for sentence in invariants.violations(record)
        )


class TestInvariants:
    def test_a_frozen_graph_may_round_differently_but_not_give_other_outputs(self):
        trained, restored = healthy().passes
        for difference, frozen, expected in [(1e-6, True, 0), (1e-6, False, 1), (1e-3, True, 1)]:
            steps = (step(y=output(X, *TRAINED) + difference),)
            other = replace(restored, steps=steps, frozen=frozen)
            violations = invariants.violations(replace(healthy(), passes=(trained, other)))
            assert len(violations) == expected

    def test_a_layer_in_another_scope_is_compared_by_its_variables(self):
        trained, restored = healthy().passes
        there = {"layer": "serving/bn", "before": values(scope="serving/bn")}
        there["after"] = there["before"]
        moved = replace(restored, **there)
        assert invariants.restored_values(replace(healthy(), passes=(trained, moved))) == []
        there["before"] = there["after"] = values(INITIAL, scope="serving/bn")
        sentences = invariants.restored_values(
            replace(healthy(), passes=(trained, replace(restored, **there)))
        )
        assert [sentence.split(" ")[0] for sentence in sentences] == [
            "serving/bn/moving_mean",
            "serving/bn/moving_variance",
        ]

    def test_a_nan_that_stays_is_not_a_move(self):
        nan = {name: value * np.nan for name, value in values().items()}
        assert one_pass("trained", nan).drift["bn/moving_mean"] == 0.0


@pytest.mark.parametrize(
    ("absorbed", "shown"), [("batch", True), ("other", False), ("nothing", False)]
)
def test_the_layers_without_the_defect_must_follow(absorbed, shown):
    record = replace(two_layers("bn", "healthy", absorbed), side="repro")
    assert StatisticsFollowData({"bn": "nothing"}).judge(record).shown is shown


class TestNotDecayed:
    def test_another_rate_is_unclear(self):
        verdict = StatisticsNotDecayed(0.5).judge(replace(decayed(0.4), side="repro"))
        assert word_and_shown(verdict) == ("unclear", False)
        assert any("the weight decay makes it [0.25 0.5 ]" in text for text in verdict.reasons)

    def test_the_recurrence_is_that_of_an_average_that_shrinks_after_each_update(self):
        batches = [np.array([[1.0, 4.0], [3.0, 8.0]]), np.array([[0.0, 1.0], [2.0, 5.0]])]
        now = due = INITIAL
        runs = []
        for batch in batches:
            due = advance(due, batch, DECAY, bessel=False)
            now = LayerStatistics(*(0.95 * new for new in advance(now, batch, DECAY, bessel=False)))
            runs.append(training_run("other", now, expected=due))
        record = replace(healthy(), training=tuple(runs), decay=DECAY, side="repro")
        assert word_and_shown(StatisticsNotDecayed(0.05).judge(record)) == ("decayed", True)


class TestWarm:
    @pytest.mark.parametrize(
        ("decay", "runs", "word", "figure"),
        [(0.9, 29, "warm", "4.7 %"), (0.9, 28, "cold", "5.2 %"), (0.999, 100, "cold", "90 %")],
    )
    def test_the_share_of_the_initial_value_is_the_decay_to_the_power_of_the_updates(
        self, decay, runs, word, figure
    ):
        last = healthy().training[-1]
        record = replace(healthy(), training=(last,) * runs, decay=decay)
        verdict = StatisticsWarm().judge(record)
        assert (verdict.word, verdict.figure) == (word, figure)

    def test_runs_in_which_nothing_is_due_are_no_updates(self):
        idle = training_run("nothing", TRAINED, due="nothing", reads="before")
        record = replace(cold(), training=(*cold().training, *[idle] * 100))
        assert StatisticsWarm().judge(record).figure == "81 %"

    def test_the_reasons_have_the_share(self):
        reasons = StatisticsWarm().judge(replace(beta_moves(cold()), side="repro")).reasons
        assert "2 updates with decay 0.9 leave 81 % of bn's initial statistics." in reasons


class TestFollowEveryRun:
    def test_a_run_that_absorbs_its_own_batch_is_unclear(self):
        _, *rest = last_only().training
        own = training_run("batch", AFTER_ONE)
        record = replace(last_only(), training=(own, *rest), side="repro")
        verdict = StatisticsFollowEveryRun().judge(record)
        assert word_and_shown(verdict) == ("unclear", False)
        assert any("absorbed batch in training run 1" in text for text in verdict.reasons)

    def test_a_last_run_that_absorbs_nothing_is_unclear(self):
        *rest, last = last_only().training
        nothing = replace(last, layers={"bn": replace(last.layers["bn"], absorbed="nothing")})
        record = replace(last_only(), training=(*rest, nothing), side="repro")
        assert word_and_shown(StatisticsFollowEveryRun().judge(record)) == ("unclear", False)


class TestUpdatedOnce:
    def test_the_figure_is_the_smallest_variance_and_the_one_due(self):
        assert StatisticsUpdatedOnce().judge(updated_twice()).figure == "-0.5 (3)"

    @pytest.mark.parametrize("absorbed", ["left", "nothing", "other"])
    def test_a_run_without_two_updates_is_unclear(self, absorbed):
        first, second = updated_twice().training
        other = training_run(absorbed, TRAINED, due="left", expected=INITIAL)
        record = replace(updated_twice(), training=(first, other, second), side="repro")
        verdict = StatisticsUpdatedOnce().judge(record)
        assert word_and_shown(verdict) == ("unclear", False)
        assert any("absorbed " + absorbed in sentence for sentence in verdict.reasons)

    def test_two_updates_where_none_is_due_are_unclear(self):
        idle = training_run("left + right", TRAINED, due="nothing", expected=INITIAL, reads=None)
        record = replace(updated_twice(), training=(*updated_twice().training, idle))
        assert StatisticsUpdatedOnce().judge(record).word == "unclear"


class TestDrift:
    """A drift is unclear unless it is the recurrence over the rows in every session."""

    @pytest.mark.parametrize("reads", ["before", "after", "mixed", "batch"])
    def test_it_is_drift_whatever_the_outputs_read(self, reads):
        passes = [replace(inferred, steps=(step(reads),)) for inferred in drifting().passes]
        record = replace(drifting(), passes=tuple(passes), side="repro")
        assert word_and_shown(StatisticsStillAtInference().judge(record)) == ("drift", True)

    def test_another_move_than_the_recurrence_is_unclear(self):
        after = {**values(), "bn/moving_mean": TRAINED.mean + 1}
        passes = [replace(inferred, after=after) for inferred in healthy().passes]
        assert_unclear(passes, "the recurrence over its rows gives")

    def test_a_move_in_one_session_only_is_unclear(self):
        passes = [drifting().passes[0], healthy().passes[1]]
        assert_unclear(passes, "moved in one session and not in the other")

    def test_a_move_of_another_variable_is_unclear(self):
        after = {**values(), **MOVED, "bn/beta": X[0]}
        passes = [replace(inferred, after=after) for inferred in healthy().passes]
        assert_unclear(passes, "bn/beta moved in the trained session; only statistics should")


def assert_unclear(passes, reason):
    record = replace(healthy(), passes=tuple(passes), side="repro")
    verdict = StatisticsStillAtInference().judge(record)
    assert word_and_shown(verdict) == ("unclear", False)
    assert any(reason in sentence for sentence in verdict.reasons)
