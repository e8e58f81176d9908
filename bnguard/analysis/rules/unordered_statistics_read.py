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

from bnguard.analysis.dataflow.predicates import ALWAYS
from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.scenario.races import Accesses, ReadWritePair, races, readers
from bnguard.analysis.scenario.scenario import Scenario, Step

CODE = "BN102"
REMEDY = (
    "Keep the updates out of the inference step, or order them with the layer that reads, by "
    "tf.control_dependencies"
)


def check(scenario: Scenario) -> Iterator[Finding]:
    """One finding for each statistic and each inference step that reads it at no set time."""
    for step in scenario.inference:
        changing = [one for one in scenario.recognized.statistics if step.changes(one)]
        all_accesses = [_accesses(step, one) for one in changing]
        for statistic, pairs in zip(changing, races(step.execution, all_accesses)):
            if pairs:
                yield _finding(scenario, step, statistic, pairs)


def _accesses(step: Step, statistic: Statistic) -> Accesses:
    """The reads that what is fetched is computed from; the writes, those that are sure first."""
    changes = sorted(step.changes(statistic), key=lambda change: change.predicate != ALWAYS)
    reads = filter(step.execution.uses, readers(step.execution, statistic.variable))
    return Accesses(list(reads), [change.node for change in changes])


def _finding(
    scenario: Scenario, step: Step, statistic: Statistic, pairs: List[ReadWritePair]
) -> Finding:
    graph = scenario.recognized.graph
    sure = {change.node for change in step.changes(statistic) if change.predicate == ALWAYS}
    surely = [pair for pair in pairs if step.runs(pair[0]) and pair[1] in sure]
    read, write = (surely or pairs)[0]
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
