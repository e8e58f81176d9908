"""The rules: one file each, with its documentation and its check, nothing else."""

from __future__ import annotations

from typing import Callable, Iterator, List, NamedTuple, Sequence, Tuple

from bnguard.audit.errors import CannotAudit
from bnguard.audit.finding import Finding
from bnguard.audit.rules import statistics_written_at_inference
from bnguard.audit.situation import Situation

SECTIONS = (
    "What it does",
    "Why is this bad",
    "Example",
    "Use instead",
    "Known false positives",
    "References",
)


class Rule(NamedTuple):
    """A rule.

    Attributes:
      code: stable, such as BN101.
      name: of the defect, such as statistics-written-at-inference.
      documentation: Markdown, with the sections above.
      check: yields the findings in a situation.
    """

    code: str
    name: str
    documentation: str
    check: Callable[[Situation], Iterator[Finding]]


RULES: Tuple[Rule, ...] = tuple(
    Rule(
        module.CODE,
        module.__name__.rpartition(".")[2].replace("_", "-"),
        (module.__doc__ or "").strip(),
        module.check,
    )
    for module in (statistics_written_at_inference,)
)


def choose(select: Sequence[str] = (), ignore: Sequence[str] = ()) -> List[Rule]:
    """The rules whose codes begin with one of `select`, if any, and with none of `ignore`.

    Raises:
      CannotAudit: no code begins so.
    """
    for code in (*select, *ignore):
        if not code or not any(rule.code.startswith(code) for rule in RULES):
            known = ", ".join(rule.code for rule in RULES)
            raise CannotAudit(f"no rule's code begins with {code!r}; the rules are {known}")
    return [
        rule
        for rule in RULES
        if rule.code.startswith(tuple(select) or "BN")
        and not rule.code.startswith(tuple(ignore))
    ]
