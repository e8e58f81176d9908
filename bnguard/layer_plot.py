"""Draw means and variances of layers: for each layer, the range of its channels."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from bnguard.errors import BnguardError, first_line
from bnguard.runtime.requirements import require
from bnguard.runtime.streams import printable

_ROW = 0.25  # inches
_TALLEST = 200.0  # inches, because an image has at most 2**16 pixels
_LONGEST_NAME = 60
_NOT_DRAWN = "#b3261e"


class Values(NamedTuple):
    """The values of a layer's statistic: its name, its role and an array of any shape.

    The role is `mean`, or anything else for a spread, which is drawn on a logarithmic axis.
    """

    layer: str
    role: str
    array: np.ndarray


def draw_layers(snapshots: Dict[str, Sequence[Values]], path: Optional[str] = None) -> Any:
    """Draw one or several snapshots of layers, with means beside variances.

    Each layer has a row with a line for each snapshot, from the smallest to the largest channel,
    and a dot at the average. Values that cannot be drawn, because they are not finite, or are not
    positive and belong on the logarithmic axis of the variances, are a cross at the left.

    Args:
      snapshots: the values in each, by its title, in the order in which to draw.
      path: the file to write, .png, .svg or .pdf; None for no file.

    Returns:
      The matplotlib.figure.Figure, which a notebook shows.

    Raises:
      BnguardError: Matplotlib is not installed, there is nothing to draw, or the file cannot be
        written.
    """
    require(["matplotlib"], "plot")
    from matplotlib.figure import Figure

    layers = list(dict.fromkeys(value.layer for found in snapshots.values() for value in found))
    if not layers:
        raise BnguardError(
            f"{', '.join(snapshots)}: no running mean or variance to draw; expected at least one."
        )
    height = min(1.5 + _ROW * len(layers) * len(snapshots), _TALLEST)
    figure = Figure(figsize=(11, height), constrained_layout=True)
    means, variances = figure.subplots(1, 2, sharey=True)
    variances.set_xscale("log")
    means.set_xlabel("mean: smallest, average and largest channel")
    variances.set_xlabel("variance, logarithmic")
    rows = {layer: row for row, layer in enumerate(layers)}
    for number, (title, found) in enumerate(snapshots.items()):
        offset = 0.6 * ((number + 0.5) / len(snapshots) - 0.5)
        for axis, is_mean in ((means, True), (variances, False)):
            chosen = [value for value in found if (value.role == "mean") is is_mean]
            _draw(axis, chosen, [rows[value.layer] + offset for value in chosen], number, title)
    means.set_yticks(range(len(layers)))
    means.set_yticklabels([_shortened(printable(layer)) for layer in layers])
    means.set_ylim(len(layers) - 0.5, -0.5)
    for axis in (means, variances):
        axis.grid(axis="x", alpha=0.3)
    drawn = [axis.get_legend_handles_labels() for axis in (means, variances)]
    labels = {label: handle for pair in drawn for handle, label in zip(*pair)}
    means.legend(
        *(list(labels.values()), list(labels)),
        **{"loc": "lower left", "bbox_to_anchor": (0, 1), "fontsize": "small"},
    )
    if path is not None:
        _save(figure, path)
    return figure


def _draw(
    axis: Any, values: Sequence[Values], rows: Sequence[float], number: int, title: str
) -> None:
    is_logarithmic = axis.get_xscale() == "log"
    figures: List[Tuple[float, float, float, float]] = []
    left_out = []
    for value, row in zip(values, rows):
        array = np.asarray(value.array, np.float64).ravel()
        drawable = array[np.isfinite(array) & ((array > 0) | (not is_logarithmic))]
        if drawable.size < array.size:
            left_out.append(row)
        if drawable.size:
            figures.append((row, drawable.min(), drawable.mean(), drawable.max()))
    color = f"C{number}"
    if figures:
        at, smallest, average, largest = np.transpose(figures)
        axis.hlines(at, smallest, largest, color=color)
        axis.plot(average, at, "o", color=color, markersize=4)
    axis.plot([], [], "o-", color=color, label=printable(title), markersize=4)
    axis.plot(
        *([0.01] * len(left_out), left_out, "x"),
        color=_NOT_DRAWN,
        label="also values that are not finite, or not positive" if left_out else None,
        transform=axis.get_yaxis_transform(),
    )


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"...{name[3 - _LONGEST_NAME :]}"


def _save(figure: Any, path: str) -> None:
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise BnguardError(
            f"{path}: the plot cannot be written ({reason}); expected a path that ends in .png, "
            ".svg or .pdf, in a folder that exists. Give a different one."
        ) from error
