"""HTML, for people: one page with the timeline of each graph, then its findings.

The page needs no network and no script. Everything in it that comes from a graph or a program is
escaped; a policy in its head forbids the rest.
"""

from __future__ import annotations

from html import escape
from itertools import chain, takewhile
from pkgutil import get_data
import re
from typing import TYPE_CHECKING, Dict, Iterator, List, Sequence, Tuple

from bnguard.analysis.findings import Finding, Location, defects, group, shown_path, statement
from bnguard.analysis.formatters.lines import count
from bnguard.analysis.formatters.text import assumed, copies, numbers
from bnguard.analysis.rules import RULES
from bnguard.analysis.scenario.step_kinds import TRAINS, UPDATES
from bnguard.analysis.timeline import LayerUse, Timeline, TimelineStep
from bnguard.runtime.streams import printable

if TYPE_CHECKING:
    from bnguard.analysis.report import Report

_SHOWN_STEPS = 60
_SHOWN_LAYERS = 1000
_SHOWN_SUBJECTS = 4  # of a finding, before the reader unfolds all
_SHOWN_LINES = 3
_STYLE = "page.css"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_NAMES = {rule.code: rule.name for rule in RULES}
_ABOUT = {rule.code: rule.about for rule in RULES}
_HOW = (
    "Point to a cell, tap it, or move to it with Tab: here is what the step does to the layer, by "
    "which op, and on which line that was built."
)
_KEY = (
    ("read", "R", "reads the statistics"),
    ("written", "W", "writes them"),
    ("unordered", "U", "reads and writes them in no order"),
    ("batch", "B", "normalizes with the moments of its own batch"),
    ("written batch", "WB", "writes, and normalizes with its own"),
    ("defect", "!", "a finding below is about this step and layer"),
)


def render(reports: Sequence[Report], color: bool = False, errors: Sequence[str] = ()) -> str:
    """Return a page about all reports, which begins with the errors."""
    notes = [f"Error: {error}" for error in errors]
    lines = [list(filter(None, [assumed(report), copies(report)])) for report in reports]
    return page(list(zip(reports, lines)), notes)


def page(reports: Sequence[Tuple[Report, Sequence[str]]], notes: Sequence[str] = ()) -> str:
    """Return a page, in ASCII, so that any stream can take it.

    Args:
      reports: each report with further lines about its graph.
      notes: lines about all graphs.
    """
    sources = ", ".join(dict.fromkeys(report.source for report, _ in reports))
    style = (get_data(__package__, _STYLE) or b"").decode()
    sections = [_section(number, *pair) for number, pair in enumerate(reports, start=1)]
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(f'bnguard: {sources}' if sources else 'bnguard')}</title>",
        f"<style>\n{style}</style>",
        "</head>",
        "<body>",
        "<h1>Who moves the statistics, and when</h1>",
        *_paragraphs(notes),
        *("\n".join(section) for section in sections),
        "</body>",
        "</html>",
    ]
    return "\n".join(lines).encode("ascii", "xmlcharrefreplace").decode()


def _section(number: int, report: Report, lines: Sequence[str]) -> Iterator[str]:
    yield "<section>"
    yield f"<h2>{_text(report.source)}</h2>"
    yield from _paragraphs([numbers(report), *lines])
    yield from _paragraphs([f"limit reached: {limit}" for limit in report.limits])
    if report.timeline.layers and report.timeline.steps:
        yield from _timeline(number, report)
    yield f'<h3 id="findings-{number}">Findings</h3>'
    for members in group(report.findings):
        yield from _finding(members)
    if not report.findings:
        yield "<p>Nothing found.</p>"
    yield "</section>"


