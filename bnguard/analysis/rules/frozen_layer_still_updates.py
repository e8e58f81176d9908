"""## What it does
Says which running statistics a training step moves although it trains neither the gamma nor the
beta of their layer.

## Why is this bad
The layer was to be frozen. Its weights are, and its statistics follow the new data: the frozen
part of the network is another one after training, and what was trained before no longer fits.

## Example
```python
features = network(x, is_training=True, trainable=False)
train_op = optimizer.minimize(loss, var_list=head_variables)
```
`trainable` and `var_list` are about gradients; the updates are none of their business.

## Use instead
```python
features = network(x, is_training=False)
```

## Known false positives
Adapting only the statistics to new data, on purpose. Training steps that take turns on parts of
one network, as in adversarial training: there, too, look twice.

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
from bnguard.analysis.scenario.scenario import Scenario, Step

CODE = "BN206"
REMEDY = "Build the frozen layer with is_training=False, also in the graph that trains"


def check(scenario: Scenario) -> Iterator[Finding]:
    """One finding for each statistic and each training step."""
    graph = scenario.recognized.graph
    for step in filter(Step.applies_gradients, scenario.training):
        for statistic in scenario.recognized.statistics:
            changes = step.changes(statistic) if _is_frozen(scenario, step, statistic) else ()
            if not changes:
                continue
            yield Finding(
                rule=CODE,
                severity=WARNING,
                certain=step.surely_changes(statistic),
                variable=statistic.name,
                layer=statistic.layer,
                op=graph.names[changes[0].node],
                path=step.path(changes[0].node),
                fetch=step.fetch,
                problem=f"moved by {step.fetch}, which trains neither gamma nor beta of its layer",
                remedy=REMEDY,
            )


def _is_frozen(scenario: Scenario, step: Step, statistic: Statistic) -> bool:
    """Whether the loss depends on the layer, and the step writes neither gamma nor beta."""
    movers = scenario.recognized.movers(statistic.parameters)
    if not statistic.parameters or any(step.execution.needs(one.node) for one in movers):
        return False
    layer = {one.node for one in statistic.sources + statistic.readers}
    return not layer.isdisjoint(step.behind_gradients())
