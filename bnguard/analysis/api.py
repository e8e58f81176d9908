"""`bnguard.audit`, and the audit of every graph in a source."""

from __future__ import annotations

from dataclasses import dataclass, field
import os
from typing import (
    Any,
    ContextManager,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

from bnguard.analysis import limits
from bnguard.analysis.checkpoints.stored_checkpoint import StoredCheckpoint, read_checkpoint
from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.errors import AuditError, NotAGraphError, about
from bnguard.analysis.frontend.graph_files import graph_files
from bnguard.analysis.frontend.loader import LoadedGraph, load
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph, recognize
from bnguard.analysis.report import Report
from bnguard.analysis.rules import choose
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import build_scenario
from bnguard.analysis.timeline import NO_TIMELINE, timeline_of
from bnguard.runtime.garbage import no_garbage_collection

_Graph = TypeVar("_Graph", str, Report)  # the path of a graph, or the report on it
_SHOWN_GRAPHS = 8


# A path; a live tf.Graph; a GraphDef, MetaGraphDef or SavedModel message; or a recognized graph.
GraphSource = Union[str, "os.PathLike[str]", RecognizedGraph, Any]
# A name, or a tensor or op, which has one; or a list, tuple or dict of these.
Fetches = Union[str, Sequence[Any], Mapping[Any, Any], Any]
# A name or tensor -> what is fed; None for an unknown value.
Feeds = Mapping[Any, Any]


def _option(flag: str, metavar: str, text: str, default: Any = None, repeat: bool = False) -> Any:
    metadata = {"flag": flag, "metavar": metavar, "help": text, "repeat": repeat}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class AuditOptions:
    """The steps to analyse and the rules to apply; the metadata makes the command line.

    Empty steps are inferred from the graph.

    Attributes:
      fetches: the names that one inference step fetches.
      feeds: the value of each fed tensor, by name; None for an unknown value.
      train_op: the names that one training step runs.
      tags: the tags of the only graph of a SavedModel to audit.
      signature: the key of the only signature of a SavedModel to analyse.
      checkpoint: the prefix of a checkpoint that must contain the statistics.
      select: the codes of the only rules to apply, or prefixes of codes.
      ignore: the codes of rules not to apply, or prefixes of codes.
    """

    fetches: Tuple[str, ...] = _option(
        "--fetch", "NAME", "A fetch of the inference step.", (), repeat=True
    )
    feeds: Optional[Mapping[str, StaticValue]] = _option(
        "--feed",
        "NAME[=VALUE]",
        "A feed of the inference step: a bool, number or text, or any value if VALUE is missing. "
        "If any feed is given, the list is taken as complete.",
        repeat=True,
    )
    train_op: Tuple[str, ...] = _option(
        "--train-op", "NAME", "An op that the training step runs.", (), repeat=True
    )
    tags: Optional[Tuple[str, ...]] = _option(
        "--tags", "TAG,...", "Audit only the graph with exactly these tags (SavedModel)."
    )
    signature: Optional[str] = _option(
        "--signature", "KEY", "Analyse only this signature (SavedModel)."
    )
    checkpoint: Optional[str] = _option(
        "--checkpoint", "PREFIX", "A checkpoint that must contain the running statistics."
    )
    select: Tuple[str, ...] = _option(
        "--select", "CODE,...", "Apply only these rules.", (), repeat=True
    )
    ignore: Tuple[str, ...] = _option(
        "--ignore", "CODE,...", "Do not apply these rules.", (), repeat=True
    )


def audit(
    graph_or_path: GraphSource,
    fetches: Optional[Fetches] = None,
    feeds: Optional[Feeds] = None,
    train_op: Optional[Fetches] = None,
    *,
    tags: Optional[Sequence[str]] = None,
    signature: Optional[str] = None,
    checkpoint: Optional[str] = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Report:
    """Find defects of the running statistics of a graph, without running it.

    TensorFlow is not imported.

    Args:
      graph_or_path: the path of a `.meta` file, a GraphDef or a SavedModel, binary or text, or of a
        directory that contains one of these. Or a live `tf.Graph`, or a GraphDef, MetaGraphDef or
        SavedModel message. Or a `RecognizedGraph`, to audit one graph several times.
      fetches: the fetches of one inference step: a name, tensor or op, or a list of these. The
        default is the outputs of each signature, or the ends of the networks if the graph has no
        signature.
      feeds: the feeds of that step, by name or tensor. Scalars, and small arrays of equal
        elements, decide branches; other values are unknown. A training flag that is not fed has its
        value for inference. If any feed is given, the list is taken as complete, and a flag with a
        default keeps it.
      train_op: the fetches of one training step, given as `fetches`. The default is each op that
        applies gradients.
      tags: the tags of the only graph of a SavedModel to audit.
      signature: the key of the only signature of a SavedModel to analyse.
      checkpoint: the prefix of a checkpoint that must contain the statistics.
      select: the codes of the only rules to apply, or prefixes of codes.
      ignore: the codes of rules not to apply, or prefixes of codes.

    Returns:
      The report. `report.ok` is True if no defect was found; `print(report)` shows the text that
      `bnguard audit` prints.

    Raises:
      AuditError: the graph or the checkpoint cannot be read, a name is not in the graph, no rule
        has a code, or there are several graphs.
    """
    options = AuditOptions(
        fetches=tuple(_names(fetches)),
        feeds=_feeds(feeds),
        train_op=tuple(_names(train_op)),
        tags=None if tags is None else tuple(tags),
        signature=signature,
        checkpoint=checkpoint,
        select=tuple(select),
        ignore=tuple(ignore),
    )
    source, where = graph_or_path, ""
    if isinstance(graph_or_path, (str, os.PathLike)):
        path = os.fspath(graph_or_path)
        source, where = _only_one(_graphs_under(path), f"{path}: "), f"{path}: "
    return _only_one(audit_all(source, options), where)


def _graphs_under(path: str) -> List[str]:
    """Return the files under a path that hold graphs, or the first of the others.

    To recognise a graph it is loaded. Two are enough to know that there are several.
    """
    files = graph_files(path)
    graphs: List[str] = []
    for file in files if len(files) > 1 else ():
        if len(graphs) > 1 or _may_be_graph(file):
            graphs.append(file)
    return graphs or files[:1]


def _may_be_graph(path: str) -> bool:
    try:
        load(path)
    except NotAGraphError:
        return False
    except AuditError:
        return True
    return True


def _only_one(found: Sequence[_Graph], where: str) -> _Graph:
    """Return the only file or report.

    Raises:
      AuditError: there are several.
    """
    if len(found) > 1:
        names = [graph.source if isinstance(graph, Report) else graph for graph in found]
        more = f" and {len(names) - _SHOWN_GRAPHS} more" if len(names) > _SHOWN_GRAPHS else ""
        raise AuditError(
            f"{where}there are {len(names)} graphs, {', '.join(names[:_SHOWN_GRAPHS])}{more}; "
            "expected one. Give the path of one of them, or choose a SavedModel's by its tags"
        )
    return found[0]


def audit_all(
    source: GraphSource, options: AuditOptions, with_timeline: bool = False
) -> List[Report]:
    """Return a report on each graph in a source.

    Args:
      source: a file or an object as for `audit`; not a directory, unless it is a SavedModel.
      options: the steps to analyse and the rules to apply.
      with_timeline: whether the reports have a timeline, which takes about 20% longer.

    Raises:
      AuditError: the source or the checkpoint cannot be read, a name is not in the graph, or no
        rule has a code.
    """
    with no_garbage_collection():
        return _audit_all(source, options, with_timeline)


def _audit_all(source: Any, options: AuditOptions, with_timeline: bool) -> List[Report]:
    """Audit. The graphs are freed when this returns, before the collector would visit them."""
    rules = choose(options.select, options.ignore)
    stored = None if options.checkpoint is None else read_checkpoint(options.checkpoint)
    if isinstance(source, RecognizedGraph):
        with about(source.loaded.label), _work_on(source.loaded):
            return [_report(source, options, rules, stored, with_timeline)]
    reports = []
    for loaded in load(source, options.tags):
        with about(loaded.label), _work_on(loaded):
            recognized = recognize(loaded)
            reports.append(_report(recognized, options, rules, stored, with_timeline))
    return reports


def _work_on(loaded: LoadedGraph) -> ContextManager[Any]:
    graph = loaded.graph
    return limits.work(loaded.file_bytes, sum(map(len, graph.sources)) / max(1, len(graph)))


def _report(
    recognized: RecognizedGraph,
    options: AuditOptions,
    rules: Sequence[Rule],
    stored: Optional[StoredCheckpoint],
    with_timeline: bool,
) -> Report:
    with limits.collect() as reached:
        scenario = build_scenario(
            recognized,
            options.fetches,
            options.feeds,
            options.train_op,
            options.signature,
            stored,
        )
        findings = tuple(finding for rule in rules for finding in rule.check(scenario))
        timeline = timeline_of(scenario) if with_timeline else NO_TIMELINE
    return Report(
        source=recognized.loaded.label,
        nodes=recognized.loaded.nodes,
        statistics=tuple(statistic.name for statistic in recognized.statistics),
        assumed=scenario.assumed,
        findings=findings,
        limits=tuple(dict.fromkeys([*recognized.limits, *reached])),
        timeline=timeline,
        path=recognized.loaded.path,
    )


def _names(fetches: Optional[Fetches]) -> Iterator[str]:
    if fetches is None:
        return
    if isinstance(fetches, Mapping):
        fetches = list(fetches.values())
    if isinstance(fetches, (list, tuple)):
        for fetch in fetches:
            yield from _names(fetch)
    else:
        yield _name(fetches)


def _name(item: Any) -> str:
    name = item if isinstance(item, str) else getattr(item, "name", None)
    if not isinstance(name, str):
        raise AuditError(
            f"{item!r} is not in a graph; expected a name, or a tensor or an op, which has one"
        )
    return name


def _feeds(feeds: Optional[Feeds]) -> Optional[Mapping[str, StaticValue]]:
    if feeds is None:
        return None
    return {_name(key): _static_value(value) for key, value in feeds.items()}


def _static_value(value: Any) -> StaticValue:
    """Return a scalar, or the value of all elements of a small array; None for anything else."""
    if isinstance(value, str):
        return value.encode()
    if hasattr(value, "tolist") and hasattr(value, "size") and value.size <= limits.FED_ELEMENTS:
        value = value.tolist()
    while isinstance(value, (list, tuple)) and len(value) <= limits.FED_ELEMENTS:
        if not value or any(element != value[0] for element in value):
            return None
        value = value[0]
    return value if isinstance(value, (bool, int, float, bytes)) else None
