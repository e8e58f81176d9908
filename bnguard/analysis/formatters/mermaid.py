"""For a page: the path of each defect as a Mermaid flowchart.

https://mermaid.js.org/syntax/flowchart.html
"""

from __future__ import annotations

from typing import Iterator, Sequence

from bnguard.analysis.findings import Finding, Report, group


def render(reports: Sequence[Report]) -> str:
    """One flowchart with a subgraph for each defect, from what is fetched to the op at fault."""
    lines = ["flowchart LR"]
    groups = [members for report in reports for members in group(report.findings)]
    for number, members in enumerate(groups):
        lines += _subgraph(f"g{number}", members)
    if not groups:
        lines.append('  clean["nothing found"]')
    return "\n".join(lines)


def _subgraph(key: str, members: Sequence[Finding]) -> Iterator[str]:
    shortest = min(members, key=lambda one: len(one.path))
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
    """A quoted label; Mermaid reads markup in it, so that this is escaped."""
    escaped = [
        "".join(c if c.isalnum() or c in " /_-.:,()" else f"#{ord(c)};" for c in line)
        for line in lines
    ]
    return '"' + "<br/>".join(escaped) + '"'
