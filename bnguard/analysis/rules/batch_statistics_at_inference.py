"""## What it does
Says which layers, in a step that fetches the output of inference, normalize with the mean and
the variance of the very batch that they are given.

## Why is this bad
The answer for one row depends on the other rows in its batch. A row alone is normalized to
beta, whatever is in it. What the layer learned in its running statistics is not used at all.

## Example
```python
logits = network(images, is_training=True)  # also the default of tf.contrib.layers.batch_norm
saver.restore(session, checkpoint)
session.run(logits, {images: one_image})
```

## Use instead
```python
logits = network(images, is_training=False)
```
Build the graph for inference with `is_training=False`, with `reuse=True` if it is beside the
one for training, or give all layers one boolean tensor and feed it.

## Known false positives
Networks that mean to use the batch's statistics at inference: some generative models, style
transfer, domain adaptation by statistics. Instance normalization that reshapes its inputs and
has a batch normalization do it, and layer normalization over a first axis that is no batch. In a
graph with training and no flag this is looked for only in networks that the training step does
not use.

## References
- https://github.com/tensorflow/tensorflow/issues/16593
- https://github.com/tensorflow/models/issues/391
- https://github.com/tensorflow/models/issues/3556
"""

from __future__ import annotations

from typing import Dict, Iterator, List

from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.recognition.normalizations import Normalization
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.scenario.scenario import Scenario, Step

CODE = "BN103"
REMEDY = (
    "Build the layer with is_training=False for inference, or give it the training flag as a "
    "tensor and feed False"
)


def check(scenario: Scenario) -> Iterator[Finding]:
    """One finding for each layer and each inference step that uses its batch's moments."""
    statistics = _statistics_by_layer(scenario)
    for step in scenario.inference:
        for one in scenario.recognized.normalizations:
            known = statistics.get(one, [])
            if (known or one.is_scaled) and step.uses_moments(one):
                yield _finding(scenario, step, one, known)


def _statistics_by_layer(scenario: Scenario) -> Dict[Normalization, List[Statistic]]:
    found: Dict[Normalization, List[Statistic]] = {}
    for statistic in scenario.recognized.statistics:
        for one in dict.fromkeys(statistic.readers + statistic.sources):
            found.setdefault(one, []).append(statistic)
    return found


def _finding(
    scenario: Scenario, step: Step, one: Normalization, statistics: List[Statistic]
) -> Finding:
    graph = scenario.recognized.graph
    moment = next(moment for moment in one.moments if step.execution.may_run(moment.node))
    certain = step.runs(moment.node) and all(
        step.execution.certainly_uses(node) for node in (moment.node, one.node)
    )
    name = graph.names[one.node]
    return Finding(
        rule=CODE,
        severity=ERROR,
        certain=certain,
        variable=statistics[0].name if statistics else "",
        layer=statistics[0].layer if statistics else name.rpartition("/")[0],
        op=name,
        path=step.path(one.node),
        fetch=step.fetch,
        problem=(
            f"{graph.types[one.node]} {'normalizes' if certain else 'may normalize'} with its own "
            f"batch's mean and variance when {step.fetch} is fetched"
        ),
        remedy=REMEDY,
    )
