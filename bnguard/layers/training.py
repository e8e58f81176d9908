"""`create_train_op`: what `slim.learning.create_train_op` was."""

from __future__ import annotations

from typing import Any, Callable

import tensorflow.compat.v1 as tf


class _GetOrCreate:
    """The default of `global_step`, for None means that no step is counted."""

    def __repr__(self) -> str:
        return "<get or create>"


_GET_OR_CREATE = _GetOrCreate()


def create_train_op(
    total_loss: tf.Tensor,
    optimizer: tf.train.Optimizer,
    global_step: Any = _GET_OR_CREATE,
    update_ops: Any = None,
    variables_to_train: Any = None,
    clip_gradient_norm: float = 0,
    summarize_gradients: bool = False,
    gate_gradients: int = tf.train.Optimizer.GATE_OP,
    aggregation_method: Any = None,
    colocate_gradients_with_ops: bool = False,
    gradient_multipliers: dict | None = None,
    check_numerics: bool = True,
) -> tf.Tensor:
    """Build the tensor that runs a training step: updates, then gradients, then the loss.

    The behaviour is that of TensorFlow 1.15's slim, with these differences: the same program
    builds the same graph on every run; mistakes are `ValueError`s that say what to do; and
    with `check_numerics`, a loss that is NaN or infinite stops the step before a statistic,
    a weight or the step counter changes. Writes that the loss itself waits for, as with
    `batch_norm(updates_collections=None)`, have happened before the loss is known. To wait
    for the loss, the train op runs copies of the writes in UPDATE_OPS: fetch it alone, for
    UPDATE_OPS, or another train op over the same updates, fetched beside it updates again.

    Args:
      total_loss: the scalar to minimize.
      optimizer: a `tf.train.Optimizer`.
      global_step: the variable to increment; by default the graph's own, created if there
        is none; None counts nothing.
      update_ops: tensors or operations to run before the loss is returned; by default
        all of UPDATE_OPS; `[]` runs none. A list that misses some of UPDATE_OPS is run as
        it is, with a warning.
      variables_to_train: by default all of TRAINABLE_VARIABLES.
      clip_gradient_norm: the largest norm for each gradient by itself; 0 does not clip.
      summarize_gradients: whether to add summaries of each gradient and its norm.
      gate_gradients: as for `tf.train.Optimizer.compute_gradients`.
      aggregation_method: the same.
      colocate_gradients_with_ops: the same.
      gradient_multipliers: variable or its op's name -> number or scalar tensor to
        multiply its gradient by, before clipping.
      check_numerics: whether to stop the step if the loss is NaN or infinite.

    Returns:
      The loss, a tensor that is also added to TRAIN_OP; to evaluate it runs everything.

    Raises:
      ValueError: `variables_to_train` is empty or has one that is not trainable, or
        `gradient_multipliers` names an unknown variable or one without a gradient, or
        `update_ops` is not a list.
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


def _updates(update_ops: Any) -> list:
    collected = _unique(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
    if update_ops is None:
        return collected
    if isinstance(update_ops, (str, tf.Operation, tf.Tensor, tf.Variable)):
        raise ValueError(
            f"create_train_op: update_ops is {getattr(update_ops, 'name', update_ops)}; a list of "
            "tensors or operations is expected, such as tf.get_collection(NAME) returns."
        )
    updates = _unique(update_ops)
    missed = [update for update in collected if not _contains(updates, update)]
    if missed:
        tf.logging.warning(
            "update_ops in create_train_op does not contain all the update_ops in "
            "GraphKeys.UPDATE_OPS; it misses %s. Their statistics will not move.",
            ", ".join(update.name for update in missed),
        )
    return updates


def _unique(items: Any) -> list:
    """Drop repetitions, and keep the order: that of a set changes from run to run."""
    unique: list = []
    for item in items:
        if not _contains(unique, item):
            unique.append(item)
    return unique


def _contains(items: list, item: Any) -> bool:
    # Not `in`: between tensors == may build an op that compares their values.
    return any(one is item for one in items)


def _trainable(variables_to_train: Any) -> list:
    trainable = tf.trainable_variables()
    if variables_to_train is None:
        variables_to_train = trainable
    if not variables_to_train:
        raise ValueError(
            "create_train_op: there is no variable to train; pass variables_to_train, or "
            "create a variable with trainable=True first."
        )
    for variable in variables_to_train:
        if not hasattr(variable, "trainable"):
            raise ValueError(
                f"create_train_op: variables_to_train has {variable!r}; variables are expected, "
                "such as tf.trainable_variables(SCOPE) returns."
            )
        if not variable.trainable and not _contains(trainable, variable):
            raise ValueError(
                f"create_train_op: variables_to_train has {variable.op.name}, which is not "
                "trainable; drop it, or create it with trainable=True."
            )
    return list(variables_to_train)


def _after_updates(total_loss: tf.Tensor, updates: list, check_numerics: bool) -> tf.Tensor:
    """Return the loss, to be had once the updates have run."""
    if check_numerics:
        finite = tf.check_numerics(total_loss, "LossTensor is inf or nan").op
        updates = [finite, *_hold_back(updates, finite, total_loss)]
    with tf.control_dependencies(updates):
        barrier = tf.no_op(name="update_barrier")
    with tf.control_dependencies([barrier]):
        return tf.identity(total_loss)


def _hold_back(updates: list, until: tf.Operation, loss: tf.Tensor) -> list[tf.Operation]:
    """Return ops that do what `updates` do, but write no variable before `until` has run.

    An op that exists cannot be told to wait, so the writes are copied, with what follows
    from them. What the loss itself needs cannot wait for it, and stays as it is.
    """
    operations = [getattr(update, "op", update) for update in updates]
    needed = _ancestors([loss.op], stop=set())
    own = _ancestors(operations, stop=needed)
    if any(op.type in _LOOPS for op in own):
        tf.logging.warning(
            "create_train_op: an update op is inside of a tf.while_loop of control flow v1, so "
            "the updates cannot wait until the loss was found finite."
        )
        return operations
    copies: dict = {}
    for op in loss.graph.get_operations():  # in order of creation: what is needed comes first
        if op in own and (_writes(op) or any(source in copies for source in _sources(op))):
            copies[op] = _copy(op, copies, until)
    return [copies.get(op, op) for op in operations]


_LOOPS = ("Enter", "RefEnter")
_READS = ("Identity", "ReadVariableOp", "RefSwitch", "Switch")


def _ancestors(operations: list, stop: set) -> set:
    """Return the operations and all that they need, except for those in `stop`."""
    found: set = set()
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
    """Say whether the operation may write a variable.

    Not every ref or resource is one: to copy what takes the next element of an iterator or a
    queue would take one element more wherever the original is fetched, too.
    """
    # Only an op on variables takes a ref of any type; a queue's handle is a ref of text.
    takes_ref = any(taken.is_ref and taken.type_attr for taken in op.op_def.input_arg)
    handles = [tensor.op for tensor in op.inputs if tensor.dtype == tf.resource]
    takes_variable = any(_origin(handle).type == "VarHandleOp" for handle in handles)
    return (takes_ref or takes_variable) and op.type not in _READS


def _origin(op: tf.Operation) -> tf.Operation:
    """Return the op that made a resource's handle, whatever passed it on."""
    while op.type in _READS and op.inputs:
        op = op.inputs[0].op
    return op


