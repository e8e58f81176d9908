"""What a run is between two training steps, beside its variables; and that as JSON."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from bnguard.errors import BnguardError
from bnguard.harness.results.closed_form import LayerStatistics
from bnguard.harness.results.record import LayerRun, TrainingRun
from bnguard.harness.run.options import check
import numpy as np

FREE = ("train_steps", "infer_steps", "save_every", "checkpoint_dir")
"""The flags that may be others when a run goes on."""

RUN = ("case", "side", "tensorflow", "sha256")
"""What no run can change and go on."""


class Point(NamedTuple):
    """All that a run needs to go on as if it had never stopped, but its variables.

    Attributes:
      step: training steps taken.
      run: the run's case, side and TensorFlow, as in its record, and the SHA-256 of the file.
      flags: the run's flags, by the names of their parameters.
      random: the state of the random stream, as `RandomState.get_state` has it.
      initial: scope of each layer to its statistics before training.
      training: the runs of all training steps so far.
      prefix: of the checkpoint that holds the variables; empty until one does.
    """

    step: int
    run: Dict[str, str]
    flags: Dict[str, Any]
    random: Tuple[Any, ...]
    initial: Dict[str, LayerStatistics]
    training: Sequence[TrainingRun]
    prefix: str = ""

    def flags_with(self, given: Dict[str, Any]) -> Dict[str, Any]:
        """The flags with which the run goes on: its own, and those that somebody has given now.

        Raises:
          BnguardError: one of these contradicts the run's, or asks for fewer training steps than
            the run has taken.
        """
        for name, value in given.items():
            if name not in FREE and value != self.flags[name]:
                raise BnguardError(
                    f"--{name.replace('_', '-')} {value}: {self.prefix} is of a run that was "
                    f"started with {self.flags[name]}. Leave the flag out to go on with that, or "
                    "leave out --resume to start another run."
                )
        if given.get("train_steps", self.step) < self.step:
            raise BnguardError(
                f"--train-steps {given['train_steps']}: {self.prefix} is of a run that has taken "
                f"{self.step} already. Give at least as many, or an earlier point of the run."
            )
        return {**self.flags, **given}

    def check_is_of(self, run: Dict[str, str]) -> None:
        """Check that this is a point of such a run.

        Raises:
          BnguardError: it is of another case, another side or another TensorFlow, or the case's
            file has changed.
        """
        ours, its = (
            f"{one['side']}/{one['case']}.py on TensorFlow {one['tensorflow']}"
            for one in (run, self.run)
        )
        if ours != its:
            raise BnguardError(
                f"{self.prefix}: this is a point of {its}, and cannot go on as {ours}. Resume it "
                "there, or start another run from its variables with --restore."
            )
        if run != self.run:
            raise BnguardError(
                f"{self.prefix}: {run['side']}/{run['case']}.py is not what it was when this run "
                "was started, and would not go on with it. Bring back the file as it was, or start "
                "another run from its variables with --restore."
            )

    def check_fits(self, initial: Mapping[str, LayerStatistics]) -> None:
        """Check that this is a point of a graph with these layers.

        Raises:
          BnguardError: it has other layers, or layers of other sizes.
        """
        ours, its = map(_sizes, (initial, self.initial))
        if ours != its:
            raise BnguardError(
                f"{self.prefix}: this is a point of a graph with the layers {its}, and the case "
                f"builds {ours}. Give a point of this case's run."
            )


def as_json(point: Point) -> Dict[str, Any]:
    """A point without its training runs, which are kept elsewhere, and without its prefix."""
    algorithm, keys, *rest = point.random
    return {
        "step": point.step,
        "run": point.run,
        "flags": point.flags,
        "random": [algorithm, keys.tolist(), *rest],
        "initial": {scope: _lists(one) for scope, one in point.initial.items()},
    }


def from_json(document: Dict[str, Any], training: Sequence[TrainingRun], prefix: str) -> Point:
    """The point that `as_json` made the document of, to the bit.

    Raises:
      ArithmeticError, AttributeError, LookupError, TypeError, ValueError: `as_json` made no such
        document.
    """
    check(document["flags"])
    initial = {scope: _statistics(lists) for scope, lists in document["initial"].items()}
    expected = _sizes(initial)
    for run in training:
        sizes = _sizes({scope: layer.statistics for scope, layer in run.layers.items()})
        if sizes != expected:
            raise ValueError(f"a step trained the layers {sizes}, and it starts with {expected}")
    return Point(
        _exactly(int, document["step"]),
        _run(document["run"]),
        document["flags"],
        _random(*document["random"]),
        initial,
        training,
        prefix,
    )


def as_line(run: TrainingRun) -> str:
    """A training run as a line of JSON. Python writes a float so that it reads the same one."""
    layers = {
        scope: [layer.due, layer.absorbed, _lists(layer.statistics), _lists(layer.expected)]
        for scope, layer in run.layers.items()
    }
    return json.dumps([run.moved, layers, run.reads]) + "\n"


def from_line(line: str) -> TrainingRun:
    """The training run that `as_line` made the line of, to the bit."""
    moved, layers, reads = json.loads(line)
    return TrainingRun(
        tuple(moved),
        {
            scope: LayerRun(due, absorbed, _statistics(statistics), _statistics(expected))
            for scope, (due, absorbed, statistics, expected) in layers.items()
        },
        reads,
    )


def _sizes(layers: Mapping[str, LayerStatistics]) -> Dict[str, int]:
    return {scope: len(statistics.mean) for scope, statistics in layers.items()}


def _random(
    algorithm: str, keys: List[int], place: int, has_gauss: int, gauss: float
) -> Tuple[Any, ...]:
    state = (algorithm, np.array(keys, np.uint32), place, has_gauss, gauss)
    np.random.RandomState().set_state(state)  # raises an error, but not for these:
    if not (0 <= _exactly(int, place) <= len(keys) and has_gauss in (0, 1)):
        raise ValueError(f"a random stream is not at {place} of {len(keys)}")
    return state


def _run(document: Dict[str, str]) -> Dict[str, str]:
    if document.keys() != set(RUN):
        raise ValueError(f"it is of a run with {', '.join(document) or 'nothing'}")
    return {name: _exactly(str, value) for name, value in document.items()}


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _lists(statistics: LayerStatistics) -> List[List[float]]:
    return [values.tolist() for values in statistics]


def _statistics(lists: Sequence[Sequence[float]]) -> LayerStatistics:
    mean, variance = (np.array(values, np.float64) for values in lists)
    if mean.ndim != 1 or mean.shape != variance.shape:
        raise ValueError(f"statistics have the shapes {mean.shape} and {variance.shape}")
    return LayerStatistics(mean, variance)
