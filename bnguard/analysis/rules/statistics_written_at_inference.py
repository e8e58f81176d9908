"""## What it does
Says which running statistics a step writes that fetches only the output of inference, by
which op, and by which path the fetch comes to need that op.

## Why is this bad
Every evaluation changes the model. The statistics drift towards the data that is evaluated,
the accuracy falls from one evaluation to the next, and the next checkpoint stores the damage.
With one row in a batch the variance shrinks at each call.

## Example
```python
bn_train = batch_norm(x, is_training=True, updates_collections=None, scope="bn")
bn_inference = batch_norm(x, is_training=False, reuse=True, scope="bn")
y = tf.cond(is_training, lambda: bn_train, lambda: bn_inference)
```
`tf.cond` runs conditionally only what is created inside its functions. `bn_train` is created
before it and is one of its inputs, so that each step computes it, and with it its updates.

## Use instead
```python
y = batch_norm(x, is_training=is_training, updates_collections=None, scope="bn")
```
The layer itself builds both branches inside of one `tf.cond`, with the updates in the one for
training.

## Known false positives
None where the finding says "written". It says "perhaps written" where this depends on a predicate
whose value the audit does not know: give it with `--feed NAME=VALUE`. It says so, too, of a Keras
layer of TensorFlow 2 whose `training` is a tensor: at inference it assigns to the statistics what
its fused op gives out, which on a CPU is their own value, unless the batch has no rows.

## References
- https://habr.com/ru/post/1667048/
- https://github.com/tensorflow/tensorflow/issues/16652
- https://github.com/tensorflow/tensorflow/issues/1724
"""

from __future__ import annotations

from typing import Iterator

from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.scenario.scenario import Scenario

CODE = "BN101"
REMEDY = (
    "Build the layer once and give it the training flag as a tensor, so that its updates are "
    "inside the branch for training; or fetch from a graph built with is_training=False"
)


def check(scenario: Scenario) -> Iterator[Finding]:
    """One finding for each statistic and each inference step that writes it."""
    graph = scenario.recognized.graph
    for step in scenario.inference:
        for statistic in scenario.recognized.statistics:
            changes = step.changes(statistic)
            if not changes:
                continue
            certain, node = step.surely_changes(statistic), changes[0].node
            yield Finding(
                rule=CODE,
                severity=ERROR,
                certain=certain,
                variable=statistic.name,
                layer=statistic.layer,
                op=graph.names[node],
                path=step.path(node),
                fetch=step.fetch,
                problem=(
                    f"{'' if certain else 'perhaps '}written by {graph.types[node]} when "
                    f"{step.fetch} is fetched"
                ),
                remedy=REMEDY,
            )
