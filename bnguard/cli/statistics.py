"""`bnguard diff` and `bnguard stats`: compare and examine the statistics of checkpoints."""

from __future__ import annotations

import json
import sys
from typing import Any, Optional

import click

from bnguard.analysis.findings import ALREADY_TRAINED
from bnguard.runtime.columns import columns, fit_tables
from bnguard.runtime.garbage import no_garbage_collection
from bnguard.runtime.requirements import require
from bnguard.runtime.streams import printable

_scope = click.option("--scope", help="Only the variables in this scope.")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.command("diff")
@click.argument("before")
@click.argument("after")
@_scope
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Ignore absolute changes of at most this.  [default: report any changed bit]",
)
@_json
def diff(before: str, after: str, scope: Optional[str], tolerance: float, as_json: bool) -> None:
    """Compare the running statistics of two checkpoints.

    BEFORE and AFTER are checkpoint prefixes, or directories with a `checkpoint` file. Exit status:
    0 if the statistics agree, 1 if they differ, 2 if they could not be compared.
    """
    with no_garbage_collection():
        difference = _statistics().diff(before, after, scope=scope, tolerance=tolerance)
        _print(difference, as_json)
        sys.exit(1 if difference else 0)


@click.command("stats")
@click.argument("checkpoint")
@_scope
@_json
def stats(checkpoint: str, scope: Optional[str], as_json: bool) -> None:
    """Examine the running statistics of a checkpoint.

    Reports statistics that never moved from their initial values, variances that are zero, negative
    or collapsed, and values that are not finite or implausibly large. If the graph's .meta file is
    beside the checkpoint, it also reports statistics that still contain more than 5 % of their
    initial values. Many variables with the same problem share a row; --json has each. Exit status:
    0 if nothing is wrong, 1 if something is, 2 if the checkpoint could not be read.
    """
    with no_garbage_collection():
        found = _statistics().snapshot(checkpoint, scope=scope)
        sick = sum(bool(statistic.problems) for statistic in found.health())
        _print(found, as_json)
    if sick and not as_json:
        verb = "has" if sick == 1 else "have"
        click.echo(f"{sick} of {len(found)} running statistics {verb} problems. {ALREADY_TRAINED}.")
    sys.exit(1 if sick else 0)


def _statistics() -> Any:
    require(["numpy"], extra="tf")
    from bnguard import statistics

    return statistics


def _print(found: Any, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        text = "\n".join(map(printable, str(found).split("\n")))
        click.echo(fit_tables(text, columns()))
