"""## What it does
Finds running statistics that a training step moves although it trains neither the gamma nor the
beta of their layer. If a step that trains the layer moves them, too, as in adversarial training,
where steps take turns, this is a note. If a step that trains the layer does not move them, the
updates are at the wrong step.

## Why is this bad
The layer was meant to be frozen. Its weights stay, but its statistics follow the new data. After
training the frozen part of the network computes something else, and what was trained before no
longer fits it.

## Example
```python
features = network(x, is_training=True, trainable=False)
train_op = optimizer.minimize(loss, var_list=head_variables)
```
`trainable` and `var_list` only concern gradients, not updates.

## Use instead
```python
features = network(x, is_training=False)
```
Where another step trains the layer, such as that of an actor beside that of a critic, let each step
depend on the updates of its own network:
```python
actor_updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope="actor/")
with tf.control_dependencies(actor_updates):
    actor_step = optimizer.minimize(actor_loss, var_list=actor_variables)
```

## Known false positives
Programs that adapt only the statistics to new data, on purpose.

## References
- https://keras.io/guides/transfer_learning/
- https://github.com/keras-team/keras/issues/4762
- https://github.com/keras-team/keras/issues/7085
- https://github.com/tensorpack/tensorpack/issues/296
"""

from __future__ import annotations

from typing import Iterator, List, Sequence

from bnguard.analysis.findings import NOTE, WARNING, Finding
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step
from bnguard.analysis.scenario.update_remedy import UpdateRemedy, remedy_for

_TURNS = (
    "This is normal in steps that take turns on one network with updates in place: the average is "
    "over the batches of all of them. To average over those of one step,"
)


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic of a frozen layer that a training step moves."""
    remedy = remedy_for(scenario)
    for step in filter(Step.applies_gradients, scenario.training):
        for statistic in scenario.recognized.statistics:
            effects = step.effects(statistic) if _is_frozen(step, statistic) else ()
            if effects:
                others = _other_trainers(scenario, statistic)
                takes_turns = any(other.effects(statistic) for other in others)
                yield RULE.finding(
                    step.recognized,
                    f"is moved by {step.label}, which trains neither gamma nor beta of the layer"
                    f"{_what_others_do(others, takes_turns)}",
                    effects[0].node,
                    statistic,
                    step,
                    path_to=effects[0].node,
                    certain=step.certainly_changes(statistic),
                    severity=NOTE if takes_turns else "",
                    remedy=_remedy(remedy, step, others, takes_turns) if others else "",
                )


def _other_trainers(scenario: Scenario, statistic: Statistic) -> List[Step]:
    """Return the steps that train gamma or beta of the layer of a statistic."""
    movers = scenario.recognized.movers(statistic.parameters)
    return [
        step
        for step in scenario.training
        if any(step.execution.needs(write.node) for write in movers)
    ]


def _what_others_do(others: Sequence[Step], takes_turns: bool) -> str:
    if not others:
        return ""
    if takes_turns:
        return "; another step does"
    return f"; {others[0].label} trains them, and does not move it"


def _remedy(remedy: UpdateRemedy, step: Step, others: Sequence[Step], takes_turns: bool) -> str:
    """Return what to do about a layer that other steps train, or "" if no op can wait for it."""
    own = {each: remedy.own_updates(each) for each in (step, *others)}
    if takes_turns:
        if not own[step]:
            return f"{_TURNS} let each wait only for the updates of the network that it trains"
        return f"{_TURNS} build {step.label} under the updates of its own network: {own[step]}"
    if not any(own[other] for other in others):
        return ""
    parts = (f"{each.label} under {dependencies or 'none'}" for each, dependencies in own.items())
    return f"Build each train op under the updates of its own network: {'; '.join(parts)}"


def _is_frozen(step: Step, statistic: Statistic) -> bool:
    """Return whether the loss depends on the layer, and the step trains neither gamma nor beta."""
    movers = step.recognized.movers(statistic.parameters)
    if not statistic.parameters or any(step.execution.needs(write.node) for write in movers):
        return False
    layers = {layer.node for layer in statistic.sources + statistic.readers}
    return not layers.isdisjoint(step.behind_gradients())


RULE = Rule(
    "BN206",
    __name__,
    __doc__,
    WARNING,
    "Build the frozen layer with is_training=False, also in the graph that trains",
    check,
    is_rescuable=True,
)
