"""## What it does
Says which running statistics a graph with training normalizes with, although nothing in that
graph ever updates them.

## Why is this bad
The layer normalizes with the initial values, mean 0 and variance 1, which is to say not at all,
in training as well as at inference. It has no effect but the one of gamma and beta.

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
Fine-tuning with the statistics of a checkpoint left as they are, while gamma and beta, or
layers without these, are trained. Not reported is a layer whose gamma and beta are not trained, or
whose statistics are initialized with other values than 0 or 1, as from a checkpoint; nor one
without gamma and beta whose statistics the program computes itself and feeds.

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
from bnguard.analysis.scenario.scenario import Scenario, Step

CODE = "BN202"
REMEDY = "Give the layer is_training=True, or the training flag, in the graph that trains"


def check(scenario: Scenario) -> Iterator[Finding]:
    """One finding for each statistic that a training step reads and nothing updates."""
    graph = scenario.recognized.graph
    for statistic in scenario.recognized.statistics:
        purposes = {write.purpose for write in statistic.writes}
        if purposes & {Purpose.UPDATE, Purpose.OPTIMIZE}:
            continue
        step = _reading_step(scenario, statistic)
        if step is None or _has_values_of_its_own(scenario, statistic):
            continue
        if statistic.parameters and not scenario.trains(statistic.parameters):
            continue
        if not statistic.parameters and _is_given(scenario, statistic):
            continue
        reader = next(one.node for one in statistic.readers if step.execution.needs(one.node))
        yield Finding(
            rule=CODE,
            severity=ERROR,
            certain=True,
            variable=statistic.name,
            layer=statistic.layer,
            op=graph.names[reader],
            path=step.path(reader),
            fetch=step.fetch,
            problem=(
                f"never updated: {graph.types[reader]} normalizes with it in the step that runs "
                f"{step.fetch}, and no op in the graph updates it"
            ),
            remedy=REMEDY,
        )


def _reading_step(scenario: Scenario, statistic: Statistic) -> Optional[Step]:
    for step in scenario.training:
        if any(step.execution.needs(one.node) for one in statistic.readers):
            return step
    return None


def _has_values_of_its_own(scenario: Scenario, statistic: Statistic) -> bool:
    """Whether it starts from a checkpoint, or from constants that are neither 0 nor 1."""
    graph, provenance = scenario.recognized.graph, scenario.recognized.provenance
    for write in statistic.writes:
        if write.purpose is Purpose.INITIALIZE:
            for origin in provenance.origins(graph.data_inputs(write.node)[-1]).tensors:
                constant = graph.constant(origin.node)
                if graph.types[origin.node] in RESTORES or (
                    constant is not None and uniform_value(constant) not in (0, 1)
                ):
                    return True
    return False


def _is_given(scenario: Scenario, statistic: Statistic) -> bool:
    """Whether a program feeds its values, as of a filter of rewards, or copies a network's."""
    recognized = scenario.recognized
    updated = {one.variable for one in recognized.statistics if one.updates}
    return any(
        recognized.graph.types[origin.node] in PLACEHOLDERS or origin.node in updated
        for value in recognized.loaded_values(statistic.variable)
        for origin in recognized.provenance.origins(value).tensors
    )
