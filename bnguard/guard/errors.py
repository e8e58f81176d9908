"""What the guards raise: the figures, the cause and the remedy. All of it survives a pickle."""

from __future__ import annotations

from typing import Iterator, NamedTuple, Optional, Sequence, Tuple

from bnguard.analysis.findings import Finding

_SHOWN = 10  # a network has a hundred statistics, and they mostly move for one reason


class Moved(NamedTuple):
    """A running statistic that changed, or was about to.

    Attributes:
      variable: its name.
      change: the largest absolute change of an element; infinite where the shape changed, and
        None where the step was not run.
      findings: what the audit says, for each fetch and each op that writes it; empty where no
        step that was seen does.
      reshaped: the types and shapes before and after, in words; empty where they are the same.
    """

    variable: str
    change: Optional[float]
    findings: Tuple[Finding, ...] = ()
    reshaped: str = ""


class Still(NamedTuple):
    """A running statistic that did not move, and why."""

    variable: str
    reason: str


class StatisticsChanged(AssertionError):  # noqa: N818 - it reads well after `raises`
    """Running statistics changed, or were about to, where nothing may change them.

    Attributes:
      where: the guard that saw it, and what it guards.
      moved: each variable with its change and what wrote it.
    """

    def __init__(self, where: str, moved: Sequence[Moved]) -> None:
        super().__init__(where, tuple(moved))
        self.where = where
        self.moved = tuple(moved)

    def __str__(self) -> str:
        lines = [self.where]
        for one in self.moved[:_SHOWN]:
            lines += _described(one)
        rest = [one.variable for one in self.moved[_SHOWN:]]
        lines += [f"  and {len(rest)} more: {', '.join(rest)}"] if rest else []
        return "\n".join([*lines, _REMEDY])


class StatisticsDidNotMove(AssertionError):  # noqa: N818 - as above
    """Running statistics stayed bit-identical where training should move them.

    Attributes:
      where: the guard that saw it, and what it guards.
      still: each variable with the reason.
    """

    def __init__(self, where: str, still: Sequence[Still]) -> None:
        super().__init__(where, tuple(still))
        self.where = where
        self.still = tuple(still)

    def __str__(self) -> str:
        lines = [self.where]
        for reason in dict.fromkeys(one.reason for one in self.still):
            names = [one.variable for one in self.still if one.reason == reason]
            lines.append(f"  {', '.join(names)}: {reason}")
        return "\n".join(lines)


_REMEDY = (
    "Expected: every running statistic bit-identical. Feed the training flag as False, fetch no "
    "update op, and build both modes in one layer; `bnguard explain BN101` has examples."
)


def _described(one: Moved) -> Iterator[str]:
    yield f"  {one.variable} {_change(one)}"
    for finding in one.findings:
        verb = "written" if finding.certain else "perhaps written"
        yield f"    {verb} by {finding.op} when {finding.fetch} is fetched"
        yield f"    path: {' <- '.join(f'{op.name} ({op.type})' for op in finding.path)}"


def _change(one: Moved) -> str:
    if one.reshaped:
        return f"changed: {one.reshaped}"
    if one.change is None:
        return "would change"
    return f"changed by up to {one.change:.6g}" if one.change else "changed in its bits only"
