"""The variables of a batch-normalization layer: who creates them, in which order and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf


@dataclass(frozen=True)
class VariableFactory:
    """Creates a layer's variables in the current variable scope, or finds them on reuse.

    Args:
        shape: the shape of each variable, fully defined.
        dtype: their type.
        trainable: whether beta and gamma are to be trained.
        initializers: maps a variable's name to its initializer.
        regularizers: the same for regularizers; one that is not named has none.
        collections: further collections, for all variables (a list) or by name (a dict).

    """

    shape: Any
    dtype: tf.DType
    trainable: bool
    initializers: dict
    regularizers: dict
    collections: Any

    def parameter(self, name: str, default: Any) -> tf.Tensor:
        """Get a trainable parameter: `beta` or `gamma`."""
        variable = self._variable(name, self.shape, default, self.trainable)
        self._collect(name, variable)
        return tf.convert_to_tensor(variable)

    def statistic(self, name: str, default: Any) -> tf.Variable:
        """Get a running statistic: never trained, never partitioned, for it is assigned whole."""
        with tf.variable_scope(tf.get_variable_scope()) as scope:
            scope.set_partitioner(None)
            variable = self._variable(name, self.shape, default, False)
        self._collect(name, variable)
        return variable

    def _variable(self, name: str, shape: Any, default: Any, trainable: bool) -> Any:
        return tf.get_variable(
            name,
            shape=shape,
            dtype=self.dtype,
            initializer=self.initializers.get(name, default),
            regularizer=self.regularizers.get(name),
            trainable=trainable,
            collections=[tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES],
        )

    def _collect(self, name: str, variable: Any) -> None:
        for key in self._keys(name):
            known = tf.get_collection_ref(key)
            known.extend(part for part in _parts(variable) if not _contains(known, part))

    def _keys(self, name: str) -> list[str]:
        if isinstance(self.collections, dict):
            return list(self.collections.get(name) or [])
        return list(self.collections or [])


def _parts(variable: Any) -> list[tf.Variable]:
    return list(variable) if hasattr(variable, "as_tensor") else [variable]


def _contains(known: list[Any], variable: tf.Variable) -> bool:
    # Not `in`: under TF 2 behaviour == between variables compares their values.
    return any(one is variable for one in known)


@dataclass(frozen=True)
class Statistics:
    """The running statistics that inference reads and training updates."""

    moving_mean: tf.Variable
    moving_variance: tf.Variable


@dataclass(frozen=True)
class Parameters:
    """The offset and scale; None where the layer has none."""

    beta: tf.Tensor | None
    gamma: tf.Tensor | None
