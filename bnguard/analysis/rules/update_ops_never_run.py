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

from typing import Container, Dict, Iterator, List, Sequence, Tuple

from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.findings import ERROR, WARNING, Finding
from bnguard.analysis.ir.graph import Graph
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step
from bnguard.analysis.scenario.towers import Towers
from bnguard.analysis.scenario.update_remedy import UPDATE_OPS, UpdateRemedy, remedy_for

_SHOWN_STEPS = 3
_REMEDY_FOR_TOWERS = (
    "Update once, from the rows of all towers. If their shares of a batch are alike, leave the "
    "update to one of them on purpose, and ignore this finding"
)


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic whose updates, or those of some towers, never run."""
    if not scenario.training:
        return
    recognized = scenario.recognized
    remedy = remedy_for(scenario)
    towers = Towers(recognized)
    unreached: List[Statistic] = []
    for statistic in recognized.statistics:
        if _reaches_any(scenario, [write.node for write in statistic.updates]):
            yield from _check_towers(scenario, towers, statistic)
        elif statistic.updates:
            unreached.append(statistic)
    causes: Dict[Tuple[str, str], List[Statistic]] = {}
    for statistic in _meant_to_move(scenario, unreached, remedy):
        cause = _where(remedy, statistic), remedy.place(statistic)
        causes.setdefault(cause, []).append(statistic)
    train_ops = ", ".join(step.fetch for step in scenario.training)
    shown = _in_short(scenario.training)
    for (where, _), statistics in causes.items():
        count = sum(len(statistic.updates) for statistic in statistics)
        ops, text = _runs_none(scenario, count, where), remedy.text(statistics)
        for statistic in statistics:
            yield RULE.finding(
                recognized,
                f"is never updated: {shown} {ops}",
                statistic.updates[0].node,
                statistic,
                fetch=train_ops,
                remedy=text,
            )


def _in_short(steps: Sequence[Step]) -> str:
    more = len(steps) - _SHOWN_STEPS
    shown = ", ".join(step.label for step in steps[:_SHOWN_STEPS])
    return f"{shown} and {more} more step{'' if more == 1 else 's'}" if more > 0 else shown


def _runs_none(scenario: Scenario, count: int, where: str) -> str:
    """Return that training runs none of these updates, and where they are, after the train ops."""
    is_one = len(scenario.training) == 1
    if count == 1:
        place = f" ({'it is' if where == 'all are' else 'it is not'} in UPDATE_OPS)"
        return f"{'does' if is_one else 'do'} not run its update op{place if where else ''}"
    place = f" ({where} in UPDATE_OPS)" if where else ""
    return f"{'runs' if is_one else 'run'} none of the {count} update ops{place}"


def _meant_to_move(
    scenario: Scenario, unreached: Sequence[Statistic], remedy: UpdateRemedy
) -> List[Statistic]:
    """Return those of the statistics whose updates do not run that are meant to move.

    A layer that training does not run may update itself when it is run. A layer is not frozen if
    only an op without gradient keeps training from it: its author did not mean to leave it out.
    """
    if not unreached:
        return []
    recognized = scenario.recognized
    collected = remedy.members(UPDATE_OPS)
    moved = {other.variable for other in recognized.statistics if other.updates}
    found = [
        statistic
        for statistic in unreached
        if _reaches_any(scenario, [layer.node for layer in statistic.sources])
        or (not statistic.sources and _is_collected(collected, statistic))
    ]
    found = [
        statistic
        for statistic in found
        if moved.isdisjoint(_copied(recognized, statistic.variable))
        and not _follows(recognized.graph, statistic)
    ]
    untrained = [statistic for statistic in found if _is_untrained(scenario, statistic)]
    trainable = set(recognized.collection("trainable_variables"))
    cut_off = recognized.cut_off(
        layer.node
        for statistic in untrained
        if not remedy.has_collections or not trainable.isdisjoint(statistic.parameters)
        for layer in statistic.sources
    )
    frozen = {
        statistic.variable
        for statistic in untrained
        if cut_off.isdisjoint(layer.node for layer in statistic.sources)
    }
    return [statistic for statistic in found if statistic.variable not in frozen]


def _is_collected(collected: Container[int], statistic: Statistic) -> bool:
    return any(write.node in collected for write in statistic.updates)


def _where(remedy: UpdateRemedy, statistic: Statistic) -> str:
    """Return how many of its updates are in UPDATE_OPS; nothing if there are no collections."""
    if not remedy.has_collections:
        return ""
    known = [write.node in remedy.members(UPDATE_OPS) for write in statistic.updates]
    return "all are" if all(known) else "some are" if any(known) else "none is"


def _follows(graph: Graph, statistic: Statistic) -> bool:
    """Return whether an op moves it towards other variables, as in a target network."""
    moments = {moment.node for layer in statistic.sources for moment in layer.moments}
    return bool(moments) and any(
        moments.isdisjoint(closure([write.node], graph.sources)) for write in statistic.updates
    )


def _is_untrained(scenario: Scenario, statistic: Statistic) -> bool:
    """Return whether training applies gradients, but neither trains nor copies gamma and beta."""
    recognized, parameters = scenario.recognized, statistic.parameters
    if not parameters or not any(map(Step.applies_gradients, scenario.training)):
        return False
    is_copied = any(_copied(recognized, parameter) for parameter in parameters)
    return not recognized.movers(parameters) and not is_copied


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
                f"is updated from only a part of the training data: {step.label} runs {len(run)} "
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
    is_rescuable=True,
)