def _timeline(number: int, report: Report) -> Iterator[str]:
    """Yield the key of the colors, the table of layers and steps, and the list of steps."""
    timeline = report.timeline
    steps, layers = timeline.steps[:_SHOWN_STEPS], timeline.layers[:_SHOWN_LAYERS]
    yield '<ul class="key" aria-label="Key">'
    for classes, letters, meaning in _KEY:
        yield f'<li><span class="{classes}">{letters}</span> {meaning}</li>'
    yield "</ul>"
    yield f'<p class="skip"><a href="#findings-{number}">Go to the findings</a></p>'
    prefix = _common_scope(layers)
    yield '<div class="scroll"><table class="timeline">'
    yield f'<thead><tr><th scope="col" class="corner">{_corner(prefix)}</th>'
    yield from (_step_heading(*numbered) for numbered in enumerate(steps, start=1))
    yield "</tr></thead><tbody>"
    codes = [_codes(report.findings, step, timeline.steps) for step in steps]
    for row, layer in enumerate(layers):
        yield f'<tr><th scope="row"><span>{_scope(layer, prefix)}</span></th>'
        for position, step in enumerate(steps):
            found = codes[position].get(layer, [])
            yield _cell(layer, position + 1, step, step.uses[row], found)
        yield "</tr>"
    yield "</tbody></table></div>"
    yield f'<p class="pane">{_HOW}</p>'
    yield from _left_out(timeline)
    yield "<h3>Steps</h3>"
    yield from _step_list(steps)


def _step_list(steps: Sequence[TimelineStep]) -> Iterator[str]:
    yield '<ol class="steps">'
    for step in steps:
        parts = [_code(step.label)]
        if step.runs is not None:
            parts.insert(0, f"{step.runs} &times;")
        if step.location is not None:
            parts.append(f"at {_code(_where(step.location))}")
        yield f"<li>{' '.join(parts)}: {_text(step.summary)}</li>"
    yield "</ol>"


def _left_out(timeline: Timeline) -> Iterator[str]:
    sizes = (
        (len(timeline.steps) - _SHOWN_STEPS, "more step"),
        (len(timeline.layers) - _SHOWN_LAYERS, "more layer"),
    )
    yield from _paragraphs([f"{count(left, noun)} not shown" for left, noun in sizes if left > 0])


def _corner(prefix: str) -> str:
    return f"layer in {_code(prefix)}" if prefix else "layer"


def _scope(layer: str, prefix: str) -> str:
    """Return the scope of a layer within another, which can be broken after each slash."""
    return _text(layer[len(prefix) :] or "(no scope)").replace("/", "/<wbr>")


def _step_heading(number: int, step: TimelineStep) -> str:
    parts = [step.kind] if step.runs is None else [f"{step.runs} x", step.kind]
    where = _where(step.location) if step.location else step.label
    return (
        f'<th scope="col"><span class="step"><b>{_text(" ".join(parts))}</b> '
        f'{_text(_shortened(where))}</span> <span class="number">{number}</span></th>'
    )


def _cell(layer: str, number: int, step: TimelineStep, use: LayerUse, codes: List[str]) -> str:
    state, letter = _state(use)
    classes = [state, "batch" if use.uses_batch_moments else "", "defect" if codes else ""]
    letters = letter + ("B" if use.uses_batch_moments else "") + ("!" if codes else "")
    if not letters:
        return "<td></td>"
    sentence = f"{'; '.join(_deeds(layer, use))} in step {number}, {step.label}"
    lines = [f"<b>{_text(layer)}</b> {_text(sentence)}"]
    lines += [f"see {', '.join(codes)} below"] if codes else []
    lines += [f"built at {_code(str(use.location))}"] if use.location else []
    lines += _path_lines(use)
    names = " ".join(filter(None, classes))
    detail = f'<div class="detail">{"<br>".join(lines)}</div>'
    return f'<td class="{names}" tabindex="0">{letters}{detail}</td>'


def _state(use: LayerUse) -> Tuple[str, str]:
    """Return the class and the letter of what happens to the statistics."""
    if use.unordered:
        return "unordered", "U"
    if use.written:
        return "written", "W" if use.certain else "W?"
    return ("read", "R") if use.read else ("", "")


def _deeds(layer: str, use: LayerUse) -> Iterator[str]:
    ordered = {
        "reads": [name for name in use.read if name not in use.unordered],
        "writes": [name for name in use.written if name not in use.unordered],
        "reads in no order with a write, and writes": use.unordered,
    }
    for verb, names in ordered.items():
        if names:
            text = verb if use.certain else verb.replace("writes", "may write")
            yield f"{text} {', '.join(_inner(layer, name) for name in names)}"
    if use.uses_batch_moments:
        yield "normalizes with the moments of its own batch"


