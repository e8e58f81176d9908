"""What the audit understands of a live graph, once for each version of it."""

from __future__ import annotations

from typing import Any
import weakref

from bnguard.audit import Model, load, understand
import tensorflow.compat.v1 as tf

_models: Any = weakref.WeakKeyDictionary()  # graph -> its version, and the model of that


def model_of(graph: tf.Graph) -> Model:
    """The variables of a graph, their writers, and the running statistics among them.

    Raises:
      BnguardError: the graph is one that cannot be written as a GraphDef.
    """
    version, model = _models.get(graph, (None, None))
    if version != graph.version:
        (subject,) = load(graph)
        model = understand(subject)
        _models[graph] = graph.version, model
    return model
