"""## What it does
Says which running statistics have update ops that a training step waits for, but that sit in a
branch or a loop where they cannot do their work: the step does not take the branch, or the
train op outside is dead whenever the branch is not taken, or it waits across a loop's border.

## Why is this bad
An op in a branch that is not taken does nothing, and neither does any op that waits for it.
There is no error: `session.run(train_op)` returns, and has not even counted the step. In a loop
TensorFlow at least refuses to run, complaining of inputs from different frames.

## Example
```python
logits = tf.cond(use_network, lambda: network(x, is_training=True), lambda: shortcut(x))
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train_op = optimizer.minimize(loss)
```
The collected updates are inside the branch; with `use_network` False nothing is trained.

## Use instead
```python
logits = tf.cond(
    use_network,
    lambda: network(x, is_training=True, updates_collections=None),
    lambda: shortcut(x),
)
train_op = optimizer.minimize(loss)
```
Updates in place run where the branch or the loop's body runs, and nothing outside waits.

## Known false positives
A program that never runs the train op while the branch is not taken.

## References
- https://github.com/tensorflow/tensorflow/issues/14699
- https://github.com/tensorflow/tensorflow/issues/6087
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/cond
"""

from __future__ import annotations

from typing import Iterator, List, Set

from bnguard.analysis.dataflow.loops import nodes_in_loops
from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.ir.graph import MERGES, Graph
from bnguard.analysis.ir.op_types import SWITCHES
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.scenario.scenario import Scenario, Step

CODE = "BN203"
REMEDY = "Let the layer update in place (updates_collections=None), inside the branch or loop"


def check(scenario: Scenario) -> Iterator[Finding]:
    """One finding for each statistic and each training step."""
    for step in scenario.training:
        yield from _findings(
            scenario,
            step,
            _skipped(scenario, step),
            f"never updated: {step.fetch} waits for its update op, but not for the branch it is in",
        )
        yield from _findings(
            scenario,
            step,
            _killing(scenario, step),
            f"its update op is in a branch, and {step.fetch} does nothing when that is not taken",
        )
        yield from _findings(
            scenario,
            step,
            _crossing(scenario, step),
            f"its update op is in a loop, and {step.fetch} waits for it outside, which TensorFlow "
            "refuses to run",
        )


def _skipped(scenario: Scenario, step: Step) -> List[Statistic]:
    return [
        statistic
        for statistic in scenario.recognized.statistics
        if any(step.execution.needs(write.node) for write in statistic.updates)
        and not any(
            other.execution.may_run(write.node)
            for other in scenario.training
            for write in statistic.updates
        )
    ]


def _killing(scenario: Scenario, step: Step) -> List[Statistic]:
    """Those whose update, where it is dead, makes the train op dead; with the flag either way."""
    roots = {tensor.node for tensor in step.execution.fetches}
    updates = _updates_before(scenario, roots)
    for either in (step, scenario.without_training(step)) if updates else ():
        if not all(map(either.runs, roots)):
            return _of(scenario, {node for node in updates if not either.runs(node)})
    return []


def _updates_before(scenario: Scenario, roots: Set[int]) -> Set[int]:
    """The updates that `roots` are dead without; none if no Switch is before any of them."""
    graph = scenario.recognized.graph
    merges = set(graph.of_types(MERGES))
    updates = {
        write.node for statistic in scenario.recognized.statistics for write in statistic.updates
    }
    if not _has_switch_before(graph, updates, merges):
        return set()
    waited_for = updates & closure(roots, graph.sources, merges)
    return waited_for if _has_switch_before(graph, waited_for, merges) else set()


def _has_switch_before(graph: Graph, nodes: Set[int], merges: Set[int]) -> bool:
    before = closure(nodes, graph.sources, merges)
    return any(graph.types[node] in SWITCHES for node in before)


def _crossing(scenario: Scenario, step: Step) -> List[Statistic]:
    """Those with an update in a loop that the train op is in as well, for want of an Exit."""
    inside = nodes_in_loops(scenario.recognized.graph)
    if not any(tensor.node in inside for tensor in step.execution.fetches):
        return []
    return _of(scenario, inside)


def _of(scenario: Scenario, updates: Set[int]) -> List[Statistic]:
    return [
        statistic
        for statistic in scenario.recognized.statistics
        if any(write.node in updates for write in statistic.updates)
    ]


def _findings(
    scenario: Scenario, step: Step, statistics: List[Statistic], problem: str
) -> Iterator[Finding]:
    for statistic in statistics:
        node = statistic.updates[0].node
        needed = [write.node for write in statistic.updates if step.execution.needs(write.node)]
        yield Finding(
            rule=CODE,
            severity=ERROR,
            certain=True,
            variable=statistic.name,
            layer=statistic.layer,
            op=scenario.recognized.graph.names[needed[0] if needed else node],
            path=step.path(needed[0]) if needed else (),
            fetch=step.fetch,
            problem=problem,
            remedy=REMEDY,
        )
