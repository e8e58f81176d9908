"""## What it does
Finds layers that training normalizes with the statistics of the batch although it trains neither
their gamma nor their beta, and that use their running statistics at inference, or keep them for an
inference that is not in the graph. No training step moves these; if one does, see BN206.

## Why is this bad
The layer was meant to be frozen, but its output is not: in training it depends on the batch, and at
inference on statistics of other data. What is trained behind the layer gets other features in
training than at inference, and the accuracy falls as soon as the mode changes.

## Example
```python
features = network(x, is_training=is_training, trainable=False)  # a pretrained network
logits = tf.layers.dense(features, 10)
train_op = optimizer.minimize(loss)
```

## Use instead
```python
features = network(x, is_training=False, trainable=False)
```

## Known false positives
A program that computes the statistics of the new data later, before it infers.

## References
- https://github.com/keras-team/keras/pull/9965
- https://github.com/keras-team/keras/issues/7177
"""

from __future__ import annotations

from typing import Iterator, Optional, Tuple

from bnguard.analysis.findings import WARNING, Finding
from bnguard.analysis.recognition.normalizations import Normalization
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic of a frozen layer that training does not use.

    A layer is not frozen if an op without gradient keeps training from it; see BN201.
    """
    recognized = scenario.recognized
    frozen = list(_frozen_with_batch(scenario))
    cut_off = recognized.cut_off(node for _, _, node in frozen)
    for statistic, step, node in frozen:
        if node not in cut_off:
            yield RULE.finding(
                recognized,
                f"is unused in training: {step.label} trains neither gamma nor beta of the layer, "
                "but normalizes with the statistics of the batch",
                node,
                statistic,
                step,
                path_to=node,
            )


def _frozen_with_batch(scenario: Scenario) -> Iterator[Tuple[Statistic, Step, int]]:
    """Yield the statistics of layers that no step trains, a step that uses the batch, and where."""
    for statistic in scenario.recognized.statistics:
        if not statistic.parameters or scenario.recognized.movers(statistic.parameters):
            continue
        step = _step_with_batch(scenario, statistic)
        if step is not None and _may_be_used_at_inference(scenario, statistic):
            layer = _layer_of_batch(step, statistic)
            yield statistic, step, statistic.readers[0].node if layer is None else layer.node


def _step_with_batch(scenario: Scenario, statistic: Statistic) -> Optional[Step]:
    """Return a step that trains behind the layer, unless a step moves the statistic."""
    steps = list(filter(Step.applies_gradients, scenario.training))
    if any(step.effects(statistic) for step in steps):
        return None
    return next((step for step in steps if _layer_of_batch(step, statistic) is not None), None)


def _layer_of_batch(step: Step, statistic: Statistic) -> Optional[Normalization]:
    """Return the layer on the statistic's parameters that normalizes with its batch in a step."""
    parameters = set(statistic.parameters)
    for layer in step.recognized.normalizations:
        runs = any(step.runs(moment.node) for moment in layer.moments)
        is_its = not parameters.isdisjoint(layer.parameters)
        if runs and is_its and layer.node in step.behind_gradients():
            return layer
    return None


def _may_be_used_at_inference(scenario: Scenario, statistic: Statistic) -> bool:
    """Return whether a step infers with a statistic, or no step infers with its layer at all."""
    steps = scenario.inference
    layers = statistic.readers + statistic.sources
    if not any(step.execution.needs(layer.node) for step in steps for layer in layers):
        return True
    return any(
        step.runs(layer.node) and not any(step.runs(moment.node) for moment in layer.moments)
        for step in steps
        for layer in statistic.readers
    )


RULE = Rule(
    "BN207",
    __name__,
    __doc__,
    WARNING,
    "Build the frozen layer with is_training=False, also in the graph that trains",
    check,
)
