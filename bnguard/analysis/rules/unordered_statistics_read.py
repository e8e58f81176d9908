"""## What it does
Finds running statistics that one step both writes, and reads on the way to what it fetches, with no
path of data or control edges that orders the two.

## Why is this bad
The read and the write race. The output is computed from the statistics before the update, from
those after it, or from the mean of one and the variance of the other. Which it is depends on
timing. A new process may answer the same input from the same checkpoint differently than the
process that trained it.

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
At inference this runs no update. If a step must do both, order them: build the layer that reads
under `tf.control_dependencies(updates)`.

## Known false positives
With resource variables a read yields a value. TensorFlow often reads before it writes, but nothing
guarantees it, so the finding stands.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/control_dependencies
- https://github.com/tensorflow/tensorflow/issues/16652
"""

from __future__ import annotations

from typing import Iterator, List

from bnguard.analysis.dataflow.predicates import ALWAYS
from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.races import Accesses, ReadWritePair, races, readers
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic that an inference step reads and writes in a race."""
    for step in scenario.inference:
        yield from check_step(step)


def check_step(step: Step) -> Iterator[Finding]:
    """Yield a finding for each statistic that this step reads and writes in a race."""
    changing = [statistic for statistic in step.recognized.statistics if step.effects(statistic)]
    accesses = [_accesses(step, statistic) for statistic in changing]
    for statistic, pairs in zip(changing, races(step.execution, accesses)):
        if pairs:
            yield _finding(step, statistic, pairs)


def _accesses(step: Step, statistic: Statistic) -> Accesses:
    """Return the reads that the fetch is computed from, and the writes, certain ones first."""
    effects = sorted(step.effects(statistic), key=lambda effect: effect.predicate != ALWAYS)
    reads = filter(step.execution.uses, readers(step.execution, statistic.variable))
    return Accesses(list(reads), [effect.node for effect in effects])


def _finding(step: Step, statistic: Statistic, pairs: List[ReadWritePair]) -> Finding:
    types = step.recognized.graph.types
    certain_writes = {
        effect.node for effect in step.effects(statistic) if effect.predicate == ALWAYS
    }
    certain = [pair for pair in pairs if step.runs(pair[0]) and pair[1] in certain_writes]
    read, write = (certain or pairs)[0]
    verb = "written" if certain else "may be written"
    return RULE.finding(
        step.recognized,
        f"is read by {types[read]} and {verb} by {types[write]} in the step that fetches "
        f"{step.label}, and nothing orders the two",
        write,
        statistic,
        step,
        path_to=read,
        certain=bool(certain),
    )


RULE = Rule(
    "BN102",
    __name__,
    __doc__,
    ERROR,
    "Keep the updates out of the inference step, or order them before the layer that reads with "
    "tf.control_dependencies",
    check,
)
