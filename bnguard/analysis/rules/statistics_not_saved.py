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

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/train/Saver
- https://github.com/davidsandberg/facenet/issues/816
- https://github.com/cbfinn/maml/issues/33
"""

from __future__ import annotations

from typing import Iterator

from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.recognition.savers import checkpoint_name, saved_names
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each statistic that is not saved."""
    recognized, stored = scenario.recognized, scenario.stored
    saved = saved_names(recognized)
    names = {} if saved is None else saved.names
    for statistic in recognized.statistics:
        variable = statistic.variable
        if stored is not None:
            name = names.get(variable, checkpoint_name(recognized, variable))
            if name not in stored.names:
                problem = f"is not in the checkpoint, which contains {len(stored.names)} names"
                yield RULE.finding(recognized, problem, variable, statistic)
        elif recognized.loaded.has_objects:
            continue  # tf.saved_model.save saves all that it uses, or refuses
        elif saved is not None and saved.is_complete and variable not in names:
            problem = f"is left out by the Saver, which saves {len(names)} variables"
            yield RULE.finding(recognized, problem, variable, statistic)


RULE = Rule(
    "BN301",
    __name__,
    __doc__,
    ERROR,
    "Give the Saver tf.global_variables(), or no list, and save again",
    check,
)
