"""## What it does
Says which running statistics are in the collection TRAINABLE_VARIABLES, or are written by an
optimizer.

## Why is this bad
Statistics are averages, and have no business following a gradient. Where the layer reads them
in training there is one, and the optimizer makes the variance anything, also negative, which is
NaN one step later. Weight decay over all trainable variables pulls them to zero.

## Example
```python
moving_mean = tf.get_variable("moving_mean", [channels])
```

## Use instead
```python
moving_mean = tf.get_variable("moving_mean", [channels], trainable=False)
```

## Known false positives
None known. A graph that merely lists them in the collection, and takes no gradient of them, is
still one `minimize(loss + weight_decay)` away from the defect.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/get_variable
- https://github.com/davidsandberg/facenet/issues/424
- https://github.com/keras-team/keras/issues/6818
"""

from __future__ import annotations

from typing import Iterator

from bnguard.analysis.findings import ERROR, WARNING, Finding
from bnguard.analysis.recognition.writes import Purpose
from bnguard.analysis.scenario.scenario import Scenario

CODE = "BN205"
REMEDY = "Create the variable with trainable=False, or leave it out of the optimizer's var_list"


def check(scenario: Scenario) -> Iterator[Finding]:
    """One finding for each statistic."""
    recognized = scenario.recognized
    listed = set(recognized.collection("trainable_variables"))
    for statistic in recognized.statistics:
        optimizers = [one for one in statistic.writes if one.purpose is Purpose.OPTIMIZE]
        if not optimizers and statistic.variable not in listed:
            continue
        problem = "in the collection TRAINABLE_VARIABLES"
        if optimizers:
            problem = f"written by an optimizer, {recognized.graph.types[optimizers[0].node]}"
        node = optimizers[0].node if optimizers else statistic.variable
        yield Finding(
            rule=CODE,
            severity=ERROR if optimizers else WARNING,
            certain=True,
            variable=statistic.name,
            layer=statistic.layer,
            op=recognized.graph.names[node],
            path=(),
            fetch="",
            problem=problem,
            remedy=REMEDY,
        )
