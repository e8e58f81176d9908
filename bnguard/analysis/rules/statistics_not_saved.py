"""## What it does
Says which running statistics the Saver of the graph leaves out or, with `--checkpoint`, the
checkpoint lacks.

## Why is this bad
Restoring fails with "uninitialized value", or leaves the statistics at mean 0 and variance 1 if
the program runs the initializer first. Inference is then useless, though training went well.

## Example
```python
saver = tf.train.Saver(tf.trainable_variables())
```
Running statistics are variables, but not trainable ones.

## Use instead
```python
saver = tf.train.Saver(tf.global_variables())
```
That is also what `tf.train.Saver()` saves.

## Known false positives
A graph with several Savers that together save everything, if it was exported with one of them.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/train/Saver
- https://github.com/davidsandberg/facenet/issues/816
- https://github.com/cbfinn/maml/issues/33
"""

from __future__ import annotations

from typing import Iterator

from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.recognition.savers import checkpoint_name, saved_names
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.scenario.scenario import Scenario

CODE = "BN301"
REMEDY = "Give the Saver tf.global_variables(), or nothing, and save again"


def check(scenario: Scenario) -> Iterator[Finding]:
    """One finding for each statistic."""
    recognized, stored = scenario.recognized, scenario.stored
    saved = saved_names(recognized)
    for statistic in recognized.statistics:
        if stored is not None:
            name = checkpoint_name(recognized, statistic.variable)
            name = (saved or {}).get(statistic.variable, name)
            if name not in stored:
                problem = f"not in the checkpoint, which holds {len(stored)} names"
                yield _finding(scenario, statistic, problem)
        elif recognized.loaded.has_objects:
            continue  # tf.saved_model.save saves all that it uses, or refuses
        elif saved is not None and statistic.variable not in saved:
            problem = f"left out by the Saver, which saves {len(saved)} variables"
            yield _finding(scenario, statistic, problem)


def _finding(scenario: Scenario, statistic: Statistic, problem: str) -> Finding:
    return Finding(
        rule=CODE,
        severity=ERROR,
        certain=True,
        variable=statistic.name,
        layer=statistic.layer,
        op=scenario.recognized.graph.names[statistic.variable],
        path=(),
        fetch="",
        problem=problem,
        remedy=REMEDY,
    )
