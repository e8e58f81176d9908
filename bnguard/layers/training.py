"""`create_train_op`: build a training step as `slim.learning.create_train_op` does."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping, Sequence, TypeVar

import tensorflow.compat.v1 as tf

from bnguard.layers.aliases import Gradient, GradientAndVariable, Multipliers, Scalar, UpdateOp
from bnguard.layers.errors import LayerError

_Item = TypeVar("_Item")


class _GetOrCreate:
    """The default of `global_step`; None already means that no step is counted."""

    def __repr__(self) -> str:
        return "<get or create>"


_GET_OR_CREATE = _GetOrCreate()


def create_train_op(
    total_loss: tf.Tensor,
    optimizer: tf.train.Optimizer,
    global_step: tf.Variable | _GetOrCreate | None = _GET_OR_CREATE,
    update_ops: Sequence[UpdateOp] | None = None,
    variables_to_train: Sequence[tf.Variable] | None = None,
    clip_gradient_norm: float = 0,
    summarize_gradients: bool = False,
    gate_gradients: int = tf.train.Optimizer.GATE_OP,
    aggregation_method: int | None = None,
    colocate_gradients_with_ops: bool = False,
    gradient_multipliers: Multipliers | None = None,
    check_numerics: bool = True,
) -> tf.Tensor:
    """Build the train op: a tensor of the loss that runs a training step when evaluated.

    A step runs the update ops; then the optimizer updates `variables_to_train`, with gradients
    of the loss, and increments `global_step`. `check_numerics` decides which update ops run:

    * True: the step checks the loss first. If it is NaN or infinite, the step fails with
      InvalidArgumentError before a statistic, a weight or the step counter changes. The step
      runs copies of the writes in `update_ops`, which wait for the check. So fetch the train
      op alone: a step that also fetches UPDATE_OPS, or a second train op over the same update
      ops, runs the updates once for each.
    * False: the step runs `update_ops` themselves, and applies the loss whatever its value.

    Writes that the loss depends on, as with `batch_norm(updates_collections=None)`, cannot wait
    for the check. Neither can updates inside a `tf.while_loop` of control flow v1: if there are
    any, no update waits, and a warning says so.

    The behaviour is otherwise that of TensorFlow 1.15's slim, except that the same program
    builds the same graph on every run, and that invalid arguments raise `ValueError`;
    docs/layers.md lists the differences.

    Args:
      total_loss: the scalar to minimize, floating point.
      optimizer: a `tf.train.Optimizer`.
      global_step: an integer variable to increment; by default the graph's global step, which
        is created if there is none; None counts no steps.
      update_ops: a list of tensors or operations to run before the loss is returned; by
        default all of UPDATE_OPS; `[]` runs none. A list that lacks some of UPDATE_OPS is
        used as it is, with a warning.
      variables_to_train: a list of variables; by default all of TRAINABLE_VARIABLES.
      clip_gradient_norm: the largest L2 norm of each gradient; 0 does not clip.
      summarize_gradients: whether to add summaries of each gradient and its norm.
      gate_gradients: as for `tf.train.Optimizer.compute_gradients`.
      aggregation_method: the same.
      colocate_gradients_with_ops: the same.
      gradient_multipliers: variable, or the name of its operation -> number or scalar tensor
        that multiplies its gradient, before clipping.
      check_numerics: whether to stop the step if the loss is NaN or infinite.

    Returns:
      The loss, of the shape and dtype of `total_loss`; evaluating it runs the whole step. It is
      also added to TRAIN_OP.

    Raises:
      LayerError: `variables_to_train` is empty or has a variable that is not trainable, or
        `gradient_multipliers` names an unknown variable or one without a gradient, or
        `update_ops` is not a list. It is a ValueError.
    """
    if global_step is _GET_OR_CREATE:
        global_step = tf.train.get_or_create_global_step()
    updates = _updates(update_ops)
    variables = _trainable(variables_to_train)
    loss = _after_updates(total_loss, updates, check_numerics)
    gradients = optimizer.compute_gradients(
        loss,
        variables,
        gate_gradients=gate_gradients,
        aggregation_method=aggregation_method,
        colocate_gradients_with_ops=colocate_gradients_with_ops,
    )
    if gradient_multipliers:
        gradients = _multiply(gradients, gradient_multipliers)
    if clip_gradient_norm > 0:
        gradients = _clip(gradients, clip_gradient_norm)
    if summarize_gradients:
        _summarize(gradients)
    applied = optimizer.apply_gradients(_after(loss, gradients), global_step=global_step)
    with tf.name_scope("train_op"), tf.control_dependencies([applied]):
        train_op = tf.identity(loss, name="control_dependency")
    tf.add_to_collection(tf.GraphKeys.TRAIN_OP, train_op)
    return train_op


def _updates(update_ops: Sequence[UpdateOp] | None) -> list[UpdateOp]:
    collected = _unique(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
    if update_ops is None:
        return collected
    if isinstance(update_ops, (str, tf.Operation, tf.Tensor, tf.Variable)):
        raise LayerError(
            f"create_train_op: update_ops is {getattr(update_ops, 'name', update_ops)}; a list of "
            "tensors or operations is expected, such as tf.get_collection(NAME)."
        )
    updates = _unique(update_ops)
    missed = [update for update in collected if not _contains(updates, update)]
    if missed:
        tf.logging.warning(
            "update_ops in create_train_op does not contain all the update_ops in "
            "GraphKeys.UPDATE_OPS; %s will not run, so their statistics will not move.",
            ", ".join(update.name for update in missed),
        )
    return updates


def _unique(items: Iterable[_Item]) -> list[_Item]:
    """Return the items without repetitions, in order; a set's order differs between runs."""
    unique: list[_Item] = []
    for item in items:
        if not _contains(unique, item):
            unique.append(item)
    return unique


