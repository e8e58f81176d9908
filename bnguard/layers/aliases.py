"""Names for the types of the layers' arguments."""

from __future__ import annotations

from enum import Enum
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

# Anything that tf.convert_to_tensor accepts.
TensorLike = Union[tf.Tensor, tf.Variable, "np.ndarray[Any, Any]", Sequence[Any], float]
# A number, or a tensor or variable of rank 0.
Scalar = Union[float, tf.Tensor, tf.Variable]
# Whether a layer trains: a Python bool, 0 or 1, or a bool tensor or variable of rank 0.
Mode = Union[bool, int, tf.Tensor, tf.Variable]

# (shape, dtype=...) -> the initial value, or a class that makes such a function.
Initializer = Callable[..., Any]
# A parameter -> its loss, or None for no loss.
Regularizer = Callable[[tf.Tensor], Optional[tf.Tensor]]
# A parameter -> its projection.
Constraint = Callable[[tf.Tensor], tf.Tensor]
# The normalized values -> the outputs.
Activation = Callable[[tf.Tensor], tf.Tensor]
# The inputs' dynamic shape -> scale and offset of the normalized values.
Adjustment = Callable[[tf.Tensor], Tuple[TensorLike, TensorLike]]
# The batch's mean and variance -> r and d of batch renormalization.
Correction = Callable[[tf.Tensor, tf.Tensor], Tuple[tf.Tensor, tf.Tensor]]
# Any of rmin, rmax and dmax -> its value.
RenormClipping = Mapping[str, Scalar]

# The name of a collection, or several names.
Collections = Union[str, Sequence[str]]
# Collections for all variables, or variable name -> its collections.
VariablesCollections = Union[Sequence[str], Dict[str, Sequence[str]]]
# The name of a variable scope, or the scope itself.
Scope = Union[str, tf.VariableScope]
# True, False or tf.AUTO_REUSE.
Reuse = Union[bool, Enum]

# What tf.GraphKeys.UPDATE_OPS may contain.
UpdateOp = Union[tf.Tensor, tf.Operation, tf.Variable]
# A gradient is dense, sparse, or None where the loss does not depend on the variable.
Gradient = Union[tf.Tensor, tf.IndexedSlices, None]
# Variable, or the name of its operation -> the factor of its gradient.
Multipliers = Mapping[Union[str, tf.Variable], Scalar]
GradientAndVariable = Tuple[Gradient, tf.Variable]
