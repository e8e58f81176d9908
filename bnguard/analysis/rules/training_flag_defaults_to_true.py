"""## What it does
Says which training flags are placeholders with a default, and that default is training.

## Why is this bad
A caller who does not know of the flag trains: every request moves the statistics, and each
answer depends on the rest of its batch. Nothing fails, and nothing warns.

## Example
```python
is_training = tf.placeholder_with_default(True, [], name="is_training")
```

## Use instead
```python
is_training = tf.placeholder_with_default(False, [], name="is_training")
```
Then a caller who feeds nothing infers. Only the training loop knows that it trains, and it can
say so. Or use `tf.placeholder(tf.bool, [])`, for which TensorFlow demands a value.

## Known false positives
Graphs that are only ever trained, or whose callers all feed the flag.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/placeholder_with_default
"""

from __future__ import annotations

from typing import Iterator

from bnguard.analysis.findings import WARNING, Finding
from bnguard.analysis.scenario.scenario import Scenario, Step
from bnguard.analysis.scenario.training_flags import TrainingFlag

CODE = "BN104"
REMEDY = "Let the flag default to inference, and feed it where you train"


def check(scenario: Scenario) -> Iterator[Finding]:
    """One finding for each flag."""
    recognized = scenario.recognized
    for flag in scenario.training_flags:
        if flag.default is flag.training and _trains_unfed(scenario, flag):
            yield Finding(
                rule=CODE,
                severity=WARNING,
                certain=True,
                variable="",
                layer="",
                op=recognized.graph.names[flag.tensor.node],
                path=(),
                fetch="",
                problem=f"the training flag is {flag.default} unless it is fed, which is training",
                remedy=REMEDY,
            )


def _trains_unfed(scenario: Scenario, flag: TrainingFlag) -> bool:
    """Whether its default trains where every other flag is at its value for inference."""
    others = {one.tensor: not one.training for one in scenario.training_flags if one is not flag}
    if not others:
        return True
    feeds = {**others, flag.tensor: flag.default}
    steps = [one.with_feeds({**scenario.feeds, **feeds}) for one in scenario.inference]
    return not steps or any(map(_trains, steps))


def _trains(step: Step) -> bool:
    """Whether it moves a statistic, or normalizes with the moments of its batch."""
    return any(map(step.changes, step.recognized.statistics)) or any(
        map(step.uses_moments, step.recognized.normalizations)
    )
