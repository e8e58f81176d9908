"""## What it does
Finds running statistics that are in the collection TRAINABLE_VARIABLES, or that an optimizer
writes.

## Why is this bad
Statistics are averages, and must not follow a gradient. If the layer reads them in training, they
have a gradient, and the optimizer may make the variance anything, even negative. One step later
the output is NaN. Weight decay over all trainable variables pulls the statistics to zero.

## Example
```python
moving_mean = tf.get_variable("moving_mean", [channels])
```

## Use instead
```python
moving_mean = tf.get_variable("moving_mean", [channels], trainable=False)
```

## Known false positives
None known. A graph that only lists them in the collection, and computes no gradient of them, is
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
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic that is trainable or trained."""
    recognized = scenario.recognized
    trainable = set(recognized.collection("trainable_variables"))
    for statistic in recognized.statistics:
        optimizers = [write.node for write in statistic.writes if write.purpose is Purpose.OPTIMIZE]
        if optimizers:
            op_type = recognized.graph.types[optimizers[0]]
            problem = f"is written by an optimizer, {op_type}"
            yield RULE.finding(recognized, problem, optimizers[0], statistic)
        elif statistic.variable in trainable:
            problem = "is in the collection TRAINABLE_VARIABLES"
            yield RULE.finding(recognized, problem, statistic.variable, statistic, severity=WARNING)


RULE = Rule(
    "BN205",
    __name__,
    __doc__,
    ERROR,
    "Create the variable with trainable=False, or leave it out of the optimizer's var_list",
    check,
)
