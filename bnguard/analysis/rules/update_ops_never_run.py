"""## What it does
Says which running statistics have update ops that no training step runs, and how many of
these ops are in the collection UPDATE_OPS. Where several towers share a layer and a training
step runs the updates of some of them only, it warns. It says nothing of a layer whose gamma and
beta no op in the graph trains or copies: that layer is frozen, and its statistics are to stay (see
BN206).

## Why is this bad
The statistics stay what they were initialized to, mean 0 and variance 1. Training looks well,
because it uses the statistics of each batch; inference does not, and its output is useless.
Updated by one tower of several, they are those of its share of each batch.

## Example
```python
logits = batch_norm(x, is_training=True)  # its updates are only put into UPDATE_OPS
train_op = optimizer.minimize(loss)
```

## Use instead
```python
update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
with tf.control_dependencies(update_ops):
    train_op = optimizer.minimize(loss)
```
Or `slim.learning.create_train_op(loss, optimizer)`, which does that; or, in the layer,
`updates_collections=None`, which makes its output depend on its updates.

## Known false positives
Programs that fetch the updates beside the train op, `session.run([train_op, update_ops])`: name
both with `--train-op`. Towers of which one alone is to update the statistics, on purpose, as their
shares of a batch are alike.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/layers/batch_normalization
- https://github.com/tensorflow/tensorflow/issues/7469
- https://github.com/tensorflow/tensorflow/issues/11965
- https://github.com/tensorflow/tensorflow/issues/7439
"""

from __future__ import annotations

from typing import Iterator, List, Sequence, Set

from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.findings import ERROR, WARNING, Finding
from bnguard.analysis.ir.graph import Graph
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.scenario.scenario import Scenario, Step
from bnguard.analysis.scenario.towers import Towers

CODE = "BN201"
REMEDY = (
    "Build the train op under tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)), "
    "or with a create_train_op that does so"
)
REMEDY_FOR_TOWERS = (
    "Update once, from the rows of all towers; or, where their shares of a batch are alike, leave "
    "it to one of them on purpose, and ignore this"
)
_NEAR = 3  # edges back to an update from what stands for it in the collection: a group, a Merge


def check(scenario: Scenario) -> Iterator[Finding]:
    """One finding for each statistic whose updates are all, or those of some towers, left out."""
    if not scenario.training:
        return
    recognized, graph = scenario.recognized, scenario.recognized.graph
    collected = _collected(recognized)
    train_ops = ", ".join(step.fetch for step in scenario.training)
    towers = Towers(recognized)
    moved = {one.variable for one in recognized.statistics if one.updates}
    for statistic in recognized.statistics:
        updates = [write.node for write in statistic.updates]
        if _reaches_any(scenario, updates):
            yield from _check_towers(scenario, towers, statistic)
            continue
        if not moved.isdisjoint(_copied(recognized, statistic.variable)):
            continue
        if _follows(graph, statistic) or _is_frozen(scenario, statistic):
            continue
        known = len(collected.intersection(updates))
        is_layer_run = _reaches_any(scenario, [one.node for one in statistic.sources])
        # A layer that is not even run in training would update itself if it were.
        if updates and (is_layer_run or (known and not statistic.sources)):
            yield Finding(
                rule=CODE,
                severity=ERROR,
                certain=True,
                variable=statistic.name,
                layer=statistic.layer,
                op=graph.names[updates[0]],
                path=(),
                fetch=train_ops,
                problem=(
                    f"never updated: {train_ops} reaches none of its update ops "
                    f"({len(updates)}, of which {known} in UPDATE_OPS)"
                ),
                remedy=REMEDY,
            )


def _collected(recognized: RecognizedGraph) -> Set[int]:
    """What is in UPDATE_OPS: the ops themselves, or behind, or inside of, what is there."""
    graph = recognized.graph
    found = set(recognized.collection("update_ops"))
    for _ in range(_NEAR):
        found.update([source for node in found for source in graph.sources[node]])
    inside = tuple(f"{graph.names[node]}/".encode() for node in found if node in graph.lowered)
    if inside:
        names = enumerate(graph.names.encoded)
        found.update([node for node, name in names if name.startswith(inside)])
    return found


def _follows(graph: Graph, statistic: Statistic) -> bool:
    """Whether an op moves it towards other variables, not a batch, as a target network's."""
    moments = {moment.node for one in statistic.sources for moment in one.moments}
    return bool(moments) and any(
        moments.isdisjoint(closure([write.node], graph.sources)) for write in statistic.updates
    )


def _is_frozen(scenario: Scenario, statistic: Statistic) -> bool:
    """Whether gradients are applied, but not to gamma or beta of its layer, nor are they copied."""
    recognized, parameters = scenario.recognized, statistic.parameters
    if not parameters or not any(map(Step.applies_gradients, scenario.training)):
        return False
    return not recognized.movers(parameters) and not any(
        _copied(recognized, one) for one in parameters
    )


def _copied(recognized: RecognizedGraph, variable: int) -> List[int]:
    """The variables of which an op gives this one the value."""
    return [
        one
        for value in recognized.loaded_values(variable)
        for one in recognized.provenance.variables(value)
    ]


def _reaches_any(scenario: Scenario, nodes: Sequence[int]) -> bool:
    return any(step.execution.needs(node) for step in scenario.training for node in nodes)


def _check_towers(scenario: Scenario, towers: Towers, statistic: Statistic) -> Iterator[Finding]:
    """A finding for each step that runs the updates of some towers, and not of others."""
    updates = [write.node for write in statistic.updates]
    for step in scenario.training:
        run = list(filter(step.execution.needs, updates))
        left_out = towers.left_out(statistic, run, step) if run else 0
        if left_out:
            first = next(one for one in updates if one not in run)
            yield Finding(
                rule=CODE,
                severity=WARNING,
                certain=True,
                variable=statistic.name,
                layer=statistic.layer,
                op=scenario.recognized.graph.names[first],
                path=(),
                fetch=step.fetch,
                problem=(
                    f"updated from a part of the training data: {step.fetch} runs {len(run)} of "
                    f"its {len(updates)} update ops, and {left_out} more of the batches that the "
                    "layer normalizes have the same inputs"
                ),
                remedy=REMEDY_FOR_TOWERS,
            )
