"""`bnguard diff` and `bnguard stats`: the running statistics of checkpoints, compared and examined.

Parse, call, render, exit code; importing this module imports no TensorFlow.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Optional

from bnguard.runtime.streams import printable
import click

_SCOPE = click.option("--scope", help="Only the variables in this scope.")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.argument("before")
@click.argument("after")
@_SCOPE
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.0,
    help="An absolute change of at most this counts as none.  [default: the bits must agree]",
)
@_JSON
def diff(before: str, after: str, scope: Optional[str], tolerance: float, as_json: bool) -> None:
    """Compare the running statistics of two checkpoints.

    BEFORE and AFTER are prefixes, or directories with a `checkpoint` file. Exit status: 0
    where the statistics agree, 1 where they do not, 2 where they could not be compared.
    """
    difference = _statistics().diff(before, after, scope=scope, tolerance=tolerance)
    _show(difference, difference.as_json() if as_json else None)
    sys.exit(1 if difference else 0)


@click.argument("checkpoint")
@_SCOPE
@_JSON
def stats(checkpoint: str, scope: Optional[str], as_json: bool) -> None:
    """Examine the running statistics of a checkpoint.

    Says which never moved from their initial values, are zero or negative where a variance
    cannot be, are not finite or implausibly large. Exit status: 0 where nothing is wrong, 1
    where something is, 2 where the checkpoint could not be read.
    """
    found = _statistics().snapshot(checkpoint, scope=scope)
    _show(found, found.as_json() if as_json else None)
    sys.exit(1 if any(one.problems for one in found.health()) else 0)


def _statistics() -> Any:
    from bnguard.runtime.tensorflow_import import import_tensorflow

    import_tensorflow()
    from bnguard import statistics

    return statistics


def _show(found: Any, document: Optional[Any]) -> None:
    if document is None:
        click.echo("\n".join(map(printable, str(found).split("\n"))))
    else:
        click.echo(json.dumps(document, indent=2, allow_nan=False))
