"""What a case file in `repro/` or `fixed/` is made of."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple

from bnguard.harness.claims import Claim
from bnguard.harness.quiet import import_tensorflow

import_tensorflow()  # quietly, before the case file imports it


class Case(NamedTuple):
    """What both sides of a case share: the data they see and the property they claim.

    Attributes:
      claim: the property that the fixed side has and the buggy side lacks.
      mean: the mean of each channel of the data, whose covariance is the identity.
      spatial: the dimensions between batch and channels; () for rank-2 inputs.
      decay: the decay of the case's layer, for the closed-form recurrence.
    """

    claim: Claim
    mean: Tuple[float, ...] = (0.0, 100.0)
    spatial: Tuple[int, ...] = ()
    decay: float = 0.9


class Model(NamedTuple):
    """The graph that a case's `build` made, as the harness runs it.

    Attributes:
      x: placeholder for the inputs of the layer, float32 [batch, *spatial, channels].
      output: what inference fetches, of x's shape: the layer's output.
      train_feed: fed with x in a training step.
      infer_feed: fed with x in an inference step.
      train: what a training step fetches; `output` where None.
      layer: the scope of the layer's four variables.
      epsilon: the epsilon of the layer.
    """

    x: Any
    output: Any
    train_feed: Dict[Any, Any]
    infer_feed: Dict[Any, Any]
    train: Optional[Any] = None
    layer: str = "bn"
    epsilon: float = 0.001
