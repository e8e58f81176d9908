"""How training moves the running statistics.

A rule lists the variables that it writes, and computes their values from the batch's mean and
variance. Computing writes nothing; `write` writes all values, in an order that is safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Union

import tensorflow.compat.v1 as tf

from bnguard.layers.aliases import Initializer, RenormClipping, Scalar, UpdateOp
from bnguard.layers.errors import LayerError
from bnguard.layers.variables import Statistics, VariableFactory


class Target(NamedTuple):
    """A variable that a training step writes.

    The computed value is subtracted from it, or assigned to it if `overwrite` is set.
    """

    variable: tf.Variable
    overwrite: bool = False


@dataclass(frozen=True)
class MovingAverages:
    """Move each statistic s to `decay` * s + (1 - `decay`) * the batch's value."""

    statistics: Statistics
    decay: Scalar

    @property
    def targets(self) -> list[Target]:
        """Return the variables to write; as in every rule, moving_mean, moving_variance last."""
        return [Target(self.statistics.moving_mean), Target(self.statistics.moving_variance)]

    def values(self, mean: tf.Tensor, variance: tf.Tensor) -> list[tf.Tensor]:
        """Compute the value for each target from the batch's moments."""
        statistics = self.statistics
        return _steps_toward(
            self.decay, (statistics.moving_mean, mean), (statistics.moving_variance, variance)
        )


@dataclass(frozen=True)
class ZeroDebiased:
    """Move as `MovingAverages`, without the mean's bias toward its initial zero.

    `biased` is the moving average that starts from zero. moving_mean is `biased` divided by
    1 - decay ** `local_step` (Kingma and Ba, Adam, arXiv:1412.6980, section 3).
    """

    averages: MovingAverages
    biased: tf.Variable
    local_step: tf.Variable

    @classmethod
    def create(cls, averages: MovingAverages, variables: VariableFactory) -> ZeroDebiased:
        """Create the two variables in contrib's scope, `<scope>/<scope>/moving_mean/`."""
        zeros = tf.zeros_initializer()
        # Of a replica's own copy, `op.name` would be another name on each replica.
        with tf.variable_scope(averages.statistics.moving_mean.name.rpartition(":")[0]):
            return cls(
                averages,
                biased=variables.auxiliary("biased", zeros),
                local_step=variables.auxiliary("local_step", zeros, shape=[]),
            )

    @property
    def targets(self) -> list[Target]:
        """Return the variables to write."""
        _, variance = self.averages.targets
        mean = Target(self.averages.statistics.moving_mean, overwrite=True)
        return [Target(self.biased), Target(self.local_step), mean, variance]

    def values(self, mean: tf.Tensor, variance: tf.Tensor) -> list[tf.Tensor]:
        """Compute the value for each target from the batch's moments."""
        decay = _scalar(self.averages.decay, self.biased.dtype.base_dtype)
        step = tf.constant(-1, self.local_step.dtype.base_dtype)
        moving_variance = self.averages.statistics.moving_variance
        biased, variance_value = _steps_toward(
            self.averages.decay, (self.biased, mean), (moving_variance, variance)
        )
        unbiased = (self.biased - biased) / (1 - tf.pow(decay, self.local_step - step))
        return [biased, step, unbiased, variance_value]


