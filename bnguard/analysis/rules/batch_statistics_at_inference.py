"""## What it does
Finds layers that, in a step which fetches the output of inference, normalize with the mean and the
variance of the batch that they are given.

## Why is this bad
The answer for one row depends on the other rows in its batch. A row alone is normalized to beta,
whatever it contains. The running statistics that the layer learned are not used.

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
Build the graph for inference with `is_training=False`, and with `reuse=True` if it is beside the
graph for training. Or give all layers one boolean tensor and feed it.

## Known false positives
Networks that use the statistics of the batch at inference on purpose: some generative models, style
transfer, domain adaptation by statistics. Also instance normalization that reshapes its inputs
for a batch normalization, and layer normalization over a first axis that is not the batch. In a
graph with training and no training flag, the audit looks for this only in networks that the
training step does not use.

## References
- https://github.com/tensorflow/tensorflow/issues/16593
- https://github.com/tensorflow/models/issues/391
- https://github.com/tensorflow/models/issues/3556
"""

from __future__ import annotations

from typing import Dict, Iterator

from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.recognition.normalizations import Normalization
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.rules.rule import Rule, as_note
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each layer that uses the moments of its batch in an inference step."""
    for step in scenario.inference:
        yield from check_step(step)
    for step in scenario.possible:
        for finding in check_step(step):
            yield as_note(finding, step.label)


def check_step(step: Step) -> Iterator[Finding]:
    """Yield a finding for each layer that uses the moments of its batch in this step."""
    for layer, scope in scopes_of_layers(step.recognized).items():
        if step.uses_moments(layer):
            yield _finding(step, layer, scope)


def scopes_of_layers(recognized: RecognizedGraph) -> Dict[Normalization, str]:
    """Return the normalizations that have running statistics, gamma or beta, in order.

    Each is given with the scope of its variables, or else of its op.
    """
    known: Dict[Normalization, str] = {}
    for statistic in recognized.statistics:
        for layer in statistic.readers + statistic.sources:
            known.setdefault(layer, statistic.layer)
    return {
        layer: known[layer] if layer in known else _scope(recognized, layer)
        for layer in recognized.normalizations
        if layer in known or layer.is_scaled
    }


def _finding(step: Step, layer: Normalization, scope: str) -> Finding:
    recognized, execution = step.recognized, step.execution
    moment = next(moment for moment in layer.moments if execution.may_run(moment.node))
    certain = step.runs(moment.node) and all(
        map(execution.certainly_uses, (moment.node, layer.node))
    )
    verb = "normalizes" if certain else "may normalize"
    return RULE.finding(
        recognized,
        f"{verb} with the mean and variance of its own batch when {step.label} is fetched",
        layer.node,
        step=step,
        path_to=layer.node,
        is_data=True,
        certain=certain,
        layer=scope,
        condition="" if certain else step.condition([moment.node]),
    )


def _scope(recognized: RecognizedGraph, layer: Normalization) -> str:
    names = recognized.graph.names
    variable = next((node for node in layer.parameters), layer.node)
    return names[variable].rpartition("/")[0] or names[layer.node]


RULE = Rule(
    "BN103",
    __name__,
    __doc__,
    ERROR,
    "Build the layer with is_training=False for inference, or give it the training flag as a "
    "tensor and feed False",
    check,
    about="layer",
)
