"""## What it does
Finds running statistics that a graph with training normalizes with, although no step moves them:
no op in the graph updates them; or they are those of a network for inference, or of a target
network, whose weights move without them.

## Why is this bad
The layer normalizes with the initial values, mean 0 and variance 1. It does not normalize at all;
only gamma and beta have an effect.

## Example
```python
y = tf.layers.batch_normalization(x)  # training is False by default
train_op = optimizer.minimize(loss)
```

## Use instead
```python
y = tf.layers.batch_normalization(x, training=is_training)
```
Then also run the updates; see BN201. A network for inference shares the statistics of the trained
one through a common scope and `reuse=True`. A target network is given all variables of the online
network, `tf.global_variables(scope)`, not only the trainable ones.

## Known false positives
Fine-tuning that keeps the statistics of a checkpoint while it trains gamma and beta, or layers
without these. The rule ignores a layer whose gamma and beta are neither trained nor copied,
statistics whose initial values are not 0 or 1, as from a checkpoint, and statistics that the
program computes and feeds, or copies.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/layers/batch_normalization
- https://github.com/tensorflow/tensorflow/pull/16134
"""

from __future__ import annotations

from typing import AbstractSet, Iterator, Optional, Sequence, Set

from bnguard.analysis import limits
from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.ir.op_types import PLACEHOLDERS, RESTORES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.recognition.writes import Purpose, Write
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step

_REMEDY_FOR_TARGETS = (
    "Copy the statistics with the weights: tf.global_variables(scope), not "
    "tf.trainable_variables(scope)"
)
_REMEDY_FOR_UNSHARED = (
    "Share the statistics with the network that is trained: build the layer in the same variable "
    "scope with reuse=True, and call ExponentialMovingAverage.apply once"
)