def _contains(items: Sequence[Any], item: Any) -> bool:
    # Not `in`: == between tensors may build an operation that compares their values.
    return any(member is item for member in items)


def _trainable(variables_to_train: Sequence[tf.Variable] | None) -> list[tf.Variable]:
    trainable = tf.trainable_variables()
    if variables_to_train is None:
        variables_to_train = trainable
    if not variables_to_train:
        raise LayerError(
            "create_train_op: there is no variable to train; pass variables_to_train, or "
            "create a variable with trainable=True first."
        )
    for variable in variables_to_train:
        if not hasattr(variable, "trainable"):
            raise LayerError(
                f"create_train_op: variables_to_train has {variable!r}; variables are expected, "
                "such as tf.trainable_variables(SCOPE)."
            )
        if not variable.trainable and not _contains(trainable, variable):
            raise LayerError(
                f"create_train_op: variables_to_train has {variable.op.name}, which is not "
                "trainable; drop it, or create it with trainable=True."
            )
    return list(variables_to_train)


def _after_updates(
    total_loss: tf.Tensor, updates: list[UpdateOp], check_numerics: bool
) -> tf.Tensor:
    """Return the loss as a tensor that depends on the updates."""
    if check_numerics:
        finite = tf.check_numerics(total_loss, "LossTensor is inf or nan").op
        updates = [finite, *_defer_writes(updates, finite, total_loss)]
    with tf.control_dependencies(updates):
        barrier = tf.no_op(name="update_barrier")
    with tf.control_dependencies([barrier]):
        return tf.identity(total_loss)


def _defer_writes(
    updates: list[UpdateOp], until: tf.Operation, loss: tf.Tensor
) -> list[tf.Operation]:
    """Return operations equivalent to `updates` that write no variable before `until` has run.

    An existing operation cannot receive a control dependency. So the function copies the writes,
    and the operations that depend on them. Operations that the loss depends on cannot wait for
    the loss and are not copied.
    """
    operations = [getattr(update, "op", update) for update in updates]
    needed = _ancestors([loss.op], stop=set())
    own = _ancestors(operations, stop=needed)
    if any(op.type in _LOOPS for op in own):
        tf.logging.warning(
            "create_train_op: an update op is inside a tf.while_loop of control flow v1, so the "
            "updates cannot wait until the loss is known to be finite."
        )
        return operations
    copies: dict[tf.Operation, tf.Operation] = {}
    for op in loss.graph.get_operations():  # in order of creation: inputs come first
        if op in own and (_writes(op) or any(source in copies for source in _sources(op))):
            copies[op] = _copy(op, copies, until)
    return [copies.get(op, op) for op in operations]


_LOOPS = ("Enter", "RefEnter")
_READS = ("Identity", "ReadVariableOp", "RefSwitch", "Switch")


def _ancestors(operations: Iterable[tf.Operation], stop: set[tf.Operation]) -> set[tf.Operation]:
    """Return the operations and everything they depend on, without those in `stop`."""
    found: set[tf.Operation] = set()
    waiting = list(operations)
    while waiting:
        op = waiting.pop()
        if op not in found and op not in stop:
            found.add(op)
            waiting.extend(_sources(op))
    return found


def _sources(op: tf.Operation) -> list[tf.Operation]:
    return [tensor.op for tensor in op.inputs] + list(op.control_inputs)


