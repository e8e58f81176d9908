"""`bnguard.audit(...)`: what Python programs call."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Optional, Sequence

from bnguard.analysis import limits
from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.errors import AuditError
from bnguard.analysis.examination import AuditOptions, examine
from bnguard.analysis.findings import Report


def audit(
    graph_or_path: Any,
    fetches: Any = None,
    feeds: Optional[Mapping[Any, Any]] = None,
    train_op: Any = None,
    *,
    tags: Optional[Sequence[str]] = None,
    signature: Optional[str] = None,
    checkpoint: Optional[str] = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Report:
    """Say what is wrong with the running statistics of a graph, without running anything.

    TensorFlow is not imported.

    Args:
      graph_or_path: the path of a `.meta` file, a GraphDef or a SavedModel, binary or text; or
        a live `tf.Graph`; or a GraphDef, MetaGraphDef or SavedModel message; or a `Model`, which
        saves reading the same graph again.
      fetches: what one inference step fetches: a name, tensor or op, or a list of these. By
        default the outputs of each signature or, without one, where the networks end.
      feeds: what that step is fed, by name or tensor. Scalars, and arrays of one value, decide
        branches; of others it only matters that they are fed. A training flag that is not among
        them is taken to be at its value for inference or, where feeds are given and it has a
        default, at that.
      train_op: what one training step runs, as `fetches`. By default what applies gradients.
      tags: of a SavedModel, the graph with exactly these tags.
      signature: of a SavedModel, the only signature to look at.
      checkpoint: the prefix of a checkpoint to compare with.
      select: codes of the only rules to apply, or how these begin.
      ignore: codes of rules not to apply, or how these begin.

    Raises:
      AuditError: the graph cannot be read, a name is not in it, or there are several graphs.
    """
    audit_options = AuditOptions(
        fetches=tuple(_names(fetches)),
        feeds=_feeds(feeds),
        train_op=tuple(_names(train_op)),
        tags=None if tags is None else tuple(tags),
        signature=signature,
        checkpoint=checkpoint,
        select=tuple(select),
        ignore=tuple(ignore),
    )
    reports = examine(graph_or_path, audit_options)
    if len(reports) > 1:
        raise AuditError(
            f"there are {len(reports)} graphs, {', '.join(one.source for one in reports)}; "
            "choose one by its tags"
        )
    return reports[0]


def _names(fetches: Any) -> Iterator[str]:
    if fetches is None:
        return
    if isinstance(fetches, Mapping):
        fetches = list(fetches.values())
    if isinstance(fetches, (list, tuple)):
        for one in fetches:
            yield from _names(one)
    else:
        yield _name(fetches)


def _name(item: Any) -> str:
    name = item if isinstance(item, str) else getattr(item, "name", None)
    if not isinstance(name, str):
        raise AuditError(
            f"{item!r} is not in a graph; expected a name, or a tensor or an op, which has one"
        )
    return name


def _feeds(feeds: Optional[Mapping[Any, Any]]) -> Optional[Mapping[str, StaticValue]]:
    if feeds is None:
        return None
    return {_name(key): _value(value) for key, value in feeds.items()}


def _value(value: Any) -> StaticValue:
    """A scalar, or what all elements of a small array are; None for anything else."""
    if isinstance(value, str):
        return value.encode()
    if (
        hasattr(value, "tolist")
        and getattr(value, "size", limits.FED_ELEMENTS) < limits.FED_ELEMENTS
    ):
        value = value.tolist()
    while isinstance(value, (list, tuple)) and len(value) < limits.FED_ELEMENTS:
        if not value or any(one != value[0] for one in value):
            return None
        value = value[0]
    return value if isinstance(value, (bool, int, float, bytes)) else None
