"""The variables of a batch-normalization layer: created once, found again on reuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

import tensorflow.compat.v1 as tf


@dataclass(frozen=True)
class Parameters:
    """Offset and scale; None where the layer has none."""

    beta: tf.Tensor | None
    gamma: tf.Tensor | None


@dataclass(frozen=True)
class Statistics:
    """The running statistics that inference reads and training moves."""

    moving_mean: tf.Variable
    moving_variance: tf.Variable


@dataclass(frozen=True)
class VariableFactory:
    """Gets a layer's variables in the current variable scope.

    Args:
      shape: the static shape of every variable.
      dtype: their type.
      trainable: whether beta and gamma are to be trained.
      initializers: variable name -> initializer.
      regularizers: variable name -> regularizer or None.
      constraints: variable name -> constraint or None.
      kinds: the collections of every variable.
      collections: more collections for beta, gamma and the moving statistics: a list for
        all of them, or variable name -> list.
    """

    shape: list[int]
    dtype: tf.DType
    trainable: bool
    initializers: dict
    regularizers: dict
    constraints: dict
    kinds: tuple[str, ...]
    collections: Any

    def parameter(self, name: str) -> tf.Tensor:
        """Get beta or gamma; a partitioner in scope may cut it up."""
        variable = self._get(
            name,
            self.shape,
            self.initializers[name],
            regularizer=self.regularizers.get(name),
            constraint=self.constraints.get(name),
            trainable=self.trainable,
        )
        self._collect(name, variable)
        return tf.convert_to_tensor(variable)

    def statistics(self) -> Statistics:
        """Get the moving mean and variance, in this order."""
        return Statistics(self._statistic("moving_mean"), self._statistic("moving_variance"))

    def auxiliary(
        self, name: str, initializer: Callable, shape: list[int] | None = None
    ) -> tf.Variable:
        """Get a variable that only the updates use; never trained and never partitioned."""
        here = tf.get_variable_scope()
        with tf.variable_scope(here, auxiliary_name_scope=False) as scope:
            # A statistic is assigned whole, which a partitioned variable does not allow.
            scope.set_partitioner(None)
            return self._get(
                name, self.shape if shape is None else shape, initializer, trainable=False
            )

    def _statistic(self, name: str) -> tf.Variable:
        variable = self.auxiliary(name, self.initializers[name])
        self._collect(name, variable)
        return variable

    def _get(self, name: str, shape: list[int], initializer: Callable, **how: Any) -> Any:
        return tf.get_variable(
            name,
            shape=shape,
            dtype=self.dtype,
            initializer=initializer,
            collections=list(self.kinds),
            **how,
        )

    def _collect(self, name: str, variable: Any) -> None:
        named = isinstance(self.collections, dict)
        keys = self.collections.get(name) if named else self.collections
        parts = list(variable) if hasattr(variable, "as_tensor") else [variable]
        for key in keys or []:
            known = tf.get_collection_ref(key)
            known.extend(part for part in parts if not _contains(known, part))


def parameter_type(inputs: tf.Tensor) -> tf.DType:
    """Return the type of a layer's variables: at least 32 bits."""
    return tf.float64 if inputs.dtype.base_dtype == tf.float64 else tf.float32


def _contains(known: list, variable: tf.Variable) -> bool:
    # Not `in`: between variables == may build an op that compares their values.
    return any(one is variable for one in known)