@dataclass(frozen=True)
class Renorm:
    """Batch renormalization (Ioffe, arXiv:1702.03275), with contrib's three more variables.

    Args:
      averages: the rule of moving_mean, and of the root of moving_variance.
      epsilon: a number added to the variance.
      clipping: any of rmin, rmax and dmax -> its value.
      decay: the decay of renorm_mean and renorm_stddev.
      moving_stddev: the moving average of the standard deviation; moving_variance is its
        square, less epsilon.
      renorm_mean: the mean toward which training corrects the batch's mean.
      renorm_stddev: the standard deviation toward which training corrects the batch's.
    """

    averages: MovingAverages
    epsilon: float
    clipping: RenormClipping
    decay: Scalar
    moving_stddev: tf.Variable
    renorm_mean: tf.Variable
    renorm_stddev: tf.Variable

    @classmethod
    def create(
        cls,
        averages: MovingAverages,
        variables: VariableFactory,
        epsilon: float,
        clipping: RenormClipping | None,
        decay: Scalar,
    ) -> Renorm:
        """Create the three variables in the scope of the moving statistics."""
        stddev = _square_root(variables.initializers["moving_variance"])
        return cls(
            averages,
            epsilon,
            clipping or {},
            decay,
            moving_stddev=variables.auxiliary("moving_stddev", stddev),
            renorm_mean=variables.auxiliary("renorm_mean", variables.initializers["moving_mean"]),
            renorm_stddev=variables.auxiliary("renorm_stddev", stddev),
        )

    def correction(self, mean: tf.Tensor, variance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the paper's r and d: training maps a normalized value to value * r + d."""
        floor = tf.sqrt(_scalar(self.epsilon, variance.dtype))
        reference = tf.maximum(self.renorm_stddev, floor)
        r = self._stddev(variance) / reference
        d = (mean - self.renorm_mean) / reference
        rmin, rmax, dmax = (self.clipping.get(key) for key in ("rmin", "rmax", "dmax"))
        r = r if rmin is None else tf.maximum(r, rmin)
        r = r if rmax is None else tf.minimum(r, rmax)
        d = d if dmax is None else tf.minimum(tf.maximum(d, -dmax), dmax)
        return tf.stop_gradient(r, name="renorm_r"), tf.stop_gradient(d, name="renorm_d")

    @property
    def targets(self) -> list[Target]:
        """Return the variables to write."""
        mean, _ = self.averages.targets
        auxiliary = [self.renorm_mean, self.renorm_stddev, self.moving_stddev]
        variance = Target(self.averages.statistics.moving_variance, overwrite=True)
        return [*map(Target, auxiliary), mean, variance]

    def values(self, mean: tf.Tensor, variance: tf.Tensor) -> list[tf.Tensor]:
        """Compute the value for each target from the batch's moments."""
        stddev = self._stddev(variance)
        renorm = _steps_toward(self.decay, (self.renorm_mean, mean), (self.renorm_stddev, stddev))
        moving_mean = self.averages.statistics.moving_mean
        stddev_value, mean_value = _steps_toward(
            self.averages.decay, (self.moving_stddev, stddev), (moving_mean, mean)
        )
        # Rounding could take the variance below zero.
        moving_variance = tf.nn.relu(tf.square(self.moving_stddev - stddev_value) - self.epsilon)
        return [*renorm, stddev_value, mean_value, moving_variance]

    def _stddev(self, variance: tf.Tensor) -> tf.Tensor:
        return tf.sqrt(variance + self.epsilon)


Rule = Union[MovingAverages, ZeroDebiased, Renorm]


def write(
    targets: list[Target], values: list[tf.Tensor], after: list[tf.Tensor], read: bool
) -> list[UpdateOp]:
    """Build the writes of all values; they wait for `after`, and for every value.

    No variable changes before the last value is computed: reading a ref variable gives an alias
    of its buffer, so a value computed later would see the new content.

    Args:
      targets: the targets of a rule.
      values: one for each target, of its shape and dtype.
      after: tensors whose operations read a statistic.
      read: whether to return tensors of the new values instead of operations.

    Returns:
      The updates of moving_mean and moving_variance; they depend on the other writes.
    """
    with tf.control_dependencies([*after, *values]):
        *auxiliary, mean, variance = zip(targets, values)
        done = [_write(*pair, "AssignAuxiliary", read=False) for pair in auxiliary]
        with tf.control_dependencies(done):
            return [_write(*pair, "AssignMovingAvg", read) for pair in (mean, variance)]


def check_writable(targets: list[Target]) -> None:
    """Raise LayerError if a training step cannot write a target.

    It cannot write what a custom getter made of a variable; nor a ref variable in a branch, loop or
    function that has a graph of its own.
    """
    for variable, _ in targets:
        if not hasattr(variable, "assign_sub"):
            raise LayerError(
                f"batch normalization: the custom getter of the variable scope returned "
                f"{variable.name}, a tensor, for a running statistic; a variable is expected, "
                "because training writes it. Return the variable itself from the getter if its "
                "argument trainable is False, or build this layer for inference."
            )
        if is_ref(variable) and variable.graph is not tf.get_default_graph():
            raise LayerError(
                f"batch normalization: {variable.op.name} is a ref variable, and the layer is "
                "built for training inside a branch, loop or function of control flow v2, which "
                "cannot write one; a resource variable is expected there. Call "
                "tf.compat.v1.enable_resource_variables() before the variables are created, or "
                "tf.compat.v1.disable_control_flow_v2() before the branch or loop is built."
            )


_BETWEEN = ("Identity", "RefIdentity", "RefSwitch", "Switch")  # a loop and a branch inside it


def _warn_of_parallel_iterations(write: Any) -> None:
    """Log a warning if the write is in a loop of control flow v1 that overlaps iterations.

    Control flow v2 knows that number when the loop is complete.
    """
    if not isinstance(write, tf.Operation):
        return  # of a strategy that writes on behalf of all replicas
    variable = write.inputs[0].op
    while variable.type in _BETWEEN:
        variable = variable.inputs[0].op
    if variable.type not in ("Enter", "RefEnter"):
        return
    iterations = variable.get_attr("parallel_iterations")
    if iterations > 1:
        tf.logging.warning(
            "batch normalization: %s updates a running statistic inside a loop that runs up to %d "
            "iterations at once, so an update may start from a value that others replace "
            "meanwhile, and be lost. Pass parallel_iterations=1 to the tf.while_loop, tf.map_fn or "
            "tf.scan.",
            write.name,
            iterations,
        )


def unchanged(targets: list[Target]) -> list[tf.Tensor]:
    """Return values that leave every variable bit for bit unchanged when written."""
    shapes = [tuple(target.variable.shape.as_list()) for target in targets]
    dtype = targets[0].variable.dtype.base_dtype
    zeros = {shape: tf.constant(0, dtype, shape) for shape in sorted(set(shapes))}
    return [
        tf.identity(target.variable) if target.overwrite else zeros[shape]
        for target, shape in zip(targets, shapes)
    ]


def is_ref(variable: tf.Variable) -> bool:
    """Return whether this is a ref variable, as opposed to a resource variable."""
    return bool(variable.dtype != variable.dtype.base_dtype)


def _steps_toward(decay: Scalar, *pairs: tuple[tf.Variable, tf.Tensor]) -> list[tf.Tensor]:
    """Compute the value to subtract from each variable, for pairs of (variable, batch's value)."""
    rate = _scalar(1.0 - decay, pairs[0][0].dtype.base_dtype)
    return [(variable - batch) * rate for variable, batch in pairs]


def _scalar(value: Scalar, dtype: tf.DType) -> tf.Tensor:
    # Not tf.cast for a number: it would round the number to float32 first.
    if isinstance(value, (int, float)):
        return tf.constant(value, dtype)
    return tf.cast(value, dtype)


def _square_root(initializer: Initializer) -> Initializer:
    def initial_stddev(shape: Any, dtype: Any = None, partition_info: Any = None) -> tf.Tensor:
        del partition_info  # statistics are never partitioned
        initial = initializer() if isinstance(initializer, type) else initializer
        return tf.sqrt(initial(shape, dtype=dtype))

    return initial_stddev


def _write(target: Target, value: tf.Tensor, name: str, read: bool) -> UpdateOp:
    with tf.name_scope(name) as scope:
        assign = target.variable.assign if target.overwrite else target.variable.assign_sub
        update = assign(value, name=scope, read_value=False)
        if name == "AssignMovingAvg":
            _warn_of_parallel_iterations(update)
        if not read:
            return update
        if is_ref(target.variable):
            return update.outputs[0]
        with tf.control_dependencies([update]):
            return target.variable.read_value()
