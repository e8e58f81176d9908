"""The exceptions of the guards: figures, cause and remedy. They can be pickled."""

from __future__ import annotations

from typing import (
    Callable,
    Dict,
    Hashable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
)

from bnguard.analysis.findings import ALREADY_TRAINED, Finding, Location, fetch_in_short
from bnguard.analysis.formatters.lines import built_at_lines, count, layer_lines, path_lines

_SHOWN = 10  # causes; a network has a hundred statistics, which mostly change for the same one
_Variable = TypeVar("_Variable", "Moved", "Unmoved")


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
    """A running statistic that did not change.

    Attributes:
      variable: its name.
      reason: why it did not change, without the names of its update ops.
      ops: its update ops.
      location: where the program built the first of them, or the variable; None if that is not
        known.
    """

    variable: str
    reason: str
    ops: Tuple[str, ...] = ()
    location: Optional[Location] = None


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
        groups = _grouped(self.moved, _cause)
        lines = [self.where]
        for members in groups[:_SHOWN]:
            lines += _described(members)
        if len(groups) > _SHOWN:
            rest = sum(map(len, groups[_SHOWN:]))
            lines.append(f"  and {count(rest, 'more running statistic')} (error.moved has all)")
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
        for members in _grouped(self.unmoved, lambda variable: variable.reason):
            lines += _explained(members)
        return "\n".join([*lines, f"{ALREADY_TRAINED}."])


_REMEDY = (
    "Expected: every running statistic bit-identical. Feed the training flag as False, fetch no "
    "update op, and build both modes in one layer; see `bnguard explain BN101` for examples."
)


def _grouped(
    variables: Sequence[_Variable], cause: Callable[[_Variable], Hashable]
) -> List[List[_Variable]]:
    groups: Dict[Hashable, List[_Variable]] = {}
    for variable in variables:
        groups.setdefault(cause(variable), []).append(variable)
    return list(groups.values())


def _cause(variable: Moved) -> Hashable:
    """Return what the variables have in common that moved for one reason."""
    steps = [(finding.fetch, finding.problem, finding.certain) for finding in variable.findings]
    return variable.reshaped, variable.change is None, variable.change == 0, tuple(steps)


def _described(members: Sequence[Moved]) -> Iterator[str]:
    largest = max(members, key=lambda variable: variable.change or 0)
    if len(members) == 1:
        yield f"  {largest.variable} {_change(largest)}"
    else:
        yield f"  {count(len(members), 'running statistic')} {_change(largest)}"
        yield from _names([variable.variable for variable in members], "error.moved")
    for findings in zip(*(variable.findings for variable in members)):
        yield from _written(findings)


def _written(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield which ops write variables in one step, and how the step comes to need them."""
    shortest = min(findings, key=lambda finding: len(finding.path))
    verb = "written" if shortest.certain else "may be written"
    condition = f", if {shortest.condition}" if shortest.condition else ""
    ops = _and_more(shortest.op, [finding.op for finding in findings])
    yield f"    {verb} by {ops} when {fetch_in_short(shortest.fetch)} is fetched{condition}"
    yield from path_lines(shortest.path)
    yield from built_at_lines([finding.location for finding in findings], "error.moved")


def _explained(members: Sequence[Unmoved]) -> Iterator[str]:
    first = members[0]
    if len(members) == 1:
        yield f"  {first.variable}: {first.reason}"
    else:
        yield f"  {count(len(members), 'running statistic')}: {first.reason}"
        yield from _names([variable.variable for variable in members], "error.unmoved")
    ops = [op for variable in members for op in variable.ops]
    if ops:
        yield f"    update op: {_and_more(ops[0], ops)}"
    yield from built_at_lines([variable.location for variable in members], "error.unmoved")


def _names(variables: Sequence[str], all_are_in: str) -> Iterator[str]:
    return layer_lines([(name.rpartition("/")[0], name) for name in variables], all_are_in)


def _and_more(shown: str, ops: Sequence[str]) -> str:
    others = len(set(ops)) - 1
    return f"{shown} and {count(others, 'more op')}" if others else shown


def _change(variable: Moved) -> str:
    if variable.reshaped:
        return f"changed: {variable.reshaped}"
    if variable.change is None:
        return "would change"
    return (
        f"changed by up to {variable.change:.6g}" if variable.change else "changed in its bits only"
    )