def _copy(op: tf.Operation, copies: dict, until: tf.Operation) -> tf.Operation:
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


def _multiply(gradients: list, multipliers: dict) -> list:
    by_name = {key if isinstance(key, str) else key.op.name: by for key, by in multipliers.items()}
    _check_multipliers(by_name, {variable.op.name: gradient for gradient, variable in gradients})

    def multiplied(gradient: Any, variable: tf.Variable) -> Any:
        if variable.op.name not in by_name:
            return gradient
        by = by_name[variable.op.name]
        # Not tf.cast for a number, which would round it to float32 first.
        is_number = isinstance(by, (int, float))
        by = tf.constant(by, gradient.dtype) if is_number else tf.cast(by, gradient.dtype)
        return _map_values(lambda values: values * by, gradient)

    with tf.name_scope("multiply_grads"):
        return [(multiplied(*pair), pair[1]) for pair in gradients]


def _check_multipliers(by_name: dict, gradients: dict) -> None:
    for name in by_name:
        if name not in gradients:
            raise ValueError(
                f"create_train_op: gradient_multipliers has {name!r}, which is not trained; the "
                f"variables are {', '.join(gradients)}."
            )
        if gradients[name] is None:
            raise ValueError(
                f"create_train_op: gradient_multipliers has {name!r}, which the loss does not "
                "depend on; drop it. Requested multiple of `None` gradient."
            )


def _clip(gradients: list, norm: float) -> list:
    with tf.name_scope("clip_grads"):
        return [
            (_map_values(lambda values: tf.clip_by_norm(values, norm), gradient), variable)
            for gradient, variable in gradients
        ]


def _map_values(function: Callable, gradient: Any) -> Any:
    """Apply the function to a gradient: dense, sparse or none."""
    if gradient is None:
        return None
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(function(gradient.values), gradient.indices, gradient.dense_shape)
    return function(gradient)


def _after(loss: tf.Tensor, gradients: list) -> list:
    """Return the gradients, to be had once the loss is: they may not depend on its value.

    Not the optimizer's ops, some of which other steps run alone, as `SyncReplicasOptimizer`'s.
    """

    def wait(values: tf.Tensor) -> tf.Tensor:
        with tf.device(values.device), tf.control_dependencies([loss]):
            return tf.identity(values)

    with tf.name_scope("after_loss"):
        return [(_map_values(wait, gradient), variable) for gradient, variable in gradients]


def _summarize(gradients: list) -> None:
    with tf.name_scope("summarize_grads"):
        for gradient, variable in gradients:
            if gradient is None:
                tf.logging.info("Var %s has no gradient", variable.op.name)
                continue
            values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
            tf.summary.histogram(variable.op.name + "_gradient", values)
            tf.summary.scalar(variable.op.name + "_gradient_norm", tf.global_norm([values]))
