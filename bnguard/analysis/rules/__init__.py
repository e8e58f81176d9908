"""The rules: one file each, with its documentation and its check."""

from __future__ import annotations

from typing import List, Sequence, Tuple

from bnguard.analysis.errors import AuditError
from bnguard.analysis.rules import (
    assign_left_in_frozen_graph,
    batch_statistics_at_inference,
    frozen_layer_still_updates,
    frozen_layer_uses_batch_statistics,
    mode_left_in_frozen_graph,
    statistics_never_written,
    statistics_not_saved,
    statistics_still_cold,
    statistics_trainable,
    statistics_updated_more_than_once,
    statistics_written_at_inference,
    training_flag_defaults_to_true,
    unordered_statistics_read,
    update_ops_dead_in_training,
    update_ops_never_run,
    updates_pull_other_inputs,
)
from bnguard.analysis.rules.rule import Rule

SECTIONS = (
    "What it does",
    "Why is this bad",
    "Example",
    "Use instead",
    "Known false positives",
    "References",
)

RULES: Tuple[Rule, ...] = (
    statistics_written_at_inference.RULE,
    unordered_statistics_read.RULE,
    batch_statistics_at_inference.RULE,
    training_flag_defaults_to_true.RULE,
    statistics_updated_more_than_once.RULE,
    update_ops_never_run.RULE,
    statistics_never_written.RULE,
    update_ops_dead_in_training.RULE,
    updates_pull_other_inputs.RULE,
    statistics_trainable.RULE,
    frozen_layer_still_updates.RULE,
    frozen_layer_uses_batch_statistics.RULE,
    statistics_not_saved.RULE,
    assign_left_in_frozen_graph.RULE,
    mode_left_in_frozen_graph.RULE,
    statistics_still_cold.RULE,
)
"""All rules, by code."""


def choose(select: Sequence[str] = (), ignore: Sequence[str] = ()) -> List[Rule]:
    """Return the rules whose codes start with one of `select`, if any, and with none of `ignore`.

    Raises:
      AuditError: no code starts with one of them.
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
    """Return the documentation of a rule as a Markdown page."""
    return f"# {rule.code} {rule.name}\n\n{(rule.documentation or '').strip()}\n"
