"""## What it does
Finds running statistics that the Saver of the graph leaves out or, with `--checkpoint`, that the
checkpoint lacks.

## Why is this bad
Restoring fails with "uninitialized value". If the program runs the initializer first, the
statistics stay at mean 0 and variance 1 instead. Inference is then useless, although training went
well.

## Example
```python
saver = tf.train.Saver(tf.trainable_variables())
```
Running statistics are variables, but not trainable ones.

## Use instead
```python
saver = tf.train.Saver(tf.global_variables())
```
`tf.train.Saver()` saves the same variables.

## Known false positives
A graph with several Savers that together save everything, if it was exported with one of them.
A layer whose gamma and beta are left out as well is no finding: that is a choice, as of a Saver for
the generator alone.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/train/Saver
- https://github.com/davidsandberg/facenet/issues/816
- https://github.com/cbfinn/maml/issues/33
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Iterator

from bnguard.analysis.checkpoints.stored_checkpoint import StoredCheckpoint
from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.ir.op_types import VARIABLES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.savers import asked_names, checkpoint_name, saved_names
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic that is not saved."""
    if scenario.stored is not None:
        yield from _missing(scenario.recognized, scenario.stored)
    elif not scenario.recognized.loaded.has_objects:  # saving those saves all that is used
        yield from _left_out(scenario.recognized)


def _left_out(recognized: RecognizedGraph) -> Iterator[Finding]:
    saved = saved_names(recognized)
    if saved is None or not saved.is_complete:
        return
    for statistic in recognized.statistics:
        if statistic.variable not in saved.names and _is_any_in(
            recognized, statistic, lambda variable: variable in saved.names
        ):
            problem = f"is left out by the Saver, which saves {len(saved.names)} variables"
            yield RULE.finding(recognized, problem, statistic.variable, statistic)


def _missing(recognized: RecognizedGraph, stored: StoredCheckpoint) -> Iterator[Finding]:
    asked = asked_names(recognized)

    def key(variable: int) -> str:
        return asked.get(variable, checkpoint_name(recognized, variable))

    def is_stored(variable: int) -> bool:
        return key(variable) in stored.names

    has_any = any(is_stored(statistic.variable) for statistic in recognized.statistics)
    for statistic in recognized.statistics:
        variable = statistic.variable
        if is_stored(variable):
            continue
        if variable in asked or not has_any or _is_any_in(recognized, statistic, is_stored):
            own_name = checkpoint_name(recognized, variable)
            is_renamed = key(variable) != own_name and own_name in stored.names
            finding = RULE.finding(
                recognized,
                f"is not in the checkpoint, which contains {len(stored.names)} names",
                variable,
                variable=key(variable),
                layer=statistic.layer,
            )
            yield replace(finding, remedy=_RENAMED) if is_renamed else finding


def _is_any_in(
    recognized: RecognizedGraph, statistic: Statistic, is_saved: Callable[[int], bool]
) -> bool:
    """Return whether any other variable of the layer is saved: a part of it, but not all.

    Those are its gamma and beta or, without them, the variables in the innermost scope around it
    that has others than statistics.
    """
    if statistic.parameters:
        return any(map(is_saved, statistic.parameters))
    graph = recognized.graph
    statistics = {other.variable for other in recognized.statistics}
    others = [node for node in graph.of_types(VARIABLES) if node not in statistics]
    scope = statistic.layer
    while scope:
        within = [node for node in others if graph.names[node].startswith(f"{scope}/")]
        if within:
            return any(map(is_saved, within))
        scope = scope.rpartition("/")[0]
    return any(map(is_saved, others)) or not others


_RENAMED = (
    "The checkpoint has it under the variable's own name. Restore it with tf.train.Saver(), not "
    "by other names, or give a checkpoint that has the names that are asked for"
)
RULE = Rule(
    "BN301",
    __name__,
    __doc__,
    ERROR,
    "Give the Saver tf.global_variables(), or no list, and save again",
    check,
    is_rescuable=True,
)
