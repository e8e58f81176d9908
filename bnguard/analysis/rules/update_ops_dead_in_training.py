"""## What it does
Finds running statistics whose update ops a training step waits for, although they are in a branch
or loop where they have no effect. Either the step does not take the branch, or the train op is dead
whenever the branch is not taken, or it waits for an op inside a loop from outside. Where the
training flag is a variable, a note tells which updates run only after an op has set it. In a
program that `bnguard run` watches, it also finds updates that change nothing at the value that the
training steps give the flag.

## Why is this bad
An op in a branch that is not taken does nothing, and neither does any op that waits for it. There
is no error: `session.run(train_op)` returns, and has not even counted the step. Only in a loop
does TensorFlow refuse to run, with an error about inputs from different frames.

## Example
```python
logits = tf.cond(use_network, lambda: network(x, is_training=True), lambda: shortcut(x))
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train_op = optimizer.minimize(loss)
```
The collected updates are inside the branch. If `use_network` is False, nothing is trained.

## Use instead
```python
logits = tf.cond(
    use_network,
    lambda: network(x, is_training=True, updates_collections=None),
    lambda: shortcut(x),
)
train_op = optimizer.minimize(loss)
```
Updates in place run where the branch or the body of the loop runs, and no op outside waits for
them.

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
from bnguard.analysis.findings import ERROR, NOTE, Finding
from bnguard.analysis.ir.graph import MERGES, Graph
from bnguard.analysis.ir.op_types import SWITCHES
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step

_SHOWN_SETTERS = 4


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic and each training step."""
    yield from _depending_on_variables(scenario)
    for step in scenario.training:
        yield from _findings(
            step,
            _skipped(scenario, step),
            f"is never updated: {step.label} waits for an update op in a branch that the step "
            "does not take",
        )
        yield from _findings(
            step,
            _switched_off(scenario, step),
            f"is never updated: {step.label} runs its update op with {_flags(scenario, step)}, at "
            "which the update changes nothing",
            "Give the training flag its value for training in the steps that train",
        )
        yield from _findings(
            step,
            _killing(scenario, step),
            f"is updated in a branch, and {step.label} does nothing when that is not taken",
        )
        yield from _findings(
            step,
            _crossing(scenario, step),
            f"is updated in a loop, and {step.label} waits for the update outside the loop, which "
            "TensorFlow refuses to run",
        )


def _depending_on_variables(scenario: Scenario) -> Iterator[Finding]:
    """Yield a note for each update that runs only after an op has set a variable."""
    recognized = scenario.recognized
    for flag in scenario.training_flags:
        if not flag.is_variable or flag.is_fixed or flag.default in (None, flag.training):
            continue
        setters = map(recognized.graph.names.__getitem__, flag.setters[:_SHOWN_SETTERS])
        name, setting = flag.name(recognized), ", ".join(setters)
        for step in scenario.training:
            initially = step.with_feeds({**step.execution.feeds, flag.tensor: flag.default})
            for statistic in recognized.statistics:
                if step.effects(statistic) and not initially.effects(statistic):
                    yield RULE.finding(
                        recognized,
                        f"is updated by {step.label} only while the variable {name} is "
                        f"{flag.training}, and it is {flag.default} initially",
                        statistic.updates[0].node,
                        statistic,
                        severity=NOTE,
                        fetch=step.fetch,
                        remedy=f"Set {name} to {flag.training} before training, and back to "
                        f"{flag.default} before inference; ops that set it: {setting}",
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


def _switched_off(scenario: Scenario, step: Step) -> List[Statistic]:
    """Return those that the flags of all training steps, which are not assumed, keep unchanged."""
    wanted = {
        flag.tensor: flag.at_training
        for flag in scenario.training_flags
        if step.execution.value(flag.tensor) not in (None, flag.at_training)
    }
    if not wanted:
        return []
    found = [
        statistic
        for statistic in scenario.recognized.statistics
        if any(step.runs(write.node) for write in statistic.updates)
        and not any(other.effects(statistic) for other in scenario.training)
    ]
    in_training = step.with_feeds({**step.execution.feeds, **wanted})
    return [statistic for statistic in found if in_training.effects(statistic)]


def _flags(scenario: Scenario, step: Step) -> str:
    values = {flag: step.execution.value(flag.tensor) for flag in scenario.training_flags}
    return " and ".join(
        f"{flag.name(scenario.recognized)}={value!r}"
        for flag, value in values.items()
        if value != flag.at_training
    )


def _killing(scenario: Scenario, step: Step) -> List[Statistic]:
    """Return those whose dead update makes the train op dead, at either value of the flags."""
    roots = {tensor.node for tensor in step.execution.fetches}
    updates = _updates_before(scenario, roots)
    for at_either_value in (step, scenario.without_training(step)) if updates else ():
        if not all(map(at_either_value.runs, roots)):
            dead = {node for node in updates if not at_either_value.runs(node)}
            return _with_update_in(scenario, dead)
    return []


def _updates_before(scenario: Scenario, roots: Set[int]) -> Set[int]:
    """Return the updates without which `roots` are dead; none if no Switch is before them."""
    graph, statistics = scenario.recognized.graph, scenario.recognized.statistics
    merges = set(graph.of_types(MERGES))
    updates = {write.node for statistic in statistics for write in statistic.updates}
    updates -= nodes_in_loops(graph)  # see _crossing
    if not _has_switch_before(graph, updates, merges):
        return set()
    waited_for = updates & closure(roots, graph.sources, merges)
    return waited_for if _has_switch_before(graph, waited_for, merges) else set()


def _has_switch_before(graph: Graph, nodes: Set[int], merges: Set[int]) -> bool:
    before = closure(nodes, graph.sources, merges)
    return any(graph.types[node] in SWITCHES for node in before)


def _crossing(scenario: Scenario, step: Step) -> List[Statistic]:
    """Return those with an update in a loop that the train op, without an Exit, is in as well."""
    inside = nodes_in_loops(scenario.recognized.graph)
    if not any(tensor.node in inside for tensor in step.execution.fetches):
        return []
    return _with_update_in(scenario, inside)


def _with_update_in(scenario: Scenario, nodes: Set[int]) -> List[Statistic]:
    return [
        statistic
        for statistic in scenario.recognized.statistics
        if any(write.node in nodes for write in statistic.updates)
    ]


def _findings(
    step: Step, statistics: List[Statistic], problem: str, remedy: str = ""
) -> Iterator[Finding]:
    for statistic in statistics:
        updates = [write.node for write in statistic.updates]
        needed = next(filter(step.execution.needs, updates), None)
        node = updates[0] if needed is None else needed
        yield RULE.finding(
            step.recognized, problem, node, statistic, step, path_to=needed, remedy=remedy
        )


RULE = Rule(
    "BN203",
    __name__,
    __doc__,
    ERROR,
    "Let the layer update in place (updates_collections=None), inside the branch or loop",
    check,
)
