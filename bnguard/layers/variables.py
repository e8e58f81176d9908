"""The variables of a batch-normalization layer: created once, found again on reuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence

import tensorflow.compat.v1 as tf

from bnguard.layers.aliases import (
    Constraint,
    Initializer,
    Regularizer,
    VariablesCollections,
)


@dataclass(frozen=True)
class Parameters:
    """Offset and scale of a layer; each is None where the layer has none."""

    beta: tf.Tensor | None
    gamma: tf.Tensor | None


@dataclass(frozen=True)
class Statistics:
    """The running statistics, which inference reads and training updates."""

    moving_mean: tf.Variable
    moving_variance: tf.Variable


@dataclass(frozen=True)
class VariableFactory:
    """Get the variables of a layer in the current variable scope.

    Args:
      shape: the static shape of every variable.
      dtype: the dtype of every variable.
      trainable: whether beta and gamma are added to TRAINABLE_VARIABLES.
      initializers: variable name -> initializer.
      regularizers: variable name -> regularizer or None.
      constraints: variable name -> constraint or None.
      common_collections: the collections of every variable.
      extra_collections: more collections for beta, gamma and the moving statistics: a list
        for all of them, or variable name -> list.
    """

    shape: list[int]
    dtype: tf.DType
    trainable: bool
    initializers: Mapping[str, Initializer]
    regularizers: Mapping[str, Optional[Regularizer]]
    constraints: Mapping[str, Optional[Constraint]]
    common_collections: tuple[str, ...]
    extra_collections: VariablesCollections | None

    def parameter(self, name: str) -> tf.Tensor:
        """Get beta or gamma; a partitioner in scope may split it into several variables."""
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
        """Get the moving mean and the moving variance, in this order."""
        return Statistics(self._statistic("moving_mean"), self._statistic("moving_variance"))

    def auxiliary(
        self, name: str, initializer: Initializer, shape: list[int] | None = None
    ) -> tf.Variable:
        """Get a variable that is never trained and never partitioned.

        Each replica of a `tf.distribute.Strategy` moves its own copy, and a Saver stores the mean
        of the copies, as with `tf.layers`.
        """
        current_scope = tf.get_variable_scope()
        with tf.variable_scope(current_scope, auxiliary_name_scope=False) as scope:
            # The updates assign a statistic as a whole; a partitioned variable has no such write.
            scope.set_partitioner(None)
            # `tf.map_fn` and `tf.scan` read a variable once, before the first element, and each
            # update would start from that value.
            scope.set_caching_device(None)
            return self._get(
                name,
                self.shape if shape is None else shape,
                initializer,
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.MEAN,
            )

    def _statistic(self, name: str) -> tf.Variable:
        variable = self.auxiliary(name, self.initializers[name])
        self._collect(name, variable)
        return variable

    def _get(self, name: str, shape: list[int], initializer: Initializer, **options: Any) -> Any:
        return tf.get_variable(
            name,
            shape=shape,
            dtype=self.dtype,
            initializer=initializer,
            collections=list(self.common_collections),
            **options,
        )

    def _collect(self, name: str, variable: Any) -> None:
        parts = list(variable) if hasattr(variable, "as_tensor") else [variable]
        for key in self._extra_collections_of(name):
            collected = tf.get_collection_ref(key)
            collected.extend(part for part in parts if not _contains(collected, part))

    def _extra_collections_of(self, name: str) -> Sequence[str]:
        if isinstance(self.extra_collections, dict):
            return self.extra_collections.get(name) or []
        return self.extra_collections or []


def parameter_type(inputs: tf.Tensor) -> tf.DType:
    """Return the dtype of a layer's variables: float64 for float64 inputs, else float32."""
    return tf.float64 if inputs.dtype.base_dtype == tf.float64 else tf.float32


def _contains(variables: Sequence[tf.Variable], variable: tf.Variable) -> bool:
    # Not `in`: == between variables may build an operation that compares their values.
    return any(member is variable for member in variables)
