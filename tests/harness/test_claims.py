"""Claims on hand-made records: the two clear verdicts, and every way to be unclear."""

from dataclasses import replace

from bnguard.harness.claims import StatisticsStillAtInference
from bnguard.harness.record import Pass, Record, Step
from closed_form import DECAY, EPSILON, output
import numpy as np
import pytest

MEAN, VARIANCE = np.array([1.0, 2.0], np.float32), np.array([3.0, 4.0], np.float32)
X = np.array([[2.0, 5.0]], np.float32)
MOVED = {
    "bn/moving_mean": (DECAY * MEAN + (1 - DECAY) * X[0]).astype(np.float32),
    "bn/moving_variance": (DECAY * VARIANCE).astype(np.float32),
}


def one_pass(session, drift=False, reads="before", y=None):
    before = {"bn/beta": np.zeros(2), "bn/moving_mean": MEAN, "bn/moving_variance": VARIANCE}
    after = {**before, **(MOVED if drift else {})}
    step = Step(
        x=X,
        y=output(X, MEAN, VARIANCE) if y is None else y,
        check=(X - MEAN) / (np.sqrt(VARIANCE) + EPSILON),
        beta=np.zeros(2),
        gamma=np.ones(2),
        moving_mean=after["bn/moving_mean"],
        moving_variance=after["bn/moving_variance"],
        reads=reads,
    )
    return Pass(session, before, after, (step,), expected=MOVED)


def record(side, *passes):
    return Record("case", side, "2.21.0", "ref", "v1", "no", passes, None, ())


def judge(side, *passes):
    return StatisticsStillAtInference().judge(record(side, *passes))


def test_nothing_moved_is_still_and_the_fixed_sides_claim():
    passes = one_pass("trained"), one_pass("restored")
    assert judge("fixed", *passes)[:2] == ("still", True)
    assert judge("repro", *passes)[:2] == ("still", False)


@pytest.mark.parametrize("reads", ["before", "after", "mixed"])
def test_moved_by_the_recurrence_is_drift_whatever_the_outputs_read(reads):
    passes = one_pass("trained", drift=True), one_pass("restored", drift=True, reads=reads)
    assert judge("repro", *passes)[:2] == ("drift", True)
    assert judge("fixed", *passes)[:2] == ("drift", False)


def moved_otherwise():
    one = one_pass("trained", drift=True)
    return [replace(one, after={**one.after, "bn/moving_mean": MEAN + 1})]


def beta_moved_too():
    one = one_pass("trained", drift=True)
    return [replace(one, after={**one.after, "bn/beta": np.ones(2)})]


@pytest.mark.parametrize(
    ("passes", "reason"),
    [
        (moved_otherwise(), "the recurrence over its rows gives"),
        (beta_moved_too(), "bn/beta moved in the trained session; only statistics should"),
        (
            [one_pass("trained", drift=True), one_pass("restored")],
            "moved in one session and stood still in the other",
        ),
        ([one_pass("trained", drift=True, reads="other")], "neither before nor after its step"),
        ([one_pass("trained", reads="other")], "does not follow from the statistics"),
        (
            [one_pass("trained"), one_pass("restored", y=output(X, MEAN, VARIANCE) + 1e-6)],
            "The trained and the restored session answer differently",
        ),
    ],
)
def test_anything_else_is_unclear_and_shows_neither_sides_claim(passes, reason):
    for side in ("repro", "fixed"):
        verdict = judge(side, *passes)
        assert verdict[:2] == ("unclear", False)
        assert any(reason in sentence for sentence in verdict.reasons)


def test_reasons_give_the_numbers():
    late = one_pass("trained", drift=True, reads="after")
    reasons = judge("repro", late).reasons
    assert "1 inferences in the trained session: bn/moving_mean moved by 0.3," in reasons[0]
    assert reasons[1].startswith("1 of 1 outputs read statistics that the same step had updated")


def test_a_nan_that_stays_is_not_a_move():
    one = one_pass("trained")
    nan = {name: value * np.nan for name, value in one.before.items()}
    assert replace(one, before=nan, after=dict(nan)).drift["bn/moving_mean"] == 0.0
