"""Draw the running statistics of one or more records over training and inference."""

from __future__ import annotations

import os
from typing import Any, Sequence

from bnguard.errors import BnguardError
from bnguard.harness.record import Record
import numpy as np

FORMATS = (".png", ".svg")


def check_target(path: str) -> None:
    """Fail early where a plot could not be drawn to `path`.

    Raises:
      BnguardError: the file's ending is not one of FORMATS, its folder does not exist, or
        matplotlib is missing.
    """
    if not path.endswith(FORMATS):
        raise BnguardError(f"--plot {path}: expected a file name that ends in .png or .svg")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise BnguardError(f"--plot {path}: there is no folder {folder}; create it first")
    _pyplot()


def draw(records: Sequence[Record], path: str) -> None:
    """Write a figure: moving_mean above, moving_variance below, a column for each record.

    Each channel's moving_mean is drawn as its distance from where training left it. The
    last training steps are shown, as many as three times the inference steps.

    Raises:
      BnguardError: the file cannot be written.
    """
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(
        2, len(records), sharex="col", sharey="row", squeeze=False, figsize=(5 * len(records), 5)
    )
    for column, record in zip(axes.T, records):
        _draw_record(column, record)
    axes[0][0].set_ylabel("moving_mean - trained value")
    axes[1][0].set_ylabel("moving_variance")
    axes[0][0].legend(loc="upper left", fontsize="small")
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.endswith(".svg") else None)
    except OSError as error:
        raise BnguardError(f"--plot {path}: cannot be written ({error.strerror})") from error
    finally:
        pyplot.close(figure)


def _draw_record(column: Any, record: Record) -> None:
    inferred = record.passes[0].steps
    trained = record.training[-3 * len(inferred) - 1 :]
    mean = np.array([s.mean for s in trained] + [s.moving_mean for s in inferred])
    variance = np.array([s.variance for s in trained] + [s.moving_variance for s in inferred])
    last = max(len(trained) - 1, 0)  # where inference begins; a restored session trained nothing
    steps = np.arange(len(mean)) - last
    column[0].set_title(f"{record.side}/{record.case}.py")
    for channel in range(mean.shape[1]):
        label = f"channel {channel}"
        column[0].plot(steps, mean[:, channel] - mean[last, channel], label=label)
        column[1].plot(steps, variance[:, channel], label=label)
    for axis in column:
        axis.axvspan(0, steps[-1], alpha=0.12, color="grey", label="is_training=False")
    column[1].set_xlabel("steps; inference starts at 0")


def _pyplot() -> Any:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise BnguardError(
            "--plot needs matplotlib, which is not installed: pip install 'bnguard[plot]'"
        ) from error
    return pyplot
