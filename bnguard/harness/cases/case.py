"""What a case file in `repro/` or `fixed/` is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
import sys
from typing import Any, Dict, Iterable, Optional, Sequence, Tuple

from bnguard.errors import BnguardError
from bnguard.harness.claims import Claim
from bnguard.harness.results.closed_form import NOTHING
from bnguard.runtime import signals
from bnguard.runtime.tensorflow_import import import_tensorflow

try:
    with signals.installed():
        import_tensorflow()  # quietly, before the case file imports it
except BnguardError as error:  # a case file run by itself gets here before its `main`
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(2)


@dataclass(frozen=True)
class Case:
    """What both sides of a case share: the data they see and the property they claim.

    Attributes:
      claim: the property that the fixed side has and the buggy side lacks.
      mean: the mean of each channel of the data.
      deviation: the standard deviation of every channel; they are independent and normal.
      spatial: the dimensions between batch and channels; () for rank-2 inputs.
      decay: the decay of the case's layers, for the closed-form recurrence.
    """

    claim: Claim
    mean: Tuple[float, ...] = (0.0, 100.0)
    deviation: float = 1.0
    spatial: Tuple[int, ...] = ()
    decay: float = 0.9


@dataclass(frozen=True)
class Training:
    """One session.run of a training step.

    Attributes:
      fetch: what it fetches.
      feed: what it feeds beside x.
      updates: which of its data each layer is due to absorb in this run, scope to name; a
        layer that is not named is due to stand still. None: each its only data.
      outputs: what the loss sees of the first layer, of its data's shape; None: not looked at.
    """

    fetch: Any
    feed: Dict[Any, Any] = field(default_factory=dict)
    updates: Optional[Dict[str, str]] = None
    outputs: Optional[Any] = None

    def due(self, scope: str, data: Iterable[str]) -> str:
        """Which of its data, by name, the layer in `scope` is due to absorb; or `nothing`."""
        if self.updates is not None:
            return self.updates.get(scope, NOTHING)
        (only,) = data
        return only


@dataclass(frozen=True)
class Inference:
    """One session.run of an inference step.

    Attributes:
      output: the first layer's output.
      feed: what it feeds beside x.
      inputs: what the layer normalizes, of output's shape; None: x itself.
      beside: what the program fetches beside the output.
      target: of the session that infers, where it is another than the one that trains.
    """

    output: Any
    feed: Dict[Any, Any] = field(default_factory=dict)
    inputs: Optional[Any] = None
    beside: Sequence[Any] = ()
    target: Optional[str] = None


@dataclass(frozen=True)
class Model:
    """The graph that a case's `build` or `serve` made, as the harness runs it.

    Attributes:
      x: placeholder for the data, float32 [batch, *spatial, channels].
      training: the runs of one training step, in order; each is fed the same batch.
      inference: the run of an inference step.
      layers: scope of each layer to the data it sees in training, name to tensor, float32
        [batch, ..., channels]; the first is the layer that inference reads. None: one layer
        in scope `bn` that sees x.
      saver: saves and restores; None: `tf.train.Saver()`.
      variables: name to tensor of what the layer reads, for a graph that has no variables;
        None: every global variable.
      epsilon: the epsilon of the layers.
      target: of the session: a server of a cluster; empty for a session in this process.
    """

    x: Any
    training: Sequence[Training]
    inference: Inference
    layers: Optional[Dict[str, Dict[str, Any]]] = None
    saver: Optional[Any] = None
    variables: Optional[Dict[str, Any]] = None
    epsilon: float = 0.001
    target: str = ""

    @property
    def data(self) -> Dict[str, Dict[str, Any]]:
        """`layers`, with its default filled in."""
        return {"bn": {"batch": self.x}} if self.layers is None else self.layers
