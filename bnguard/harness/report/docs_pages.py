"""Generate pages of the docs from the code: `python -m bnguard.harness.report.docs_pages`.

docs/catalogue.md and docs/answers.md are generated whole. Other pages contain generated parts, each
between a marker `<!-- NAME:begin -->` and a marker `<!-- NAME:end -->`.
"""

from __future__ import annotations

import lzma
import os
import re
import shlex
import subprocess
import sys
import tempfile
from typing import Dict, Iterable, List, Mapping, Sequence

from bnguard.analysis import limits
from bnguard.analysis.rules import RULES
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario import training_flags
from bnguard.errors import BnguardError
from bnguard.harness.cases import catalogue
from bnguard.harness.cases.answers import ANSWERS, Answer
from bnguard.harness.cases.case_file import CaseFile
from bnguard.harness.cases.docstring import ALSO_SAID_AS, SYMPTOM, TITLE, Docstring
from bnguard.harness.results.terms import Side

CATALOGUE = "docs/catalogue.md"
ANSWERS_PAGE = "docs/answers.md"
README = "README.md"
WHICH_DEFECT = "docs/which_defect.md"
RULES_PAGE = "docs/rules/README.md"
HOW_IT_DECIDES = "docs/how_it_decides.md"
RESCUE = "docs/rescue.md"
NETWORK = "tests/data/networks/resnet_v2_50-updates_never_run.meta.xz"
AUDIT_COMMAND = "bnguard audit model.meta"

_INTRODUCTION = """\
# The catalogue

A case is one defect of batch-norm running statistics, on a small graph that is built twice:
`repro/CASE.py` builds it wrong, and `fixed/CASE.py` builds it right. The two files differ only in
the first line of the docstring and in the lines that build the graph, so the diff shown with each
case is its fix.

`bnguard compare CASE` runs both files of a case. `bnguard compare --all` runs every case.

This page is generated from the docstrings of the cases; `make docs` writes it.
"""

_ANSWERS_INTRODUCTION = """\
# Questions that are no defect

`bnguard list --symptom "..."` finds the cases of the catalogue, and these answers.

This page is generated; `make docs` writes it.
"""


def main() -> None:
    """Write the catalogue, and the generated parts of the other pages."""
    cases = [catalogue.find(name, Side.REPRO) for name in catalogue.names()]
    _write(CATALOGUE, catalogue_page(cases))
    _write(ANSWERS_PAGE, answers_page(ANSWERS))
    for page, parts in generated_parts(cases).items():
        _write(page, filled(page, read(page), parts))


def generated_parts(cases: Sequence[CaseFile]) -> Dict[str, Dict[str, str]]:
    """Return the generated parts of each page, by the name in their markers."""
    return {
        README: {"audit": audit_example()},
        WHICH_DEFECT: {"symptoms": symptom_table(cases)},
        RULES_PAGE: {"rules": rules_table(RULES)},
        HOW_IT_DECIDES: {
            "training-flags": training_flag_specification(),
            "limits": limits_table(all_limits()),
        },
        RESCUE: {"cases": rescue_table(cases)},
    }


def filled(page: str, text: str, parts: Mapping[str, str]) -> str:
    """Return a page's text with each part between its two markers.

    Args:
      page: the path of the page, for errors.
      text: the page's text.
      parts: the text of each part, by the name in its markers.

    Raises:
      BnguardError: a marker is missing, or the two are in the wrong order.
    """
    for name, part in parts.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, found_begin, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found_begin or not found_end:
            raise BnguardError(
                f"{page}: found no {begin} with {end} after it; expected both around the "
                f"generated part {name!r}. Write both markers where it belongs."
            )
        text = f"{before}{begin}\n{part}\n{end}{after}"
    return text


