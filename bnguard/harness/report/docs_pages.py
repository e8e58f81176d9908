"""Write the pages made from the cases' docstrings: `python -m bnguard.harness.report.docs_pages`."""

from __future__ import annotations

import re
from typing import Sequence

from bnguard.errors import BnguardError
from bnguard.harness.cases import catalogue
from bnguard.harness.cases.catalogue import CaseFile

PAGE = "docs/catalogue.md"
README = "README.md"
BEGIN, END = "<!-- symptoms:begin -->", "<!-- symptoms:end -->"

_INTRODUCTION = """\
# The catalogue

Each defect of batch-norm running statistics twice: built wrong in `repro/`, built right in
`fixed/`. The two files differ in the first line of their docstring and in the construction, so
the diff below each case is its fix. `bnguard compare CASE` runs both sides, and
`bnguard compare --all` every case.

This page is made from the docstrings by `python -m bnguard.harness.report.docs_pages`.
"""


def main() -> None:
    """Write the catalogue's page, and the table between the README's two markers."""
    cases = [catalogue.find(name, "repro") for name in catalogue.names()]
    with open(README, encoding="utf-8") as file:
        readme = file.read()
    _write(PAGE, catalogue_page(cases))
    _write(README, with_symptoms(readme, cases))


def catalogue_page(cases: Sequence[CaseFile]) -> str:
    """The page of all cases: their stories, their diffs and the reports behind them."""
    contents = [f"* [{case.name}](#{case.name}): {case.summary('Symptom')}" for case in cases]
    return "\n\n".join([_INTRODUCTION + "\n" + "\n".join(contents), *map(_section, cases)]) + "\n"


def with_symptoms(readme: str, cases: Sequence[CaseFile]) -> str:
    """The README with the table of symptoms between its two markers.

    Raises:
      BnguardError: the markers are not there, once each and in order.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BnguardError(
            f"{README}: no {BEGIN} with an {END} after it; the table of symptoms belongs between "
            "them. Put both where it is to be."
        )
    return f"{before}{BEGIN}\n{symptom_table(cases)}\n{END}{after}"


def symptom_table(cases: Sequence[CaseFile]) -> str:
    """What you see, which case it is, how to confirm it, and the fix, in one table."""
    rows = [
        [
            case.summary("Symptom"),
            f"[{case.name}]({PAGE}#{case.name})",
            case.summary("How to see it in your own program"),
            case.summary("Fix"),
        ]
        for case in cases
    ]
    head = ["what you see", "case", "how to confirm", "fix"]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _section(case: CaseFile) -> str:
    fixed = catalogue.find(case.name, "fixed")
    told = "\n\n".join(
        f"**{heading}.** {text}"
        for heading, text in case.sections.items()
        if heading not in ("Title", "Reports")
    )
    reports = "\n".join(f"* {_linked(report)}" for report in case.reports)
    return (
        f"## {case.name}\n\n"
        f"Wrong: {case.sections['Title']}\n"
        f"Right: {fixed.sections['Title']}\n\n"
        f"{told}\n\n"
        f"```diff\n{catalogue.diff(case.name)}```\n\n"
        f"**Reports.**\n\n{reports}"
    )


def _linked(report: str) -> str:
    return re.sub(r"([\w.-]+/[\w.-]+)#(\d+)", r"[\1#\2](https://github.com/\1/issues/\2)", report)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
