"""What a run is between two training steps, beside its variables; and that as JSON."""

from __future__ import annotations

import json
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from bnguard.errors import BnguardError
from bnguard.harness.record import LayerRun, TrainingRun
from bnguard.harness.recurrence import Statistics
import numpy as np

FREE = ("train_steps", "infer_steps", "save_every", "checkpoint_dir")
"""The flags that may be others when a run goes on."""


class Point(NamedTuple):
    """All that a run needs to go on as if it had never stopped, but its variables.

    Attributes:
      step: training steps taken.
      run: the run's case, side and TensorFlow, as in its record.
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
    initial: Dict[str, Statistics]
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
          BnguardError: it is of another case, another side or another TensorFlow.
        """
        if self.run != run:
            ours, its = (
                f"{one['side']}/{one['case']}.py on TensorFlow {one['tensorflow']}"
                for one in (run, self.run)
            )
            raise BnguardError(
                f"{self.prefix}: this is a point of {its}, and cannot go on as {ours}. Resume it "
                "there, or start another run from its variables with --restore."
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
      LookupError, TypeError, ValueError: `as_json` made no such document.
    """
    algorithm, keys, *rest = document["random"]
    random = (algorithm, np.array(keys, np.uint32), *rest)
    np.random.RandomState().set_state(random)  # raises an error where it is none
    flags = document["flags"]
    if not flags.keys() >= set(FREE):
        raise ValueError(f"its flags are {', '.join(flags) or 'none'}")
    return Point(
        document["step"],
        document["run"],
        flags,
        random,
        {scope: _statistics(lists) for scope, lists in document["initial"].items()},
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


def _lists(statistics: Statistics) -> List[List[float]]:
    return [values.tolist() for values in statistics]


def _statistics(lists: Sequence[Sequence[float]]) -> Statistics:
    return Statistics(*(np.array(values, np.float64) for values in lists))
