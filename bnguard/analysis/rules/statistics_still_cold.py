"""## What it does
Finds running statistics in a checkpoint that still contain more than 5 % of their initial values.
It needs `--checkpoint`, and a graph that trains.

## Why is this bad
Each update keeps a share of the statistic, the decay. After `n` updates, `decay ** n` of the
initial value is left: with a decay of 0.999, 90 % after 100 updates. Inference then normalizes with
a mean and a variance that are mostly 0 and 1. It is far worse than training, although the weights
are good.

## Example
```python
y = batch_norm(x, decay=0.999, is_training=is_training)
for _ in range(100):
    session.run(train_op, {is_training: True})
```

## Use instead
```python
y = batch_norm(x, decay=0.97, is_training=is_training)
```
Or train for longer, or set `zero_debias_moving_mean=True`, which removes the initial value from the
mean. Or run the update ops alone over some batches before you save.

## Known false positives
The number of updates is the largest count in the checkpoint that the training step increases, such
as `global_step`. If training started from another checkpoint and its counter from 0, the initial
values are those of the other checkpoint, and may be good.

## References
- https://arxiv.org/abs/1412.6980 (section 3)
- https://github.com/soloice/mnist-bn/issues/3
"""

from __future__ import annotations

import math
from typing import Iterator

from bnguard.analysis.findings import WARNING, Finding
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.initial_values import LARGEST_SHARE, initial_shares
from bnguard.analysis.scenario.scenario import Scenario


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic in the checkpoint that is still cold."""
    for found in initial_shares(scenario):
        if found.share > LARGEST_SHARE:
            wanted = math.ceil(math.log(LARGEST_SHARE) / math.log(found.decay))
            decay = LARGEST_SHARE ** (1 / found.updates)
            yield RULE.finding(
                scenario.recognized,
                f"is cold: {100 * found.share:.0f} % of the initial value is left after "
                f"{found.updates} updates with a decay of {found.decay:.6g}",
                found.statistic.variable,
                found.statistic,
                remedy=f"Train until there are {wanted} updates, or use a decay of at most "
                f"{decay:.3f}, or {_RUN_UPDATES}",
            )


_RUN_UPDATES = "run the update ops alone over more batches before you save"
RULE = Rule("BN304", __name__, __doc__, WARNING, f"Train for longer, or {_RUN_UPDATES}", check)