def _path_lines(use: LayerUse) -> List[str]:
    lines = [f"{_code(op.name)} {_text(op.type)}" for op in use.path]
    if use.left_out:
        lines.insert(len(lines) // 2, f"... {count(use.left_out, 'more op')} ...")
    return [f"&larr; {line}" if position else line for position, line in enumerate(lines)]


def _codes(
    findings: Sequence[Finding], step: TimelineStep, steps: Sequence[TimelineStep]
) -> Dict[str, List[str]]:
    """Return the codes of the defects in a step, by layer.

    A finding is about one step, or about all that train, whose names it joins.
    """
    training = [[each.fetch for each in steps if each.kind == kind] for kind in (TRAINS, UPDATES)]
    is_training = step.kind in (TRAINS, UPDATES)
    alike = ", ".join(chain.from_iterable(training)) if is_training else ""
    found: Dict[str, List[str]] = {}
    for finding in defects(findings):
        if finding.fetch and finding.fetch in (step.fetch, alike):
            codes = found.setdefault(finding.layer, [])
            codes += [finding.rule] if finding.rule not in codes else []
    return found


def _finding(members: Sequence[Finding]) -> Iterator[str]:
    """Yield a group of findings with one cause: what, where, by which path, and what to do."""
    first = members[0]
    subjects = list(dict.fromkeys(finding.subject for finding in members))
    is_alone = len(subjects) == 1
    subject = first.subject if is_alone else count(len(subjects), _ABOUT[first.rule])
    severity = f"{first.severity}{'' if first.certain else ', not certain'}"
    yield f'<article class="{first.severity}">'
    yield f"<h4>{first.rule} {_NAMES[first.rule]} <small>{severity}</small></h4>"
    yield f"<p>{_text(statement(subject, first.problem, is_plural=not is_alone))}</p>"
    if not is_alone:
        yield from _subjects(members)
    shortest = min(members, key=lambda finding: len(finding.path))
    if shortest.path:
        ops = "".join(f"<li>{_code(op.name)} {_text(op.type)}</li>" for op in shortest.path)
        summary = f"Path of {count(len(shortest.path), 'op')} from the fetch"
        yield f"<details><summary>{summary}</summary><ol>{ops}</ol></details>"
    places = list(dict.fromkeys(str(item.location) for item in members if item.location))
    for place in places[:_SHOWN_LINES]:
        yield f"<p>built at {_code(place)}</p>"
    if len(places) > _SHOWN_LINES:
        yield f"<p>and at {count(len(places) - _SHOWN_LINES, 'more line')}</p>"
    yield f'<p class="remedy"><b>To do:</b> {_with_code(first.remedy)}.</p>'
    yield "</article>"


def _subjects(members: Sequence[Finding]) -> Iterator[str]:
    layers: Dict[str, List[str]] = {}
    for finding in members:
        names = layers.setdefault(finding.layer or finding.op, [])
        names += [_inner(finding.layer, finding.variable)] if finding.variable else []
    items = [
        f"<li>{_code(layer)}{': ' if names else ''}{_text(', '.join(names))}</li>"
        for layer, names in layers.items()
    ]
    yield f"<ul>{''.join(items[:_SHOWN_SUBJECTS])}</ul>"
    if len(items) > _SHOWN_SUBJECTS:
        rest = items[_SHOWN_SUBJECTS:]
        summary = f"and {count(len(rest), 'more layer')}"
        yield f"<details><summary>{summary}</summary><ul>{''.join(rest)}</ul></details>"


def _common_scope(layers: Sequence[str]) -> str:
    """Return the scope, with its slash, that all layers are in; empty if there is none."""
    outer = (layer.split("/")[:-1] for layer in layers)
    shared = takewhile(lambda names: len(set(names)) == 1, zip(*outer))
    return "".join(f"{names[0]}/" for names in shared)


def _inner(layer: str, name: str) -> str:
    return name[len(layer) + 1 :] if layer and name.startswith(f"{layer}/") else name


def _where(location: Location) -> str:
    return f"{shown_path(location.file)}:{location.line}"


def _shortened(text: str, longest: int = 22) -> str:
    """Return the end of a text, where the file's name and line are."""
    return text if len(text) <= longest else f"...{text[3 - longest :]}"


def _paragraphs(lines: Sequence[str]) -> Iterator[str]:
    return (f"<p>{_text(line)}</p>" for line in lines)


def _with_code(text: str) -> str:
    return re.sub("`([^`]*)`", r"<code>\1</code>", _text(text))


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>"


def _text(text: str) -> str:
    return escape(printable(text))
