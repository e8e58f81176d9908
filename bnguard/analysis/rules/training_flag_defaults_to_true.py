"""## What it does
Finds training flags whose default is training: placeholders with such a default, and variables
that are initialized so.

## Why is this bad
A caller who does not know of the flag trains the model. Every request moves the statistics, and
each answer depends on the rest of its batch. Nothing fails, and nothing warns.

## Example
```python
is_training = tf.placeholder_with_default(True, [], name="is_training")
```

## Use instead
```python
is_training = tf.placeholder_with_default(False, [], name="is_training")
```
Then a caller who feeds nothing runs inference. Only the training loop knows that it trains, and it
can feed the flag. Or use `tf.placeholder(tf.bool, [])`, which TensorFlow requires to be fed.

## Known false positives
Graphs that are only ever trained, or whose callers all feed the flag.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/placeholder_with_default
"""

from __future__ import annotations

from typing import Iterator

from bnguard.analysis.findings import WARNING, Finding
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step
from bnguard.analysis.scenario.training_flags import TrainingFlag


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each flag whose default trains."""
    for flag in scenario.training_flags:
        if flag.default is flag.training and _trains_unfed(scenario, flag):
            yield RULE.finding(
                scenario.recognized,
                f"is {flag.default} unless {_given(flag)}, which means training",
                flag.tensor.node,
            )


def _given(flag: TrainingFlag) -> str:
    return "the program assigns another value" if flag.is_variable else "it is fed"


def _trains_unfed(scenario: Scenario, flag: TrainingFlag) -> bool:
    """Return whether its default trains when all other flags have their values for inference."""
    others = {
        other.tensor: other.at_inference for other in scenario.training_flags if other is not flag
    }
    if not others:
        return True
    feeds = {**others, flag.tensor: flag.default}
    steps = [step.with_feeds({**scenario.feeds, **feeds}) for step in scenario.inference]
    return not steps or any(map(_trains, steps))


def _trains(step: Step) -> bool:
    """Return whether it moves a statistic, or normalizes with the moments of its batch."""
    return any(map(step.effects, step.recognized.statistics)) or any(
        map(step.uses_moments, step.recognized.normalizations)
    )


RULE = Rule(
    "BN104",
    __name__,
    __doc__,
    WARNING,
    "Let the flag default to inference, and feed or set it where you train",
    check,
    about="training flag",
)