def read(path: str) -> str:
    """Return the text of a page."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def catalogue_page(cases: Sequence[CaseFile]) -> str:
    """Return the page of all cases: docstrings, diffs and links to the public reports."""
    contents = [
        f"* [{case.name}](#{case.name}): {Docstring(case).summary(SYMPTOM)}" for case in cases
    ]
    return "\n\n".join([_INTRODUCTION + "\n" + "\n".join(contents), *map(_section, cases)]) + "\n"


def answers_page(answers: Iterable[Answer]) -> str:
    """Return the page of the questions that are no case: a section for each."""
    sections = [
        f"## {answer.name}\n\n**{answer.question}** {answer.text} "
        f"See [{answer.page}]({answer.page}).\n"
        for answer in answers
    ]
    return "\n".join([_ANSWERS_INTRODUCTION, *sections])


def symptom_table(cases: Sequence[CaseFile]) -> str:
    """Return a table of the symptoms, each with a link to its case."""
    return _table(
        ["symptom", "case"],
        ([Docstring(case).summary(SYMPTOM), _link(case)] for case in cases),
    )


def rescue_table(cases: Sequence[CaseFile]) -> str:
    """Return a table of the cases: whether a trained checkpoint can be rescued, and how."""
    return _table(
        ["case", "rescued?", "how"],
        ([_link(case), *Docstring(case).rescue] for case in cases),
    )


def audit_example() -> str:
    """Run `AUDIT_COMMAND` on the committed network, and return the command and its output.

    Raises:
      BnguardError: the command did not find the network's defect.
    """
    with tempfile.TemporaryDirectory() as folder:
        with lzma.open(NETWORK) as network, open(os.path.join(folder, "model.meta"), "wb") as file:
            file.write(network.read())
        program, *arguments = shlex.split(AUDIT_COMMAND)
        audit = subprocess.run(
            [sys.executable, "-m", program, *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
    if audit.returncode != 1:
        raise BnguardError(
            f"{AUDIT_COMMAND}: ended with exit status {audit.returncode} on {NETWORK}; expected 1, "
            "for a defect that was found. Show another network, or another rule."
        )
    return f"```console\n$ {AUDIT_COMMAND}\n{audit.stdout.rstrip()}\n```"


def training_flag_specification() -> str:
    """Return how training flags are found, as the module that finds them documents it."""
    _, _, specification = (training_flags.__doc__ or "").partition("\n\n")
    return specification.strip()


def rules_table(rules: Iterable[Rule]) -> str:
    """Return a table of rules: the code, the name, and the first sentence of the documentation."""
    return _table(
        ["code", "name", "what it does"],
        ([f"[{rule.code}]({rule.code}.md)", rule.name, _summary(rule)] for rule in rules),
    )


def all_limits() -> List[limits.Limit]:
    """Return every limit of the analysis, in the order of their file."""
    return [limit for limit in vars(limits).values() if isinstance(limit, limits.Limit)]


def limits_table(all_limits: Iterable[limits.Limit]) -> str:
    """Return a table of limits: the number and its unit, the consequence, and the reason."""
    return _table(
        ["at most", "beyond it", "reason"],
        ([f"{limit:,} {limit.unit}", limit.consequence, limit.reason] for limit in all_limits),
    )


def _summary(rule: Rule) -> str:
    if not rule.summary:
        raise BnguardError(
            f"{rule.code}: its documentation has no sentence below `## What it does`; expected one "
            f"that says what the rule finds. Write it in {rule.module}."
        )
    return rule.summary


def _section(case: CaseFile) -> str:
    docstring, fixed = Docstring(case), Docstring(catalogue.find(case.name, Side.FIXED))
    paragraphs = "\n\n".join(
        f"**{heading}.** {text}"
        for heading, text in docstring.sections.items()
        if heading not in (TITLE, ALSO_SAID_AS, "Reports")
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


def _link(case: CaseFile) -> str:
    """Return a link to a case, from another page in the folder of the catalogue."""
    return f"[{case.name}]({os.path.basename(CATALOGUE)}#{case.name})"


def _linked(report: str) -> str:
    return re.sub(r"([\w.-]+/[\w.-]+)#(\d+)", r"[\1#\2](https://github.com/\1/issues/\2)", report)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
