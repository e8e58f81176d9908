"""## What it does
Finds running statistics that a step writes although it only fetches the output of inference. It
names the op that writes, and the path by which the fetch comes to need that op.

## Why is this bad
Every evaluation changes the model. The statistics drift towards the evaluated data, the accuracy
falls from one evaluation to the next, and the next checkpoint stores the damage. With one row in
a batch the variance shrinks at every call.

## Example
```python
bn_train = batch_norm(x, is_training=True, updates_collections=None, scope="bn")
bn_inference = batch_norm(x, is_training=False, reuse=True, scope="bn")
y = tf.cond(is_training, lambda: bn_train, lambda: bn_inference)
```
`tf.cond` runs conditionally only the ops that are created inside its functions. `bn_train` is
created before it and is one of its inputs. Every step therefore computes `bn_train`, and runs its
updates.

## Use instead
```python
y = batch_norm(x, is_training=is_training, updates_collections=None, scope="bn")
```
The layer builds both branches inside one `tf.cond`, and its updates in the branch for training.

## Known false positives
None where the finding says "written". It says "may be written" where this depends on a predicate
whose value the audit does not know. Give the value with `--feed NAME=VALUE`. It also says so for
a Keras layer of TensorFlow 2 whose `training` is a tensor: at inference the layer assigns to the
statistics what its fused op returns. On a CPU this is their own value, unless the batch has no
rows.

## References
- https://habr.com/ru/post/1667048/
- https://github.com/tensorflow/tensorflow/issues/16652
- https://github.com/tensorflow/tensorflow/issues/1724
"""

from __future__ import annotations

from typing import Iterator

from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.rules.rule import Rule, as_note
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic that an inference step writes, or a possible one."""
    for step in scenario.inference:
        yield from check_step(step)
    for step in scenario.possible:
        for finding in check_step(step):
            yield as_note(finding, step.label)


def check_step(step: Step) -> Iterator[Finding]:
    """Yield a finding for each statistic that this step writes."""
    graph = step.recognized.graph
    for statistic in step.recognized.statistics:
        effects = step.effects(statistic)
        if effects:
            node, certain = effects[0].node, step.certainly_changes(statistic)
            verb = "is written" if certain else "may be written"
            yield RULE.finding(
                step.recognized,
                f"{verb} by {graph.types[node]} when {step.label} is fetched",
                node,
                statistic,
                step,
                path_to=node,
                certain=certain,
                condition="" if certain else step.condition([node]),
            )


RULE = Rule(
    "BN101",
    __name__,
    __doc__,
    ERROR,
    "Build the layer once and give it the training flag as a tensor, so that its updates are "
    "inside the branch for training; or fetch from a graph built with is_training=False",
    check,
    is_rescuable=True,
)
