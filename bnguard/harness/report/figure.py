"""Draw the running statistics of one or more records over training and inference."""

from __future__ import annotations

import io
import os
import tempfile
from typing import Any, List, Sequence

import numpy as np

from bnguard.errors import BnguardError, first_line
from bnguard.harness.results.closed_form import LayerStatistics
from bnguard.harness.results.record import Record

FORMATS = (".png", ".svg")
_DUE = {"linestyle": "--", "linewidth": 1}


def check_target(path: str) -> None:
    """Raise before the run if a plot could not be written to `path`.

    Raises:
      BnguardError: the file's ending is not one of FORMATS, its folder does not exist, or
        matplotlib is missing.
    """
    is_other = os.path.exists(path) and not os.path.isfile(path)
    if not path.lower().endswith(FORMATS) or is_other:
        raise BnguardError(f"--plot {path}: expected the name of a file, ending in .png or .svg")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise BnguardError(f"--plot {path}: there is no folder {folder}; create it first")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise BnguardError(f"--plot {path}: cannot be written (permission denied); give another")
    _pyplot()


def draw(records: Sequence[Record], path: str) -> None:
    """Draw moving_mean above moving_variance, with a column for each record.

    Each channel's moving_mean is drawn as its distance from the value that is due after training.
    Thin dashes are the values that are due: the closed form in training, and in inference what
    training should have left. Of training only the last steps are drawn, three times as many as
    there are inference steps.

    Args:
      records: the runs.
      path: the file to write, .png or .svg; an existing file is replaced, or kept on an error.

    Raises:
      BnguardError: the file cannot be written.
    """
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(
        2, len(records), sharex="col", sharey="row", squeeze=False, figsize=(5 * len(records), 5)
    )
    for column, record in zip(axes.T, records):
        _draw_record(column, record)
    axes[0][0].set_ylabel("moving_mean - due value at 0")
    axes[1][0].set_ylabel("moving_variance")
    for axis in [axis for axis in axes[0] if axis.has_data()][-1:]:
        axis.plot([], [], label="due", color="black", **_DUE)
        axis.legend(loc="best", fontsize="small")
    figure.tight_layout()
    try:
        _save(figure, path)
    except OSError as error:
        raise BnguardError(
            f"--plot {path}: cannot be written ({error.strerror or first_line(error)}); expected "
            "a file on a disk with free space. Give a different one."
        ) from error
    finally:
        pyplot.close(figure)


def _save(figure: Any, path: str) -> None:
    """Write the file whole, through a temporary file if its folder is writable."""
    ending = path[-len(FORMATS[0]) :].lower()
    drawn = io.BytesIO()
    date = {"Date": None} if ending == ".svg" else None
    figure.savefig(drawn, dpi=120, format=ending[1:], metadata=date)
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.access(folder, os.W_OK):
        with open(target, "wb") as file:
            file.write(drawn.getvalue())
        return
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        part = os.path.join(beside, os.path.basename(target))
        with open(part, "wb") as file:
            file.write(drawn.getvalue())
        os.replace(part, target)


def _draw_record(column: Any, record: Record) -> None:
    column[0].set_title(f"{record.side}/{record.case}.py")
    inferred = _inferred(record)
    kept = 3 * max(len(inferred), 1) + 1
    trained, due = _trained(record)[-kept:], _due(record)[-kept:]
    shown = trained + inferred
    last = max(len(trained) - 1, 0)  # inference begins here; a restored session did not train
    steps = np.arange(len(shown)) - last
    due = due + (due or shown)[-1:] * (len(shown) - len(due))
    for channel in range(len(shown[0].mean) if shown else 0):
        lines = (shown, {"label": f"channel {channel}"}), (due, _DUE)
        for statistics, style in lines if due is not shown else lines[:1]:
            mean = np.array([step.mean[channel] for step in statistics])
            variance = [step.variance[channel] for step in statistics]
            column[0].plot(steps, mean - due[last].mean[channel], color=f"C{channel}", **style)
            column[1].plot(steps, variance, color=f"C{channel}", **style)
    for axis in column if inferred else ():
        axis.axvspan(0, steps[-1], alpha=0.12, color="grey", label="inference")
    column[1].set_xlabel("steps; inference starts at 0")


def _trained(record: Record) -> List[LayerStatistics]:
    """Return the layer's statistics before training, and after each of its runs."""
    if not record.initial:
        return []
    runs = [run.layers[record.layer].statistics for run in record.training]
    return [record.initial[record.layer], *runs]


def _due(record: Record) -> List[LayerStatistics]:
    """Return what the statistics should be before training, and after each of its runs."""
    if not record.initial:
        return []
    runs = [run.layers[record.layer].expected for run in record.training]
    return [record.initial[record.layer], *runs]


def _inferred(record: Record) -> List[LayerStatistics]:
    return [
        LayerStatistics(step.moving_mean, step.moving_variance)
        for inferred in record.passes[:1]
        for step in inferred.steps
    ]


def _pyplot() -> Any:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise BnguardError(
            "--plot: Matplotlib is not installed. Install it with: pip install 'bnguard[plot]'"
        ) from error
    return pyplot
