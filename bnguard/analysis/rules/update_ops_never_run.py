"""## What it does
Finds running statistics with update ops that no training step runs, and counts how many of these
ops are in the collection UPDATE_OPS. If several towers share a layer and a training step runs the
updates of only some of them, it warns. It ignores a layer whose gamma and beta no op in the graph
trains or copies: such a layer is frozen, and its statistics are meant to stay (see BN206).

## Why is this bad
The statistics keep their initial values, mean 0 and variance 1. Training looks well, as it uses
the statistics of each batch. Inference does not, and its output is useless. Statistics that one
tower of several updates describe only its share of each batch.

## Example
```python
logits = batch_norm(x, is_training=True)  # only adds its updates to UPDATE_OPS
train_op = optimizer.minimize(loss)
```

## Use instead
```python
update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
with tf.control_dependencies(update_ops):
    train_op = optimizer.minimize(loss)
```
Or use `slim.learning.create_train_op(loss, optimizer)`, which does that; or, in the layer,
`updates_collections=None`, which makes its output depend on its updates.

## Known false positives
Programs that fetch the updates beside the train op, `session.run([train_op, update_ops])`: name
both with `--train-op`. Towers of which only one updates the statistics on purpose, as their shares
of a batch are alike.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/layers/batch_normalization
- https://github.com/tensorflow/tensorflow/issues/7469
- https://github.com/tensorflow/tensorflow/issues/11965
- https://github.com/tensorflow/tensorflow/issues/7439
"""

from __future__ import annotations

from typing import Dict, Iterator, List, Sequence, Tuple

from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.findings import ERROR, WARNING, Finding
from bnguard.analysis.ir.graph import Graph
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step
from bnguard.analysis.scenario.towers import Towers
from bnguard.analysis.scenario.update_remedy import UPDATE_OPS, UpdateRemedy

_REMEDY_FOR_TOWERS = (
    "Update once, from the rows of all towers. If their shares of a batch are alike, leave the "
    "update to one of them on purpose, and ignore this finding"
)
_KIND = len("Build the train op")  # of a remedy, which tells what kind it is


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic whose updates, or those of some towers, never run."""
    if not scenario.training:
        return
    recognized = scenario.recognized
    flags = {flag.tensor.node for flag in scenario.training_flags}
    remedy = UpdateRemedy(recognized, scenario.training, flags)
    towers = Towers(recognized)
    causes: Dict[Tuple[str, str], List[Statistic]] = {}
    for statistic in recognized.statistics:
        if _reaches_any(scenario, [write.node for write in statistic.updates]):
            yield from _check_towers(scenario, towers, statistic)
        elif _should_move(scenario, statistic, remedy):
            causes.setdefault(_cause(remedy, statistic), []).append(statistic)
    train_ops = ", ".join(step.fetch for step in scenario.training)
    for (where, _), statistics in causes.items():
        count = sum(len(statistic.updates) for statistic in statistics)
        for statistic in statistics:
            yield RULE.finding(
                recognized,
                f"is never updated: {train_ops} runs none of the {count} update ops{where}",
                statistic.updates[0].node,
                statistic,
                fetch=train_ops,
                remedy=remedy.text(statistics),
            )


def _should_move(scenario: Scenario, statistic: Statistic, remedy: UpdateRemedy) -> bool:
    """Return whether a statistic has updates that are meant to run, although none does."""
    recognized = scenario.recognized
    moved = {other.variable for other in recognized.statistics if other.updates}
    if not moved.isdisjoint(_copied(recognized, statistic.variable)):
        return False
    if _follows(recognized.graph, statistic) or _is_frozen(scenario, statistic):
        return False
    updates = [write.node for write in statistic.updates]
    is_layer_run = _reaches_any(scenario, [layer.node for layer in statistic.sources])
    is_collected = not remedy.members(UPDATE_OPS).keys().isdisjoint(updates)
    # A layer that training does not run may update itself when it is run.
    return bool(updates) and (is_layer_run or (is_collected and not statistic.sources))


def _cause(remedy: UpdateRemedy, statistic: Statistic) -> Tuple[str, str]:
    """Return where the updates of a statistic are, in words, and what there is to do in kind."""
    if not remedy.has_collections:
        return "", remedy.text([statistic])[:_KIND]
    known = [write.node in remedy.members(UPDATE_OPS) for write in statistic.updates]
    where = "all are" if all(known) else "some are" if any(known) else "none is"
    return f" ({where} in UPDATE_OPS)", remedy.text([statistic])[:_KIND]


def _follows(graph: Graph, statistic: Statistic) -> bool:
    """Return whether an op moves it towards other variables, as in a target network."""
    moments = {moment.node for layer in statistic.sources for moment in layer.moments}
    return bool(moments) and any(
        moments.isdisjoint(closure([write.node], graph.sources)) for write in statistic.updates
    )


def _is_frozen(scenario: Scenario, statistic: Statistic) -> bool:
    """Return whether training applies gradients, but neither trains nor copies gamma and beta.

    A layer behind an op without gradient is not frozen: its author did not mean to leave it out.
    """
    recognized, parameters = scenario.recognized, statistic.parameters
    if not parameters or not any(map(Step.applies_gradients, scenario.training)):
        return False
    is_copied = any(_copied(recognized, parameter) for parameter in parameters)
    if recognized.movers(parameters) or is_copied:
        return False
    return not any(recognized.is_cut_off(layer.node) for layer in statistic.sources)


def _copied(recognized: RecognizedGraph, variable: int) -> List[int]:
    """Return the variables whose values an op assigns to this one."""
    values = recognized.loaded_values(variable)
    return [source for value in values for source in recognized.provenance.variables(value)]


def _reaches_any(scenario: Scenario, nodes: Sequence[int]) -> bool:
    return any(step.execution.needs(node) for step in scenario.training for node in nodes)


def _check_towers(scenario: Scenario, towers: Towers, statistic: Statistic) -> Iterator[Finding]:
    """Yield a finding for each step that runs the updates of some towers only."""
    updates = [write.node for write in statistic.updates]
    for step in scenario.training:
        run = list(filter(step.execution.needs, updates))
        left_out = towers.left_out(statistic, run, step) if run else 0
        if left_out:
            yield RULE.finding(
                scenario.recognized,
                f"is updated from only a part of the training data: {step.fetch} runs {len(run)} "
                f"of {len(updates)} update ops, and the layer normalizes {left_out} more batches "
                "with the same inputs",
                next(node for node in updates if node not in run),
                statistic,
                step,
                severity=WARNING,
                remedy=_REMEDY_FOR_TOWERS,
            )


RULE = Rule(
    "BN201",
    __name__,
    __doc__,
    ERROR,
    "",  # made for the graph by UpdateRemedy
    check,
)