_WALK = 16  # nodes that are visited to find the weights near a layer


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic that a step reads and no step moves."""
    if not scenario.training:
        return
    collected = set(scenario.recognized.collection("update_ops"))
    updated = {other.variable for other in scenario.recognized.statistics if other.updates}
    for statistic in scenario.recognized.statistics:
        if _is_moved(scenario, statistic, collected):
            continue
        if _has_given_values(scenario, statistic):
            continue
        if _is_fed_or_copied(scenario, statistic, updated):
            continue
        yield from _in_training(scenario, statistic)
        yield from _with_other_weights(scenario, statistic)


def _is_moved(scenario: Scenario, statistic: Statistic, collected: AbstractSet[int]) -> bool:
    """Return whether an op moves a statistic, unless it is one that no training step comes near.

    BN201 is about the updates of layers that training runs, and of those in UPDATE_OPS, which are
    `collected`.
    """
    recognized = scenario.recognized
    movers = recognized.movers([statistic.variable])
    if not movers:
        return False
    nodes = [write.node for write in movers]
    near = [*nodes, *(layer.node for layer in statistic.sources)]
    return (
        not collected.isdisjoint(nodes)
        or any(step.execution.needs(node) for step in scenario.training for node in near)
        or any(_follows(recognized, write) for write in movers)
    )


def _in_training(scenario: Scenario, statistic: Statistic) -> Iterator[Finding]:
    """Yield a finding if a training step normalizes with a statistic and trains its layer."""
    types = scenario.recognized.graph.types
    if scenario.recognized.movers([statistic.variable]):
        return  # another step than those of training may run them
    step = _reading_step(scenario.training, statistic)
    if step is not None and (not statistic.parameters or scenario.trains(statistic.parameters)):
        reader = _reader(step, statistic)
        yield RULE.finding(
            scenario.recognized,
            f"is never updated: no op in the graph updates what {types[reader]} normalizes with "
            f"in the step that runs {step.label}",
            reader,
            statistic,
            step,
            path_to=reader,
        )


def _with_other_weights(scenario: Scenario, statistic: Statistic) -> Iterator[Finding]:
    """Yield a finding if a layer's weights come from training, and its statistics do not.

    A program may run a target network in steps of its own, which the analysis does not know.
    """
    recognized = scenario.recognized
    trained_step = _reading_step(scenario.training, statistic)
    step = _reading_step(scenario.inference, statistic) or trained_step
    is_in_training = scenario.trains(statistic.parameters) and trained_step is not None
    if is_in_training or not statistic.readers:
        return
    if any(_copied(recognized, variable) for variable in statistic.parameters):
        problem, remedy = "copied from another network", _REMEDY_FOR_TARGETS
    elif step is None or trained_step is not None:
        return
    elif (
        scenario.trains(statistic.parameters)
        or scenario.trains(_weights_before(recognized, statistic))
        or shares_weights(recognized, statistic)
    ):
        problem, remedy = "trained", _REMEDY_FOR_UNSHARED
    else:
        return
    user = "its layer" if step is None else step.label
    reader = statistic.readers[0].node if step is None else _reader(step, statistic)
    yield RULE.finding(
        recognized,
        f"is never updated: the weights that {user} uses are {problem}, and its running "
        "statistics stay at their initial values",
        reader,
        statistic,
        step,
        path_to=reader,
        remedy=remedy,
    )


def advice(recognized: RecognizedGraph, statistic: Statistic) -> str:
    """Return what to do about a statistic that no op updates, where nothing is known of steps."""
    if any(_copied(recognized, variable) for variable in statistic.parameters):
        return _REMEDY_FOR_TARGETS
    if shares_weights(recognized, statistic):
        return _REMEDY_FOR_UNSHARED
    return "Build its layer for training too"


def shares_weights(recognized: RecognizedGraph, statistic: Statistic) -> bool:
    """Return whether a layer with other statistics, which have updates, uses the same weights.

    These are gamma and beta, the weights before the layers, or those after them.
    """
    own = {*statistic.readers, *statistic.sources}
    others = [
        other
        for other in recognized.statistics
        if other.updates and own.isdisjoint(other.readers + other.sources)
    ]
    if not others:
        return False
    before = {*statistic.parameters, *_weights_before(recognized, statistic)}
    variables = {other.variable for other in recognized.statistics}
    limits.spend(len(variables) + _WALK * len(others))
    after = _weights_after(recognized, statistic, variables)
    return any(
        not before.isdisjoint({*other.parameters, *_weights_before(recognized, other)})
        or not after.isdisjoint(_weights_after(recognized, other, variables))
        for other in others
    )


def _copied(recognized: RecognizedGraph, variable: int) -> bool:
    """Return whether an op moves a variable towards another, or assigns another to it."""
    provenance = recognized.provenance
    values = recognized.loaded_values(variable)
    if any(provenance.variables(value) for value in values):
        return True
    return any(
        _follows(recognized, write)
        for write in recognized.writes.get(variable, ())
        if write.purpose is Purpose.UPDATE
    )


def _follows(recognized: RecognizedGraph, write: Write) -> bool:
    """Return whether a write moves a variable towards another, as in a target network."""
    moments, variables, _ = recognized.written_from(write)
    return not moments and any(
        other != write.variable and not recognized.is_scalar(other) for other in variables
    )


def _weights_before(recognized: RecognizedGraph, statistic: Statistic) -> Set[int]:
    """Return the variables of the last op with weights before the layers of a statistic."""
    graph, provenance = recognized.graph, recognized.provenance
    layers = statistic.readers + statistic.sources
    stack = [node for layer in layers for node in layer.normalized]
    seen = set(stack)
    while stack and len(seen) <= limits.WEIGHT_NODES:
        node = stack.pop()
        inputs = graph.data_inputs(node)
        found = {variable for tensor in inputs for variable in provenance.variables(tensor)}
        if found:
            return found
        unseen = {tensor.node for tensor in inputs} - seen
        seen |= unseen
        stack += unseen
    return set()


def _weights_after(
    recognized: RecognizedGraph, statistic: Statistic, statistics: AbstractSet[int]
) -> Set[int]:
    """Return the variables of the first op with weights after the layers of a statistic."""
    graph, provenance = recognized.graph, recognized.provenance
    layers = statistic.readers + statistic.sources
    own = {variable for layer in layers for variable in layer.variables}
    queue = list(dict.fromkeys(layer.node for layer in layers))
    seen = set(queue)
    for node in queue:  # grows while it is iterated: breadth first
        inputs = graph.data_inputs(node)
        found = {variable for tensor in inputs for variable in provenance.variables(tensor)} - own
        found -= statistics
        if found and node not in recognized.backward:
            return found
        if len(seen) > limits.WEIGHT_NODES:
            break
        unseen = [
            consumer
            for consumer in dict.fromkeys(graph.consumers[node])
            if consumer not in seen
            and consumer not in recognized.backward
            and graph.takes_data(consumer, node)
        ]
        seen.update(unseen)
        queue += unseen
    return set()


def _reader(step: Step, statistic: Statistic) -> int:
    return next(layer.node for layer in statistic.readers if step.execution.needs(layer.node))


def _reading_step(steps: Sequence[Step], statistic: Statistic) -> Optional[Step]:
    for step in steps:
        if any(step.execution.needs(layer.node) for layer in statistic.readers):
            return step
    return None


def _has_given_values(scenario: Scenario, statistic: Statistic) -> bool:
    """Return whether it may start from a checkpoint, or from constants other than 0 and 1."""
    graph, provenance = scenario.recognized.graph, scenario.recognized.provenance
    for write in statistic.writes:
        if write.purpose is Purpose.INITIALIZE:
            origins = provenance.origins(graph.data_inputs(write.node)[-1])
            if not origins.is_complete:
                return True
            for origin in origins.tensors:
                is_given = graph.constant(origin.node) is not None
                if graph.types[origin.node] in RESTORES or (
                    is_given and graph.constant_value(origin.node) not in (0, 1)
                ):
                    return True
    return False


def _is_fed_or_copied(scenario: Scenario, statistic: Statistic, updated: AbstractSet[int]) -> bool:
    """Return whether a program copies its values from a statistic that moves.

    Those of a layer without gamma and beta may also be fed, such as those of a reward filter.
    """
    recognized = scenario.recognized
    return any(
        origin.node in updated
        or (not statistic.parameters and recognized.graph.types[origin.node] in PLACEHOLDERS)
        for value in recognized.loaded_values(statistic.variable)
        for origin in recognized.provenance.origins(value).tensors
    )


RULE = Rule(
    "BN202",
    __name__,
    __doc__,
    ERROR,
    "Give the layer is_training=True, or the training flag, in the graph that trains",
    check,
    is_rescuable=True,
)
