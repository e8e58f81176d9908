"""## What it does
Says which running statistics a step both reads, on the way to what it fetches, and writes,
with no path of data or control edges from the one to the other.

## Why is this bad
The output is not determined: it is computed from the statistics before the update, after it,
or from the mean of the one and the variance of the other. Which it is depends on timing. A new
process may answer the same input from the same checkpoint in another way than the process that
trained it.

## Example
```python
bn_train = batch_norm(x, is_training=True, updates_collections=None, scope="bn")
bn_inference = batch_norm(x, is_training=False, reuse=True, scope="bn")
y = tf.cond(is_training, lambda: bn_train, lambda: bn_inference)
```
`bn_inference` reads the variables that the updates in `bn_train` write in the same step.

## Use instead
```python
y = batch_norm(x, is_training=is_training, updates_collections=None, scope="bn")
```
At inference this runs no update. Where a step has to do both, order them: build the reading
layer under `tf.control_dependencies(updates)`.

## Known false positives
With resource variables a read yields a value, and TensorFlow often, but not surely, reads
before it writes. The finding stands: nothing makes it so.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/control_dependencies
- https://github.com/tensorflow/tensorflow/issues/16652
"""

from __future__ import annotations

from typing import Iterator, List

from bnguard.audit.conditions import ALWAYS
from bnguard.audit.finding import ERROR, Finding
from bnguard.audit.ordering import Pair, readers, unordered
from bnguard.audit.situation import Situation, Step
from bnguard.audit.variables import Statistic

CODE = "BN102"
REMEDY = (
    "Keep the updates out of the inference step, or order them with the layer that reads, by "
    "tf.control_dependencies"
)


def check(situation: Situation) -> Iterator[Finding]:
    """One finding for each statistic and each inference step that may read it too early or late."""
    for step in situation.inference:
        pairs = {one: _pairs(step, one) for one in situation.model.statistics}
        free = set(unordered(step.execution, [pair for some in pairs.values() for pair in some]))
        for statistic, some in pairs.items():
            races = [pair for pair in some if pair in free]
            if races:
                yield _finding(situation, step, statistic, races)


def _pairs(step: Step, statistic: Statistic) -> List[Pair]:
    """The reads that what is fetched is computed from, each with each write."""
    writes = [change.node for change in step.changes(statistic)]
    if not writes:
        return []
    reads = filter(step.execution.uses, readers(step.execution, statistic.variable))
    return [(read, write) for read in reads for write in writes if read != write]


def _finding(situation: Situation, step: Step, statistic: Statistic, races: List[Pair]) -> Finding:
    graph = situation.model.graph
    sure = {change.node for change in step.changes(statistic) if change.condition == ALWAYS}
    surely = [pair for pair in races if step.runs(pair[0]) and pair[1] in sure]
    read, write = (surely or races)[0]
    return Finding(
        rule=CODE,
        severity=ERROR,
        certain=bool(surely),
        variable=statistic.name,
        layer=statistic.layer,
        op=graph.names[write],
        path=step.path(read),
        fetch=step.fetch,
        problem=(
            f"read by {graph.types[read]} and {'' if surely else 'perhaps '}written by "
            f"{graph.types[write]} in the step that fetches {step.fetch}, in no order"
        ),
        remedy=REMEDY,
    )
