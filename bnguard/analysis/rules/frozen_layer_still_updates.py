"""## What it does
Finds running statistics that a training step moves although it trains neither the gamma nor the
beta of their layer. If a step that trains the layer moves them, too, as in adversarial training,
where steps take turns, this is a note.

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
Programs that adapt only the statistics to new data, on purpose.

## References
- https://keras.io/guides/transfer_learning/
- https://github.com/keras-team/keras/issues/4762
- https://github.com/keras-team/keras/issues/7085
- https://github.com/tensorpack/tensorpack/issues/296
"""

from __future__ import annotations

from typing import Iterator

from bnguard.analysis.findings import NOTE, WARNING, Finding
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step

_REMEDY_FOR_TURNS = (
    "This is normal in steps that take turns on one network with updates in place: the average is "
    "over the batches of all of them. To average over those of one step, let each step depend on "
    "the updates of the network that it trains, and on no others"
)


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic of a frozen layer that a training step moves."""
    for step in filter(Step.applies_gradients, scenario.training):
        for statistic in scenario.recognized.statistics:
            effects = step.effects(statistic) if _is_frozen(step, statistic) else ()
            if effects:
                takes_turns = _is_moved_in_training(scenario, statistic)
                problem = (
                    f"is moved by {step.fetch}, which trains neither gamma nor beta of the layer"
                )
                yield RULE.finding(
                    step.recognized,
                    f"{problem}; another step does" if takes_turns else problem,
                    effects[0].node,
                    statistic,
                    step,
                    path_to=effects[0].node,
                    certain=step.certainly_changes(statistic),
                    severity=NOTE if takes_turns else "",
                    remedy=_REMEDY_FOR_TURNS if takes_turns else "",
                )


def _is_moved_in_training(scenario: Scenario, statistic: Statistic) -> bool:
    """Return whether a step that trains gamma or beta of a layer moves its statistic, too."""
    movers = scenario.recognized.movers(statistic.parameters)
    return any(
        bool(step.effects(statistic)) and any(step.execution.needs(write.node) for write in movers)
        for step in scenario.training
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
