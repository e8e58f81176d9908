"""## What it does
Says which updates make a training step ask for a placeholder that its loss does not need:
the input of another network, whose statistics it then moves as well.

## Why is this bad
The step fails with "You must feed a value for placeholder tensor"; or, where somebody feeds it
something to be rid of that, it moves the other network's statistics towards this something.

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
Or choose by scope: `tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope="train_tower")`.

## Known false positives
Programs that mean to average over several inputs in one step, and feed all of them.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/get_collection
- https://github.com/ray-project/ray/issues/2023
- https://github.com/tensorpack/tensorpack/issues/439
"""

from __future__ import annotations

from typing import Iterator, Set, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.ir.op_types import PLACEHOLDERS
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.scenario.scenario import Scenario, Step

CODE = "BN204"
REMEDY = "Let the train op depend on the updates of the network that it trains, and only on these"


def check(scenario: Scenario) -> Iterator[Finding]:
    """One finding for each statistic, each training step and each such placeholder."""
    for step in scenario.training:
        for placeholder in sorted(_foreign_placeholders(scenario, step))[
            : limits.FOREIGN_PLACEHOLDERS
        ]:
            for statistic, update in _fed_by(scenario, step, placeholder):
                yield _finding(scenario, step, placeholder, statistic, update)


def _foreign_placeholders(scenario: Scenario, step: Step) -> Set[int]:
    """What the step needs, but no gradient that it applies is computed from."""
    flags = {flag.tensor.node for flag in scenario.training_flags}
    return step.foreign(set(scenario.recognized.graph.of_types(PLACEHOLDERS)) - flags)


def _fed_by(scenario: Scenario, step: Step, placeholder: int) -> Iterator[Tuple[Statistic, int]]:
    """The statistics that average what comes from a placeholder, each with an update that runs.

    Not those of which the placeholder only sets the decay.
    """
    after = closure([placeholder], scenario.recognized.graph.consumers)
    for statistic in scenario.recognized.statistics:
        updates = [write.node for write in statistic.updates if write.node in after]
        run = list(filter(step.execution.needs, updates))
        if run and any(source.node in after for source in statistic.sources):
            yield statistic, run[0]


def _finding(
    scenario: Scenario, step: Step, placeholder: int, statistic: Statistic, update: int
) -> Finding:
    names = scenario.recognized.graph.names
    return Finding(
        rule=CODE,
        severity=ERROR,
        certain=True,
        variable=statistic.name,
        layer=statistic.layer,
        op=names[update],
        path=step.path(placeholder),
        fetch=step.fetch,
        problem=(
            f"its update makes {step.fetch} ask for the placeholder {names[placeholder]}, which "
            "the loss does not need"
        ),
        remedy=REMEDY,
    )
