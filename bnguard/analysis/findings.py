"""Findings: what an audit finds, as data."""

from __future__ import annotations

from dataclasses import dataclass
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

ERROR, WARNING, NOTE = "error", "warning", "note"
"""The severities. A note tells what would be a defect in a step that the program may not take."""
ALREADY_TRAINED = "For a checkpoint already trained, see `bnguard reestimate`"
"""The last sentence of a remedy, where the statistics are wrong and the weights may be right."""

_SHOWN_FETCHES = 3


class Op(NamedTuple):
    """An op on a path."""

    name: str
    type: str


class Frame(NamedTuple):
    """A frame of a Python stack: the file, the line's number, the function and the line."""

    file: str
    line: int
    function: str
    text: str

    def __str__(self) -> str:
        where = f"{shown_path(self.file)}:{self.line}"
        inside = f" in {self.function}" if self.function not in ("", "<module>") else ""
        return f"{where}{inside}" + (f": {self.text}" if self.text else "")

    @property
    def is_in_file(self) -> bool:
        """Whether the code is in a file, not in a notebook's cell or a text that was executed."""
        return not (self.file.startswith("<") and self.file.endswith(">"))


class Location(NamedTuple):
    """Where a user's program built an op, or called a step.

    Attributes:
      file, line, function, text: the innermost frame that is the user's; the text may be empty.
      stack: all frames that are the user's, innermost last.
    """

    file: str
    line: int
    function: str
    text: str
    stack: Tuple[Frame, ...] = ()

    def __str__(self) -> str:
        return str(Frame(*self[:4]))

    def to_dict(self) -> Dict[str, Any]:
        """Return the JSON form; `stack` is a list of objects."""
        return {**self._asdict(), "stack": [frame._asdict() for frame in self.stack]}


def shown_path(file: str) -> str:
    """Return a path as a reader of this folder knows it."""
    folder = os.path.join(os.getcwd(), "")
    return file[len(folder) :] if file.startswith(folder) else file


def fetch_in_short(fetch: str) -> str:
    """Return the fetches of a step for a message, which names only the first of many."""
    names, separator, flags = fetch.partition(" with ")
    shown = names.split(", ")[:_SHOWN_FETCHES]
    more = names.count(", ") + 1 - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "") + separator + flags


@dataclass(frozen=True)
class Finding:
    """One defect of one variable.

    Attributes:
      rule: the code of the rule.
      severity: ERROR, WARNING or NOTE.
      certain: False if it depends on a branch that the analysis cannot decide.
      variable: the running statistic; empty if the finding is not about one.
      layer: the scope of the layer that it concerns; may be empty.
      op: the op at fault; may be empty.
      path: the ops from the fetch back to the op at fault; may be empty.
      fetch: what the step fetches or runs; may be empty.
      problem: what is wrong, without the name of the variable, so that findings with one cause can
        be grouped. It continues a sentence that starts with that name, or is a sentence itself.
      remedy: what to do.
      condition: what it depends on if it is not certain, such as `is_training:0 is True`; part of
        the problem. Empty if that has no name.
      location: where the user's program built the op at fault; None if that is not known.
    """

    rule: str
    severity: str
    certain: bool
    variable: str
    layer: str
    op: str
    path: Tuple[Op, ...]
    fetch: str
    problem: str
    remedy: str
    condition: str = ""
    location: Optional[Location] = None

    @property
    def message(self) -> str:
        """The problem and the remedy, in one line."""
        return f"{statement(self.subject, self.problem)}. {self.remedy}"

    @property
    def subject(self) -> str:
        """The variable, the layer or the op that has the problem."""
        return self.variable or self.layer or self.op

    @property
    def fingerprint(self) -> str:
        """Identify the finding across graphs and versions, by 32 hexadecimal digits.

        It is made of the rule, the layer, the variable, the op, and how bad and how certain it is
        on which condition. It does not depend on the file, on what the step is called, on numbers
        and words of the message, or on the order of the nodes.
        """
        from hashlib import sha256  # only here, as it takes longer to import than many an audit

        parts = (
            *(self.rule, self.layer, self.variable, self.op),
            *(self.severity, str(self.certain), self.condition),
        )
        return sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]

    def __str__(self) -> str:
        return f"{self.rule} {self.message}"

    def to_dict(self) -> Dict[str, Any]:
        """Return the JSON form; `path` is a list of objects with `name` and `type`."""
        return {
            **vars(self),
            "path": [op._asdict() for op in self.path],
            "location": self.location and self.location.to_dict(),
            "message": self.message,
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True)
class Assumptions:
    """What was inferred from the graph because it was not given; empty where it was given.

    Attributes:
      flags: `NAME=VALUE` of each training flag, with its value at inference.
      fetches: what an inference step fetches, one step each.
      possible_fetches: what an inference step may fetch, if the program infers from this graph.
      train_ops: what a training step runs, one step each.
      unknown: which of "fetch" and "train op" is neither given nor found in the graph.
    """

    flags: Tuple[str, ...] = ()
    fetches: Tuple[str, ...] = ()
    possible_fetches: Tuple[str, ...] = ()
    train_ops: Tuple[str, ...] = ()
    unknown: Tuple[str, ...] = ()


def defects(findings: Sequence[Finding]) -> Tuple[Finding, ...]:
    """Return the errors and warnings among findings, without the notes."""
    return tuple(finding for finding in findings if finding.severity != NOTE)


_VERBS = {"is": "are", "normalizes": "normalize", "may": "may"}


def statement(subject: str, problem: str, is_plural: bool = False) -> str:
    """Return a sentence that states the problem of a subject."""
    for verb, plural in _VERBS.items():
        if problem.startswith(f"{verb} "):
            predicate = problem[len(verb) :]
            if is_plural:
                predicate = predicate.replace(" its own ", " their own ", 1)
            return f"{subject} {plural if is_plural else verb}{predicate}"
    return f"{subject}: {problem}"


def group(findings: Sequence[Finding]) -> List[Tuple[Finding, ...]]:
    """Group the findings with one cause and one remedy, in the order of the first of each group."""
    groups: Dict[Tuple[str, str, bool, str, str, str], List[Finding]] = {}
    for finding in findings:
        cause = (
            finding.rule,
            finding.severity,
            finding.certain,
            finding.fetch,
            finding.problem,
            finding.remedy,
        )
        groups.setdefault(cause, []).append(finding)
    return [tuple(members) for members in groups.values()]


def group_fingerprint(members: Sequence[Finding]) -> str:
    """Return the fingerprint of a group: that of its first member by layer, variable and op.

    So it stays the same if a layer is added that sorts after the others.
    """
    first = min(members, key=lambda finding: (finding.layer, finding.variable, finding.op))
    return first.fingerprint


def group_statement(members: Sequence[Finding], noun: str) -> str:
    """Return a sentence that states the problem of a group.

    Args:
      members: the findings of the group.
      noun: what each is about, in the singular; several subjects are counted.
    """
    subjects = {finding.subject for finding in members}
    first = members[0]
    if len(subjects) == 1:
        return statement(first.subject, first.problem)
    return statement(f"{len(subjects)} {noun}s", first.problem, is_plural=True)
