"""Compare a layer's values before and after a run with the closed form."""

from __future__ import annotations

from typing import Dict, NamedTuple

import numpy as np

from bnguard.harness.results.closed_form import (
    NOTHING,
    Affine,
    Data,
    LayerStatistics,
    advance,
    root,
    which_data,
    which_statistics,
)
from bnguard.harness.results.record import InferenceStep, LayerRun, Values
from bnguard.harness.results.terms import Reads


class LayerObserver(NamedTuple):
    """A layer as the closed form describes it.

    Attributes:
      scope: the scope of its variables.
      decay: the decay of its moving averages.
      epsilon: the constant that it adds to the variance.
      bessel: whether its moving variance has Bessel's correction.
    """

    scope: str
    decay: float
    epsilon: float
    bessel: bool

    def statistics(self, values: Values) -> LayerStatistics:
        """Return the layer's running statistics among the values of all variables, as float64."""
        return LayerStatistics(
            values[self.name("moving_mean")].astype(np.float64),
            values[self.name("moving_variance")].astype(np.float64),
        )

    def name(self, variable: str) -> str:
        """Return the full name of one of its variables."""
        return f"{self.scope}/{variable}"

    def advance(self, statistics: LayerStatistics, batch: Data) -> LayerStatistics:
        """Return the statistics after a training step on `batch`, float [rows, ..., channels]."""
        return advance(statistics, batch, self.decay, self.bessel)

    def trained(
        self,
        was: Values,
        now: Values,
        data: Dict[str, Data],
        due: str,
        expected: LayerStatistics,
    ) -> LayerRun:
        """Describe the effect of a training run on the statistics.

        Args:
          was: every variable before the run.
          now: every variable after it.
          data: the batches that the graph computes for the layer, or other statistics, by name.
          due: the name of the data that a correct graph absorbs, or `nothing`.
          expected: the closed form of the statistics before the run.
        """
        before, after = self.statistics(was), self.statistics(now)
        return LayerRun(
            due=due,
            absorbed=which_data(before, after, data, self.decay, self.bessel),
            statistics=after,
            expected=expected if due == NOTHING else self.advance(expected, data[due]),
        )

    def inferred(
        self, was: Values, now: Values, x: np.ndarray, inputs: np.ndarray, y: np.ndarray
    ) -> InferenceStep:
        """Describe an inference step.

        Args:
          was: every variable before the step.
          now: every variable after it.
          x: the rows fed, float32 [rows, *spatial, channels].
          inputs: the tensor that the layer normalized, float32 [rows, ..., channels].
          y: the layer's output for `inputs`, of the same shape.
        """
        before, parameters = self.statistics(was), self._affine(now)
        return InferenceStep(
            x=x,
            y=y,
            check=(inputs - before.mean) / (root(before.variance) + 0.001),
            beta=parameters.beta,
            gamma=parameters.gamma,
            moving_mean=now[self.name("moving_mean")],
            moving_variance=now[self.name("moving_variance")],
            reads=self.reads(was, now, inputs, y),
        )

    def reads(self, was: Values, now: Values, inputs: np.ndarray, y: np.ndarray) -> Reads:
        """Return which statistics turned `inputs` into y in a run."""
        before, after = self.statistics(was), self.statistics(now)
        return which_statistics(inputs, y, before, after, self._affine(was))

    def _affine(self, values: Values) -> Affine:
        mean = values[self.name("moving_mean")]
        return Affine(
            values.get(self.name("beta"), np.zeros_like(mean)),
            values.get(self.name("gamma"), np.ones_like(mean)),
            self.epsilon,
        )
