"""## What it does
Finds running statistics that something else than their own average moves: those that an optimizer
writes or that are in the collection TRAINABLE_VARIABLES, and those that a training step decays,
clips or swaps, as decoupled weight decay over all variables does.

## Why is this bad
Statistics are averages, and must not follow a gradient. If the layer reads them in training, they
have a gradient, and the optimizer may make the variance anything, even negative. One step later
the output is NaN. Weight decay over all trainable variables pulls the statistics to zero.

## Example
```python
moving_mean = tf.get_variable("moving_mean", [channels])
```

## Use instead
```python
moving_mean = tf.get_variable("moving_mean", [channels], trainable=False)
```
Decay and clip the variables in `tf.trainable_variables()`, not those in `tf.global_variables()`.

## Known false positives
None known. A graph that only lists them in the collection, and computes no gradient of them, is
still one `minimize(loss + weight_decay)` away from the defect.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/get_variable
- https://github.com/davidsandberg/facenet/issues/424
- https://github.com/keras-team/keras/issues/6818
- https://github.com/tensorflow/tensorflow/pull/17438
"""

from __future__ import annotations

from typing import Iterator

from bnguard.analysis.dataflow.reachability import closure, data_closure
from bnguard.analysis.findings import ERROR, WARNING, Finding
from bnguard.analysis.ir.graph import Tensor
from bnguard.analysis.ir.op_types import PLACEHOLDERS, VARIABLES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.recognition.writes import Purpose, Write
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario

_REMEDY_FOR_DECAY = "Leave the running statistics out: use tf.trainable_variables()"


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic that is trainable or trained."""
    recognized = scenario.recognized
    trainable = set(recognized.collection("trainable_variables"))
    for statistic in recognized.statistics:
        optimizers = [write.node for write in statistic.writes if write.purpose is Purpose.OPTIMIZE]
        if optimizers:
            op_type = recognized.graph.types[optimizers[0]]
            problem = f"is written by an optimizer, {op_type}"
            yield RULE.finding(recognized, problem, optimizers[0], statistic)
        elif statistic.variable in trainable:
            problem = "is in the collection TRAINABLE_VARIABLES"
            yield RULE.finding(recognized, problem, statistic.variable, statistic, severity=WARNING)
        yield from _changed_otherwise(scenario, statistic)


def _changed_otherwise(scenario: Scenario, statistic: Statistic) -> Iterator[Finding]:
    """Yield a finding for the first op of a training step that makes a statistic of itself."""
    recognized = scenario.recognized
    # The only update of a layer's statistic is what averages the moments of the layer.
    averages = statistic.updates if statistic.sources and len(statistic.updates) == 1 else ()
    for step in scenario.training:
        for write in statistic.writes:
            if write in averages:
                continue
            if step.execution.may_run(write.node) and _is_of_itself(recognized, statistic, write):
                op_type = recognized.graph.types[write.node]
                yield RULE.finding(
                    recognized,
                    f"is changed by {op_type} in the step that runs {step.label}, by no average of "
                    "the data: it is decayed, clipped or swapped",
                    write.node,
                    statistic,
                    step,
                    path_to=write.node,
                    certain=step.runs(write.node),
                    remedy=_REMEDY_FOR_DECAY,
                )
                return


def _is_of_itself(recognized: RecognizedGraph, statistic: Statistic, write: Write) -> bool:
    """Return whether what is written is computed from the statistic alone, or from its average."""
    if write.purpose not in (Purpose.UPDATE, Purpose.LOAD):
        return False
    moments, variables, others = recognized.written_from(write)
    sources = {variable for variable in variables if not recognized.is_scalar(variable)}
    if moments or not sources or any(_has_data(recognized, write, tensor) for tensor in others):
        return False
    if write.purpose is Purpose.UPDATE:
        return sources == {statistic.variable}
    return all(_averages(recognized, source, statistic.variable) for source in sources)


def _has_data(recognized: RecognizedGraph, write: Write, tensor: Tensor) -> bool:
    """Return whether a tensor is made of more than rates, counters and the written variable.

    Where it comes from is told by the nodes that nothing enters. A random number counts as data:
    programs measure their speed on such.
    """
    graph = recognized.graph
    return any(
        _is_source(recognized, node)
        for node in data_closure(graph, [tensor.node]) - {write.variable}
    )


def _is_source(recognized: RecognizedGraph, node: int) -> bool:
    """Return whether a node brings in anything but a number."""
    op_type = recognized.graph.types[node]
    if op_type in PLACEHOLDERS | {"PlaceholderWithDefault"}:
        return not recognized.is_scalar(node) and not _is_rate(recognized, node)
    if op_type in VARIABLES:
        return not recognized.is_scalar(node)
    return "Random" in op_type or (op_type != "Const" and not recognized.graph.data_inputs(node))


def _is_rate(recognized: RecognizedGraph, placeholder: int) -> bool:
    """Return whether a placeholder of unknown shape does not reach a layer, as data does."""
    if not recognized.graph.attributes(placeholder)["shape"].shape.unknown_rank:
        return False
    layers = {layer.node for layer in recognized.normalizations}
    return layers.isdisjoint(closure([placeholder], recognized.graph.consumers))


def _averages(recognized: RecognizedGraph, shadow: int, variable: int) -> bool:
    """Return whether a variable is an average of another, as a shadow variable is."""
    return shadow != variable and any(
        variable in recognized.written_from(write).variables
        for write in recognized.writes.get(shadow, ())
        if write.purpose is Purpose.UPDATE
    )


RULE = Rule(
    "BN205",
    __name__,
    __doc__,
    ERROR,
    "Create the variable with trainable=False, or leave it out of the optimizer's var_list",
    check,
    is_rescuable=True,
)
