"""Generate docs from the cases' docstrings: `python -m bnguard.harness.report.docs_pages`."""

from __future__ import annotations

import re
from typing import Sequence

from bnguard.errors import BnguardError
from bnguard.harness.cases import catalogue
from bnguard.harness.cases.case_file import CaseFile
from bnguard.harness.cases.docstring import SYMPTOM, TITLE, Docstring
from bnguard.harness.results.terms import Side

PAGE = "docs/catalogue.md"
README = "README.md"
BEGIN, END = "<!-- symptoms:begin -->", "<!-- symptoms:end -->"

_INTRODUCTION = """\
# The catalogue

Each case is a defect of batch-norm running statistics, built twice: wrong in `repro/`, right in
`fixed/`. The two files differ in the first line of their docstring and in the construction, so
the diff below each case is its fix. `bnguard compare CASE` runs both sides of a case, and
`bnguard compare --all` runs every case.

This page is generated from the docstrings by `python -m bnguard.harness.report.docs_pages`.
"""


def main() -> None:
    """Write the catalogue's page, and the table between the README's two markers."""
    cases = [catalogue.find(name, Side.REPRO) for name in catalogue.names()]
    with open(README, encoding="utf-8") as file:
        readme = file.read()
    _write(PAGE, catalogue_page(cases))
    _write(README, with_symptoms(readme, cases))


def catalogue_page(cases: Sequence[CaseFile]) -> str:
    """Return the page of all cases: docstrings, diffs and links to the public reports."""
    contents = [
        f"* [{case.name}](#{case.name}): {Docstring(case).summary(SYMPTOM)}" for case in cases
    ]
    return "\n\n".join([_INTRODUCTION + "\n" + "\n".join(contents), *map(_section, cases)]) + "\n"


def with_symptoms(readme: str, cases: Sequence[CaseFile]) -> str:
    """Return the README with the table of symptoms between its two markers.

    Raises:
      BnguardError: a marker is missing, or they are in the wrong order.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BnguardError(
            f"{README}: no {BEGIN} with an {END} after it; the table of symptoms belongs between "
            "them. Write both where the table should be."
        )
    return f"{before}{BEGIN}\n{symptom_table(cases)}\n{END}{after}"


def symptom_table(cases: Sequence[CaseFile]) -> str:
    """Return a table of symptoms: what you see, the case, how to confirm it, and the fix."""
    rows = []
    for case in cases:
        docstring = Docstring(case)
        link = f"[{case.name}]({PAGE}#{case.name})"
        confirm = docstring.summary("How to see it in your own program")
        rows.append([docstring.summary(SYMPTOM), link, confirm, docstring.summary("Fix")])
    head = ["what you see", "case", "how to confirm", "fix"]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _section(case: CaseFile) -> str:
    docstring, fixed = Docstring(case), Docstring(catalogue.find(case.name, Side.FIXED))
    paragraphs = "\n\n".join(
        f"**{heading}.** {text}"
        for heading, text in docstring.sections.items()
        if heading not in (TITLE, "Reports")
    )
    reports = "\n".join(f"* {_linked(report)}" for report in docstring.reports)
    return (
        f"## {case.name}\n\n"
        f"Wrong: {docstring.sections[TITLE]}\n"
        f"Right: {fixed.sections[TITLE]}\n\n"
        f"{paragraphs}\n\n"
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
