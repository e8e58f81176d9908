"""## What it does
Finds updates that make a training step need data which its loss does not need: the placeholder,
iterator or queue of another network, whose statistics the step then moves as well.

## Why is this bad
The step fails with "You must feed a value for placeholder tensor". If the program feeds some value
to avoid the error, the step moves the statistics of the other network towards that value. With an
iterator or a queue there is no error: each training step takes a batch of the other data, such as
that for validation, and the statistics follow it.

## Example
```python
train_logits = network(train_images, is_training=True)
validation_logits = network(validation_images, is_training=True, reuse=True)
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train_op = optimizer.minimize(train_loss)
```

## Use instead
```python
train_logits = network(train_images, is_training=True)
update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)  # those of this network
validation_logits = network(validation_images, is_training=False, reuse=True)
with tf.control_dependencies(update_ops):
    train_op = optimizer.minimize(train_loss)
```
Or choose the updates by scope: `tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope="train_tower")`.
The updates of a Keras model include those of the call on its `Input`; those of the call on x are
`model.get_updates_for(x)`. Where gradients are accumulated, the op that adds them up has the data:
let that op depend on the updates, and not the op that applies the sum.

## Known false positives
Programs that average over several inputs in one step on purpose, and feed all of them.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/get_collection
- https://github.com/ray-project/ray/issues/2023
- https://github.com/tensorpack/tensorpack/issues/439
"""

from __future__ import annotations

from typing import Iterator, List, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.ir.op_types import PLACEHOLDERS
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.data_sources import data_sources
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step
from bnguard.analysis.scenario.update_remedy import UpdateRemedy, remedy_for


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic, training step and foreign source of data."""
    graph = scenario.recognized.graph
    remedy = remedy_for(scenario)
    for step in scenario.training:
        for source in _foreign_sources(scenario, step):
            kind = "placeholder" if graph.types[source] in PLACEHOLDERS else "input"
            for statistic, update in _fed_by(step, source):
                yield RULE.finding(
                    scenario.recognized,
                    f"is updated from other inputs: the update makes {step.label} need the "
                    f"{kind} {graph.names[source]}, which the loss does not need",
                    update,
                    statistic,
                    step,
                    path_to=source,
                    remedy=_remedy(scenario, remedy, step, source),
                )


def _remedy(scenario: Scenario, remedy: UpdateRemedy, step: Step, source: int) -> str:
    """Return what to do about a step that needs a source which its loss does not need.

    If it trains no layer, as a step that applies accumulated gradients, the updates belong to the
    step that has the data. The text is empty if neither step has updates to wait for.
    """
    own = remedy.own_updates(step)
    if own:
        train_op = remedy.train_op(step)
        return f"Build {train_op} under the updates of its own network alone: {own}"
    for other in scenario.training:
        own = remedy.own_updates(other) if source in other.behind_gradients() else ""
        if own:
            return (
                f"Build {other.label}, which computes gradients from these inputs, under the "
                f"updates, so that each batch is averaged with its gradients, and {step.label} "
                f"under none: {own}"
            )
    return ""


def _foreign_sources(scenario: Scenario, step: Step) -> List[int]:
    """Return the sources of data that the step needs, but computes no applied gradient from."""
    flags = {flag.tensor.node for flag in scenario.training_flags}
    graph = scenario.recognized.graph
    sources = {*graph.of_types(PLACEHOLDERS), *data_sources(graph)}
    foreign = sorted(step.foreign(sources - flags))
    if len(foreign) > limits.FOREIGN_PLACEHOLDERS:
        limits.FOREIGN_PLACEHOLDERS.reach()
    return foreign[: limits.FOREIGN_PLACEHOLDERS]


def _fed_by(step: Step, source: int) -> Iterator[Tuple[Statistic, int]]:
    """Yield the statistics that average values from a source, each with an update that runs.

    A placeholder that only sets the decay does not count.
    """
    after = closure([source], step.recognized.graph.consumers)
    for statistic in step.recognized.statistics:
        updates = [write.node for write in statistic.updates if write.node in after]
        run = list(filter(step.execution.needs, updates))
        if run and any(layer.node in after for layer in statistic.sources):
            yield statistic, run[0]


RULE = Rule(
    "BN204",
    __name__,
    __doc__,
    ERROR,
    "Let the train op depend on the updates of the network that it trains, and on no others",
    check,
)
