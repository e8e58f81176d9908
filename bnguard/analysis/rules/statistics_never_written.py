"""## What it does
Finds running statistics that a graph with training normalizes with, although no op in that graph
updates them.

## Why is this bad
The layer normalizes with the initial values, mean 0 and variance 1, in training as well as at
inference. It does not normalize at all; only gamma and beta have an effect.

## Example
```python
y = tf.layers.batch_normalization(x)  # training is False by default
train_op = optimizer.minimize(loss)
```

## Use instead
```python
y = tf.layers.batch_normalization(x, training=is_training)
```
Then also run the updates; see BN201.

## Known false positives
Fine-tuning that keeps the statistics of a checkpoint while it trains gamma and beta, or layers
without these. The rule ignores a layer whose gamma and beta are not trained, statistics whose
initial values are not 0 or 1, as from a checkpoint, and a layer without gamma and beta whose
statistics the program computes and feeds.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/layers/batch_normalization
- https://github.com/tensorflow/tensorflow/pull/16134
"""

from __future__ import annotations

from typing import Iterator, Optional

from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.ir.op_types import PLACEHOLDERS, RESTORES
from bnguard.analysis.ir.tensor_values import uniform_value
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.recognition.writes import Purpose
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic that a training step reads and no op updates."""
    types = scenario.recognized.graph.types
    for statistic in scenario.recognized.statistics:
        purposes = {write.purpose for write in statistic.writes}
        if purposes & {Purpose.UPDATE, Purpose.OPTIMIZE}:
            continue
        step = _reading_step(scenario, statistic)
        if step is None or _has_given_values(scenario, statistic):
            continue
        if statistic.parameters and not scenario.trains(statistic.parameters):
            continue
        if not statistic.parameters and _is_fed_or_copied(scenario, statistic):
            continue
        reader = next(layer.node for layer in statistic.readers if step.execution.needs(layer.node))
        yield RULE.finding(
            scenario.recognized,
            f"is never updated: no op in the graph updates what {types[reader]} normalizes with "
            f"in the step that runs {step.fetch}",
            reader,
            statistic,
            step,
            path_to=reader,
        )


def _reading_step(scenario: Scenario, statistic: Statistic) -> Optional[Step]:
    for step in scenario.training:
        if any(step.execution.needs(layer.node) for layer in statistic.readers):
            return step
    return None


def _has_given_values(scenario: Scenario, statistic: Statistic) -> bool:
    """Return whether it may start from a checkpoint, or from constants other than 0 and 1."""
    graph, provenance = scenario.recognized.graph, scenario.recognized.provenance
    for write in statistic.writes:
        if write.purpose is Purpose.INITIALIZE:
            origins = provenance.origins(graph.data_inputs(write.node)[-1])
            if not origins.is_complete:
                return True
            for origin in origins.tensors:
                constant = graph.constant(origin.node)
                if graph.types[origin.node] in RESTORES or (
                    constant is not None and uniform_value(constant) not in (0, 1)
                ):
                    return True
    return False


def _is_fed_or_copied(scenario: Scenario, statistic: Statistic) -> bool:
    """Return whether a program feeds or copies its values, such as those of a reward filter."""
    recognized = scenario.recognized
    updated = {other.variable for other in recognized.statistics if other.updates}
    return any(
        recognized.graph.types[origin.node] in PLACEHOLDERS or origin.node in updated
        for value in recognized.loaded_values(statistic.variable)
        for origin in recognized.provenance.origins(value).tensors
    )


RULE = Rule(
    "BN202",
    __name__,
    __doc__,
    ERROR,
    "Give the layer is_training=True, or the training flag, in the graph that trains",
    check,
)
