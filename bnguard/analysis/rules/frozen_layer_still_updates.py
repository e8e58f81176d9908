"""## What it does
Finds running statistics that a training step moves although it trains neither the gamma nor the
beta of their layer.

## Why is this bad
The layer was meant to be frozen. Its weights stay, but its statistics follow the new data. After
training the frozen part of the network computes something else, and what was trained before no
longer fits it.

## Example
```python
features = network(x, is_training=True, trainable=False)
train_op = optimizer.minimize(loss, var_list=head_variables)
```
`trainable` and `var_list` only concern gradients, not updates.

## Use instead
```python
features = network(x, is_training=False)
```

## Known false positives
Programs that adapt only the statistics to new data, on purpose. Training steps that take turns on
parts of one network, as in adversarial training: check these carefully, too.

## References
- https://keras.io/guides/transfer_learning/
- https://github.com/keras-team/keras/issues/4762
- https://github.com/keras-team/keras/issues/7085
- https://github.com/tensorpack/tensorpack/issues/296
"""

from __future__ import annotations

from typing import Iterator

from bnguard.analysis.findings import WARNING, Finding
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic of a frozen layer that a training step moves."""
    for step in scenario.training:
        yield from check_step(step)


def check_step(step: Step) -> Iterator[Finding]:
    """Yield a finding for each statistic of a frozen layer that this step, if it trains, moves."""
    if not step.applies_gradients():
        return
    for statistic in step.recognized.statistics:
        effects = step.effects(statistic) if _is_frozen(step, statistic) else ()
        if effects:
            yield RULE.finding(
                step.recognized,
                f"is moved by {step.fetch}, which trains neither gamma nor beta of the layer",
                effects[0].node,
                statistic,
                step,
                path_to=effects[0].node,
                certain=step.certainly_changes(statistic),
            )


def _is_frozen(step: Step, statistic: Statistic) -> bool:
    """Return whether the loss depends on the layer, and the step trains neither gamma nor beta."""
    movers = step.recognized.movers(statistic.parameters)
    if not statistic.parameters or any(step.execution.needs(write.node) for write in movers):
        return False
    layers = {layer.node for layer in statistic.sources + statistic.readers}
    return not layers.isdisjoint(step.behind_gradients())


RULE = Rule(
    "BN206",
    __name__,
    __doc__,
    WARNING,
    "Build the frozen layer with is_training=False, also in the graph that trains",
    check,
)
