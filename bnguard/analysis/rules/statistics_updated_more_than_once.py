"""## What it does
Finds running statistics that one training step updates with several ops: a layer that is called on
several inputs, such as both sides of a Siamese network, time steps, or real and generated data; or
a train op that runs the updates of several networks with the same variables.

It also finds a layer in a loop, such as that of `tf.map_fn`, whose iterations overwrite each
other's updates.

## Why is this bad
If nothing orders the updates, they race. Each subtracts (1 - decay) * (old value - moment), so two
may subtract from one old value, and the step has several possible results. With a low decay the
variance may become negative: the old value is subtracted more than once. Then the output is NaN.

If they are ordered, with the reads of the old value, each update shortens the memory of the one
before it. The average is that of a mixture of the inputs, and that fits none of them: the means
differ, and the variance of the mixture is not the average of the variances.

In a loop, each iteration may start from the value that the variable had before the loop:
`tf.map_fn` and `tf.scan` read a variable once, before they loop, and pass the value in. Then only
the last iteration counts, or the differences of all are added up from one value. Without
`parallel_iterations=1`, iterations run at the same time, and an update of one may be lost, too; the
audit does not report that.

## Example
```python
left = network(x_left, is_training=True)
right = network(x_right, is_training=True, reuse=True)
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train_op = optimizer.minimize(distance(left, right))
```

## Use instead
```python
both = network(tf.concat([x_left, x_right], axis=0), is_training=True)
left, right = tf.split(both, 2)
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train_op = optimizer.minimize(distance(left, right))
```
One call on all rows updates once. Or run the updates of one call only: give the other calls another
collection, `updates_collections="not run"`.

## Known false positives
A program that orders the updates and means to average over all inputs, one after the other.

## References
- https://github.com/tensorflow/tensorflow/issues/18334
- https://github.com/tensorflow/tensorflow/issues/14353
- https://github.com/google/compare_gan/issues/8
- https://github.com/carpedm20/DCGAN-tensorflow/issues/266
"""

from __future__ import annotations

from itertools import combinations, islice
from typing import Iterator, List, Sequence

from bnguard.analysis.dataflow.loops import NO_FRAME, Frames
from bnguard.analysis.dataflow.predicates import NEVER, conjunction
from bnguard.analysis.dataflow.reachability import data_closure
from bnguard.analysis.findings import ERROR, WARNING, Finding
from bnguard.analysis.ir.op_types import ENTERS
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.races import Accesses, LoopUpdate, lost_in_loops, races, readers
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step
from bnguard.analysis.scenario.towers import Towers
from bnguard.analysis.scenario.update_remedy import UpdateRemedy, remedy_for
from bnguard.analysis.scenario.write_effects import WriteEffect

_REMEDY_FOR_LOOPS = (
    "Call the layer once, outside the loop, on the rows of all iterations. If the loop must "
    "update, use tf.while_loop with parallel_iterations=1, and create the layer, or read the "
    "variable, inside the loop: tf.map_fn and tf.scan read a variable before"
)
_REMEDY_FOR_TOWERS = (
    "Call the layer once more, on the rows of all towers, and build {} under the updates of that "
    "call alone"
)


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic that a training step updates more than once."""
    remedy, towers = remedy_for(scenario), Towers(scenario.recognized)
    for step in scenario.training:
        several = [
            statistic
            for statistic in scenario.recognized.statistics
            if len(statistic.updates) > 1 and _run_together(_updates(step, statistic))
        ]
        accesses = [
            _accesses(step, statistic, [effect.node for effect in _updates(step, statistic)])
            for statistic in several
        ]
        for statistic, pairs in zip(several, races(step.execution, accesses)):
            text = _remedy(remedy, towers, step, statistic)
            yield _finding(step, statistic, is_ordered=not pairs, remedy=text)
    if scenario.recognized.graph.of_types(ENTERS):
        yield from _check_loops(scenario)


def _check_loops(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic that the iterations of a loop update from one value."""
    frames = Frames(scenario.recognized.graph)
    for step in scenario.training or (*scenario.inference, *scenario.possible):
        for statistic in scenario.recognized.statistics:
            written = {write.node for write in statistic.updates}
            updates = [effect.node for effect in step.effects(statistic) if effect.node in written]
            if any(frames.of_node[node] != NO_FRAME for node in updates):
                accesses = _accesses(step, statistic, updates)
                for lost in islice(lost_in_loops(step.execution, frames, accesses), 1):
                    yield _finding_in_loop(step, statistic, lost)


def _finding_in_loop(step: Step, statistic: Statistic, lost: LoopUpdate) -> Finding:
    return RULE.finding(
        step.recognized,
        f"is updated in each iteration of the loop {lost.loop} in the step that runs {step.label}, "
        "but the iterations overwrite each other: all start from the value that was read before "
        "the loop",
        lost.node,
        statistic,
        step,
        path_to=lost.node,
        certain=step.runs(lost.node),
        remedy=_REMEDY_FOR_LOOPS,
    )


def _updates(step: Step, statistic: Statistic) -> List[WriteEffect]:
    """Return the effects of the updates that average moments of a batch."""
    written_from = step.recognized.written_from
    updates = {write.node for write in statistic.updates if written_from(write).moments}
    return [effect for effect in step.effects(statistic) if effect.node in updates]


def _accesses(step: Step, statistic: Statistic, updates: List[int]) -> Accesses:
    """Return the updates, with the reads of the old value that they are computed from.

    The value of a resource variable may be read long before it is used.
    """
    reads = set(readers(step.execution, statistic.variable))
    behind = data_closure(step.recognized.graph, updates, until=reads)
    return Accesses([*sorted(reads & behind), *updates], updates)


def _run_together(updates: Sequence[WriteEffect]) -> bool:
    """Return whether any two may run in one step; those on two sides of a branch do not."""
    return any(
        conjunction([one.predicate, other.predicate]) is not NEVER
        for one, other in combinations(updates, 2)
    )


def _remedy(remedy: UpdateRemedy, towers: Towers, step: Step, statistic: Statistic) -> str:
    """Return what to do so that a step updates a statistic once, or "" if no op can wait for it."""
    own, dependencies = list(remedy.own(step, statistic)), remedy.own_updates(step)
    train_op = remedy.train_op(step)
    if not dependencies:
        return ""
    if not own:
        return f"Build {train_op} under the updates of its own network alone: {dependencies}"
    if towers.left_out(statistic, own[:1], step):
        return _REMEDY_FOR_TOWERS.format(train_op)
    return (
        f"Call the layer once on all rows of a step; or build {train_op} under the updates of one "
        f"call alone: {dependencies}"
    )


def _finding(step: Step, statistic: Statistic, is_ordered: bool, remedy: str) -> Finding:
    updates = _updates(step, statistic)
    order = "one after the other" if is_ordered else "and nothing orders them"
    return RULE.finding(
        step.recognized,
        f"is updated by {len(updates)} ops in the step that runs {step.label}, {order}",
        updates[-1].node,
        statistic,
        step,
        path_to=updates[-1].node,
        certain=sum(step.runs(effect.node) for effect in updates) > 1,
        severity=WARNING if is_ordered else ERROR,
        remedy=remedy,
    )


RULE = Rule(
    "BN105",
    __name__,
    __doc__,
    ERROR,
    "Call the layer once on all rows of a step, or run the updates of one call only: give the "
    "other calls a collection that the train op does not depend on",
    check,
)