def _writes(op: tf.Operation) -> bool:
    """Return whether the operation may write a variable.

    An iterator or a queue is a ref or a resource, too, but not a variable: a copy of the operation
    that takes its next element would take an extra element in each step that also fetches the
    original.
    """
    # Only operations on variables take a ref of any dtype; the handle of a queue is a string ref.
    takes_ref = any(argument.is_ref and argument.type_attr for argument in op.op_def.input_arg)
    handles = [tensor.op for tensor in op.inputs if tensor.dtype == tf.resource]
    takes_variable = any(_origin(handle).type == "VarHandleOp" for handle in handles)
    return (takes_ref or takes_variable) and op.type not in _READS


def _origin(op: tf.Operation) -> tf.Operation:
    """Return the operation that made the handle of a resource, behind identities and switches."""
    while op.type in _READS and op.inputs:
        op = op.inputs[0].op
    return op


def _copy(
    op: tf.Operation, copies: Mapping[tf.Operation, tf.Operation], until: tf.Operation
) -> tf.Operation:
    inputs = [
        copies[tensor.op].outputs[tensor.value_index] if tensor.op in copies else tensor
        for tensor in op.inputs
    ]
    before = [until, *(copies.get(source, source) for source in op.control_inputs)]
    with tf.device(op.device), tf.control_dependencies(before):
        return op.graph.create_op(
            op.type,
            inputs,
            [tensor.dtype for tensor in op.outputs],
            input_types=[tensor.dtype for tensor in inputs],
            name=op.name,
            attrs=dict(op.node_def.attr),
        )


def _multiply(
    gradients: list[GradientAndVariable], multipliers: Multipliers
) -> list[GradientAndVariable]:
    by_name = {
        key if isinstance(key, str) else key.op.name: multiplier
        for key, multiplier in multipliers.items()
    }
    _check_multipliers(by_name, {variable.op.name: gradient for gradient, variable in gradients})

    def multiplied(gradient: Gradient, variable: tf.Variable) -> Gradient:
        if variable.op.name not in by_name:
            return gradient
        multiplier = by_name[variable.op.name]
        # Not tf.cast for a number: it would round the number to float32 first.
        convert = tf.constant if isinstance(multiplier, (int, float)) else tf.cast
        return _map_values(lambda values: values * convert(multiplier, values.dtype), gradient)

    with tf.name_scope("multiply_grads"):
        return [(multiplied(*pair), pair[1]) for pair in gradients]


def _check_multipliers(by_name: Mapping[str, Scalar], gradients: Mapping[str, Gradient]) -> None:
    for name in by_name:
        if name not in gradients:
            raise LayerError(
                f"create_train_op: gradient_multipliers has {name!r}, which is not trained; the "
                f"variables are {', '.join(gradients)}."
            )
        if gradients[name] is None:
            raise LayerError(
                f"create_train_op: gradient_multipliers has {name!r}, but the loss does not "
                "depend on this variable (Requested multiple of `None` gradient); drop it."
            )


def _clip(gradients: list[GradientAndVariable], norm: float) -> list[GradientAndVariable]:
    with tf.name_scope("clip_grads"):
        return [
            (_map_values(lambda values: tf.clip_by_norm(values, norm), gradient), variable)
            for gradient, variable in gradients
        ]


def _map_values(function: Callable[[tf.Tensor], tf.Tensor], gradient: Gradient) -> Gradient:
    """Apply the function to the values of a gradient: dense, sparse or None."""
    if gradient is None:
        return None
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(function(gradient.values), gradient.indices, gradient.dense_shape)
    return function(gradient)


def _after(loss: tf.Tensor, gradients: list[GradientAndVariable]) -> list[GradientAndVariable]:
    """Make each gradient depend on the loss, even if its value does not.

    The dependency is not on the optimizer's operations, because other threads may run some of
    them alone, as with `SyncReplicasOptimizer`.
    """

    def wait(values: tf.Tensor) -> tf.Tensor:
        with tf.device(values.device), tf.control_dependencies([loss]):
            return tf.identity(values)

    with tf.name_scope("after_loss"):
        return [(_map_values(wait, gradient), variable) for gradient, variable in gradients]


def _summarize(gradients: list[GradientAndVariable]) -> None:
    with tf.name_scope("summarize_grads"):
        for gradient, variable in gradients:
            if gradient is None:
                tf.logging.info("Var %s has no gradient", variable.op.name)
                continue
            values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
            tf.summary.histogram(variable.op.name + "_gradient", values)
            tf.summary.scalar(variable.op.name + "_gradient_norm", tf.global_norm([values]))
