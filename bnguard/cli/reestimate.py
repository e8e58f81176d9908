"""`bnguard reestimate`: statistics of a checkpoint computed anew from data, in a new checkpoint."""

from __future__ import annotations

import json
from typing import Any, Optional, Sequence
import warnings

import click

from bnguard.cli.types import TEXT
from bnguard.runtime import signals
from bnguard.runtime.columns import columns, fit_tables
from bnguard.runtime.requirements import require
from bnguard.runtime.streams import printable
from bnguard.runtime.tensorflow_import import import_tensorflow

_NOTHING_WRITTEN = "nothing was written, and the checkpoint is untouched"


@click.command("reestimate")
@click.argument("checkpoint")
@click.argument("shares", nargs=-1, metavar="[SHARE...]")
@click.option("--data", type=TEXT, metavar="FILE.npz", help="An array for each placeholder.")
@click.option(
    "--meta", type=TEXT, metavar="FILE.meta", help="The graph.  [default: beside the checkpoint]"
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Rows."
)
@click.option("--steps", type=click.IntRange(min=1), help="The number of batches.  [default: all]")
@click.option(
    "--feed", "feeds", metavar="NAME=VALUE", multiple=True, help="A feed of every batch, as JSON."
)
@click.option("--scope", help="Only the variables in this scope.")
@click.option(
    "--estimator",
    type=click.Choice(["population", "moving", "last"]),
    default="population",
    show_default=True,
)
@click.option(
    "--output", type=TEXT, metavar="PREFIX", help="[default: the checkpoint's, and -reestimated]"
)
@click.option("--latest", is_flag=True, help="Let the `checkpoint` file name the new one.")
@click.option("--shard", metavar="I/N", help="Measure only share I, from 1, of N.")
@click.option("--partial", type=TEXT, metavar="FILE", help="Write the sums of the share here.")
@click.option("--merge", is_flag=True, help="Estimate from the files of all shares, SHARE...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def reestimate_command(
    checkpoint: str,
    shares: Sequence[str],
    feeds: Sequence[str],
    shard: Optional[str],
    partial: Optional[str],
    merge: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Estimate the running statistics of a checkpoint anew, from data, without training.

    CHECKPOINT is a checkpoint's prefix, or a directory with a `checkpoint` file. The result is a
    new checkpoint: the statistics are those of the data, and all other tensors are bit-identical.
    For data in shares run `--shard I/N --partial FILE` for each, then `--merge FILE...`. Exit
    status: 0 if the new checkpoint or the share is written, 2 if not.
    """
    _check_usage(shares, shard, partial, merge)
    signals.set_message(_NOTHING_WRITTEN)
    require(["tensorflow", "numpy"], extra="tf")
    import_tensorflow()
    from bnguard.reestimation import rescue
    from bnguard.reestimation.partial_files import read_share

    job = rescue.Job(checkpoint, feeds=dict(map(_feed, feeds)), **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        if shard is not None and partial is not None:
            share = rescue.measure_share(job, read_share(shard), partial)
            difference = None
        else:
            difference = rescue.merge_shares(job, shares) if merge else rescue.rescue(job)
    for warning in caught:
        if issubclass(warning.category, RuntimeWarning):
            click.echo(f"Warning: {printable(str(warning.message))}", err=True)
    if difference is None:
        click.echo(printable(f"{partial}: share {share.share}, {share.moments.steps} batches"))
    elif as_json:
        click.echo(json.dumps(difference.to_dict(), indent=2, allow_nan=False))
    else:
        text = "\n".join(map(printable, str(difference).split("\n")))
        click.echo(fit_tables(text, columns()))


def _check_usage(
    shares: Sequence[str], shard: Optional[str], partial: Optional[str], merge: bool
) -> None:
    if (shard is None) != (partial is None):
        raise click.UsageError("--shard and --partial go together")
    if merge and shard is not None:
        raise click.UsageError("--merge ends the job; it does not go with --shard")
    if merge != bool(shares):
        raise click.UsageError("--merge and the files of the shares go together")


def _feed(text: str) -> tuple[str, Any]:
    name, has_value, value = text.partition("=")
    if not has_value or not name:
        raise click.UsageError(f"--feed {text}: expected NAME=VALUE")
    try:
        return name, json.loads(value.lower() if value in ("True", "False") else value)
    except ValueError:
        return name, value
