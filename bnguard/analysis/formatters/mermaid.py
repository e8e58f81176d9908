"""Mermaid, for pages: the path of each defect as a flowchart.

https://mermaid.js.org/syntax/flowchart.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator, Sequence

from bnguard.analysis.findings import Finding, group

if TYPE_CHECKING:
    from bnguard.analysis.report import Report


def render(reports: Sequence[Report], color: bool = False, errors: Sequence[str] = ()) -> str:
    """Return one flowchart, with a subgraph for each defect from the fetch to the op at fault."""
    groups = [members for report in reports for members in group(report.findings)]
    lines = [flowchart(groups)]
    if not groups:
        lines.append(f'  clean["nothing {"found" if reports else "could be read"}"]')
    return "\n".join(lines)


def flowchart(groups: Sequence[Sequence[Finding]]) -> str:
    """Return a flowchart with a subgraph for each group of findings with one cause."""
    lines = ["flowchart LR"]
    for number, members in enumerate(groups):
        lines += _subgraph(f"g{number}", members)
    return "\n".join(lines)


def _subgraph(key: str, members: Sequence[Finding]) -> Iterator[str]:
    shortest = min(members, key=lambda finding: len(finding.path))
    first = members[0]
    more = f" and {len(members) - 1} more" if len(members) > 1 else ""
    yield f"  subgraph {key}[{_text(f'{first.rule} {first.variable or first.op}{more}')}]"
    for position, op in enumerate(shortest.path):
        yield f"    {key}n{position}[{_text(f'{op.name}', op.type)}]"
    if not shortest.path:
        yield f"    {key}n0[{_text(first.op)}]"
    for position in range(1, len(shortest.path)):
        yield f"    {key}n{position - 1} --> {key}n{position}"
    yield "  end"


def _text(*lines: str) -> str:
    """Return a quoted label; Mermaid reads markup in it, so it is escaped."""
    escaped = [
        "".join(
            letter if letter.isalnum() or letter in " /_-.:,()" else f"#{ord(letter)};"
            for letter in line
        )
        for line in lines
    ]
    return '"' + "<br/>".join(escaped) + '"'
