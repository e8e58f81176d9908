"""The exceptions of the guards: figures, cause and remedy. They can be pickled."""

from __future__ import annotations

from typing import Iterator, NamedTuple, Optional, Sequence, Tuple

from bnguard.analysis.findings import Finding

_SHOWN = 10  # a network has a hundred statistics, which mostly change for the same reason


class Moved(NamedTuple):
    """A running statistic that changed, or that a step would have changed.

    Attributes:
      variable: its name.
      change: the largest absolute change of an element; infinite if the shape or type changed;
        None if the step was not run.
      findings: the audit's findings, one per fetch and op that writes the variable; empty if no
        recorded step writes it.
      reshaped: the types and shapes before and after, in words; empty if they are equal.
    """

    variable: str
    change: Optional[float]
    findings: Tuple[Finding, ...] = ()
    reshaped: str = ""


class Unmoved(NamedTuple):
    """A running statistic that did not change, and the reason."""

    variable: str
    reason: str


class StatisticsChanged(AssertionError):  # noqa: N818 - it reads well after `raises`
    """Running statistics changed, or a step would have changed them, where they must not change.

    Attributes:
      where: the guard that detected it, and what it guards.
      moved: each variable with its change and the ops that wrote it.
    """

    def __init__(self, where: str, moved: Sequence[Moved]) -> None:
        super().__init__(where, tuple(moved))
        self.where = where
        self.moved = tuple(moved)

    def __str__(self) -> str:
        lines = [self.where]
        for variable in self.moved[:_SHOWN]:
            lines += _described(variable)
        rest = [variable.variable for variable in self.moved[_SHOWN:]]
        lines += [f"  and {len(rest)} more: {', '.join(rest)}"] if rest else []
        return "\n".join([*lines, _REMEDY])


class StatisticsDidNotMove(AssertionError):  # noqa: N818 - as above
    """Running statistics stayed bit-identical where training must change them.

    Attributes:
      where: the guard that detected it, and what it guards.
      unmoved: each variable with the reason.
    """

    def __init__(self, where: str, unmoved: Sequence[Unmoved]) -> None:
        super().__init__(where, tuple(unmoved))
        self.where = where
        self.unmoved = tuple(unmoved)

    def __str__(self) -> str:
        lines = [self.where]
        for reason in dict.fromkeys(variable.reason for variable in self.unmoved):
            names = [variable.variable for variable in self.unmoved if variable.reason == reason]
            lines.append(f"  {', '.join(names)}: {reason}")
        return "\n".join(lines)


_REMEDY = (
    "Expected: every running statistic bit-identical. Feed the training flag as False, fetch no "
    "update op, and build both modes in one layer; see `bnguard explain BN101` for examples."
)


def _described(variable: Moved) -> Iterator[str]:
    yield f"  {variable.variable} {_change(variable)}"
    for finding in variable.findings:
        verb = "written" if finding.certain else "may be written"
        condition = f", if {finding.condition}" if finding.condition else ""
        yield f"    {verb} by {finding.op} when {finding.fetch} is fetched{condition}"
        yield f"    path: {' <- '.join(f'{op.name} ({op.type})' for op in finding.path)}"


def _change(variable: Moved) -> str:
    if variable.reshaped:
        return f"changed: {variable.reshaped}"
    if variable.change is None:
        return "would change"
    return (
        f"changed by up to {variable.change:.6g}" if variable.change else "changed in its bits only"
    )
