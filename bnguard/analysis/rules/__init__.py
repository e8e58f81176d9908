"""The rules: one file each, with its documentation and its check, nothing else."""

from __future__ import annotations

from typing import Any, Callable, Iterator, List, NamedTuple, Sequence, Tuple

from bnguard.analysis.errors import AuditError
from bnguard.analysis.findings import Finding
from bnguard.analysis.rules import (
    assign_left_in_frozen_graph,
    batch_statistics_at_inference,
    frozen_layer_still_updates,
    statistics_never_written,
    statistics_not_saved,
    statistics_trainable,
    statistics_written_at_inference,
    training_flag_defaults_to_true,
    unordered_statistics_read,
    update_ops_dead_in_training,
    update_ops_never_run,
    updates_pull_other_inputs,
)
from bnguard.analysis.scenario.scenario import Scenario

SECTIONS = (
    "What it does",
    "Why is this bad",
    "Example",
    "Use instead",
    "Known false positives",
    "References",
)

_MODULES: Any = (
    assign_left_in_frozen_graph,
    batch_statistics_at_inference,
    frozen_layer_still_updates,
    statistics_never_written,
    statistics_not_saved,
    statistics_trainable,
    statistics_written_at_inference,
    training_flag_defaults_to_true,
    unordered_statistics_read,
    update_ops_dead_in_training,
    update_ops_never_run,
    updates_pull_other_inputs,
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
    check: Callable[[Scenario], Iterator[Finding]]


RULES: Tuple[Rule, ...] = tuple(
    Rule(
        module.CODE,
        module.__name__.rpartition(".")[2].replace("_", "-"),
        (module.__doc__ or "").strip(),
        module.check,
    )
    for module in sorted(_MODULES, key=lambda module: module.CODE)
)


def choose(select: Sequence[str] = (), ignore: Sequence[str] = ()) -> List[Rule]:
    """The rules whose codes begin with one of `select`, if any, and with none of `ignore`.

    Raises:
      AuditError: no code begins so.
    """
    for code in (*select, *ignore):
        if not code or not any(rule.code.startswith(code.upper()) for rule in RULES):
            known = ", ".join(rule.code for rule in RULES)
            raise AuditError(f"no rule's code begins with {code!r}; the rules are {known}")
    chosen, left_out = (tuple(code.upper() for code in codes) for codes in (select, ignore))
    return [
        rule
        for rule in RULES
        if rule.code.startswith(chosen or "BN") and not rule.code.startswith(left_out)
    ]


def page(rule: Rule) -> str:
    """A rule's documentation as a Markdown page."""
    return f"# {rule.code} {rule.name}\n\n{rule.documentation}\n"
