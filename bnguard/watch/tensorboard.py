"""The report on a program's run in TensorBoard: which step moved which statistic, and when."""

from __future__ import annotations

import os
import re
from typing import Dict, Iterator, List, Tuple

import tensorflow.compat.v1 as tf

from bnguard.analysis.formatters.lines import markdown_cell
from bnguard.analysis.formatters.text import finding_lines, numbers
from bnguard.analysis.scenario.step_kinds import OTHER
from bnguard.runtime.event_files import Summarized, write_events
from bnguard.watch.report import GraphReport, WatchedStep, WatchReport

_HEADINGS = ("runs", "step", "called at", "what it does", "statistics that it writes")
_LONGEST_NAME = 100  # characters of a folder's name
_SHOWN_STATISTICS = 4


def write(report: WatchReport, logdir: str) -> None:
    """Write a TensorBoard run for each distinct step, and a text for each graph.

    The horizontal axis has the session calls of the graph. The run of a step has the scalars
    `runs`, how often it had run, and `updates/VARIABLE` for each statistic that it writes, how
    often it had written that. The texts `steps` and `findings` are those of the report.

    Args:
      report: the report, with the calls of each step.
      logdir: the folder; for several graphs, each has one in it.

    Raises:
      BnguardError: the events cannot be written.
    """
    for number, graph in enumerate(report.graphs, start=1):
        folder = logdir if len(report.graphs) == 1 else os.path.join(logdir, f"graph {number}")
        texts = {"steps": _steps_text(graph), "findings": _findings_text(graph)}
        values = [_text(tag, text) for tag, text in texts.items()]
        write_events(folder, [Summarized(0, tf.Summary(value=values))])
        for name, step in _named_steps(graph):
            write_events(os.path.join(folder, name), _scalars(step))


def _named_steps(graph: GraphReport) -> Iterator[Tuple[str, WatchedStep]]:
    """Yield each step that touches a layer, with the name of its run."""
    times: Dict[str, int] = {}
    for step in graph.steps:
        if step.kind != OTHER:
            name = re.sub(r"[^\w.,=+\- ]", "_", f"{step.kind} {step.label}")[:_LONGEST_NAME]
            times[name] = times.get(name, 0) + 1
            yield name if times[name] == 1 else f"{name} ({times[name]})", step


def _scalars(step: WatchedStep) -> Iterator[Summarized]:
    tags = ["runs", *(f"updates/{name}" for name in step.written)]
    for call in step.calls:
        values = [tf.Summary.Value(tag=tag, simple_value=call.runs) for tag in tags]
        yield Summarized(call.number, tf.Summary(value=values), call.time)


def _steps_text(graph: GraphReport) -> str:
    """Return the table of the steps, in Markdown."""
    rows: List[Tuple[str, ...]] = []
    for step in graph.steps:
        if step.kind != OTHER:
            where = "" if step.location is None else str(step.location._replace(text=""))
            rows.append((str(step.runs), step.label, where, step.summary, _written(step)))
    lines = [f"| {' | '.join(map(markdown_cell, row))} |" for row in rows]
    head = [f"| {' | '.join(_HEADINGS)} |", f"| ---: {'| --- ' * 4}|"]
    return "\n".join([*head, *lines, "", *map(markdown_cell, graph.remarks())])


def _written(step: WatchedStep) -> str:
    more = len(step.written) - _SHOWN_STATISTICS
    names = list(step.written[:_SHOWN_STATISTICS])
    return ", ".join([*names, *([f"and {more} more"] if more > 0 else [])])


def _findings_text(graph: GraphReport) -> str:
    lines = [numbers(graph.report), *finding_lines(graph.report, False, "--json")]
    return "\n".join(f"    {line}" for line in lines)  # an indented block of code


def _text(tag: str, text: str) -> tf.Summary.Value:
    metadata = tf.SummaryMetadata(
        plugin_data=tf.SummaryMetadata.PluginData(plugin_name="text"),
    )
    return tf.Summary.Value(tag=tag, metadata=metadata, tensor=tf.make_tensor_proto(text))
