"""The types that a case file in `repro/` or `fixed/` is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, Iterable, Optional, Sequence, Tuple

from bnguard.harness.results.closed_form import NOTHING

if TYPE_CHECKING:
    from bnguard.harness.claims import Claim


@dataclass(frozen=True)
class Case:
    """The properties that both sides of a case share: their data and their claim.

    Attributes:
      claim: the property that the fixed side has and the buggy side lacks.
      mean: the mean of each channel of the data.
      deviation: the standard deviation of every channel; channels are independent and normal.
      spatial: the dimensions between batch and channels; () for rank-2 inputs.
    """

    claim: Claim
    mean: Tuple[float, ...] = (0.0, 100.0)
    deviation: float = 1.0
    spatial: Tuple[int, ...] = ()


@dataclass(frozen=True)
class Training:
    """One session.run of a training step.

    Attributes:
      fetch: the fetches.
      feed: the feeds beside x.
      updates: the data that each layer has to absorb in this run, scope to the data's name; the
        statistics of any other layer must not move. None: each layer absorbs its only data.
      outputs: the first layer's output as the loss uses it, of the shape of the layer's data;
        None: not observed.
    """

    fetch: Any
    feed: Dict[Any, Any] = field(default_factory=dict)
    updates: Optional[Dict[str, str]] = None
    outputs: Optional[Any] = None

    def due(self, scope: str, data: Iterable[str]) -> str:
        """Return the name of the data that the layer in `scope` has to absorb, or `nothing`."""
        if self.updates is not None:
            return self.updates.get(scope, NOTHING)
        (only,) = data
        return only


@dataclass(frozen=True)
class Inference:
    """One session.run of an inference step.

    Attributes:
      output: the first layer's output.
      feed: the feeds beside x.
      inputs: the layer's input, of output's shape; None: x itself.
      beside: other fetches of the same step.
      target: the target of the session that infers; None: the session that trains infers too.
    """

    output: Any
    feed: Dict[Any, Any] = field(default_factory=dict)
    inputs: Optional[Any] = None
    beside: Sequence[Any] = ()
    target: Optional[str] = None


@dataclass(frozen=True)
class Model:
    """The graph that a case's `build` or `serve` built, as the harness runs it.

    Attributes:
      x: the placeholder of the data, float32 [batch, *spatial, channels].
      training: the runs of one training step, in order; each is fed the same batch.
      inference: the run of an inference step.
      layers: scope of each layer to its inputs in training, name to tensor, float32
        [batch, ..., channels], or to LayerStatistics that the layer copies; inference reads the
        first layer. None: one layer in scope `bn` whose input is x.
      saver: saves and restores; None: `tf.train.Saver()`.
      variables: name to tensor of the values that the layer reads, for a graph without
        variables; None: every global variable.
      decay: the decay of the layers' moving averages.
      epsilon: the epsilon of the layers.
      target: the session's target: a server of a cluster, or empty for this process.
    """

    x: Any
    training: Sequence[Training]
    inference: Inference
    layers: Optional[Dict[str, Dict[str, Any]]] = None
    saver: Optional[Any] = None
    variables: Optional[Dict[str, Any]] = None
    decay: float = 0.9
    epsilon: float = 0.001
    target: str = ""

    @property
    def data(self) -> Dict[str, Dict[str, Any]]:
        """Return `layers`, or its default."""
        return {"bn": {"batch": self.x}} if self.layers is None else self.layers
