"""## What it does
Says which running statistics have update ops that no training step runs, and how many of
these ops are in the collection UPDATE_OPS.

## Why is this bad
The statistics stay what they were initialized to, mean 0 and variance 1. Training looks well,
because it uses the statistics of each batch; inference does not, and its output is useless.

## Example
```python
logits = batch_norm(x, is_training=True)  # its updates are only put into UPDATE_OPS
train_op = optimizer.minimize(loss)
```

## Use instead
```python
update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
with tf.control_dependencies(update_ops):
    train_op = optimizer.minimize(loss)
```
Or `slim.learning.create_train_op(loss, optimizer)`, which does that; or, in the layer,
`updates_collections=None`, which makes its output depend on its updates.

## Known false positives
Programs that fetch the updates beside the train op, `session.run([train_op, update_ops])`: name
both with `--train-op`. Layers that the loss does not depend on, if their updates are collected.

## References
- https://www.tensorflow.org/api_docs/python/tf/compat/v1/layers/batch_normalization
- https://github.com/tensorflow/tensorflow/issues/7469
- https://github.com/tensorflow/tensorflow/issues/11965
"""

from __future__ import annotations

from typing import Iterator, Sequence

from bnguard.audit.finding import ERROR, Finding
from bnguard.audit.situation import Situation

CODE = "BN201"
REMEDY = (
    "Build the train op under tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)), "
    "or with a create_train_op that does so"
)
_NEAR = 3  # edges back to an update from what stands for it in the collection: a group, a Merge


def check(situation: Situation) -> Iterator[Finding]:
    """One finding for each statistic whose updates are all left out."""
    if not situation.training:
        return
    graph = situation.model.graph
    collected = set(situation.model.collection("update_ops"))
    for _ in range(_NEAR):
        collected.update([source for node in collected for source in graph.sources[node]])
    train_ops = ", ".join(step.fetch for step in situation.training)
    for statistic in situation.model.statistics:
        updates = [write.node for write in statistic.updates]
        if not updates or _reaches_any(situation, updates):
            continue
        known = len(collected.intersection(updates))
        if not known and not _reaches_any(situation, [one.node for one in statistic.sources]):
            continue  # the layer is not even run in training, and would update itself if it were
        yield Finding(
            rule=CODE,
            severity=ERROR,
            certain=True,
            variable=statistic.name,
            layer=statistic.layer,
            op=graph.names[updates[0]],
            path=(),
            fetch=train_ops,
            problem=(
                f"never updated: {train_ops} reaches none of its update ops "
                f"({len(updates)}, of which {known} in UPDATE_OPS)"
            ),
            remedy=REMEDY,
        )


def _reaches_any(situation: Situation, nodes: Sequence[int]) -> bool:
    return any(step.execution.needs(node) for step in situation.training for node in nodes)
