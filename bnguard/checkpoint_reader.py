"""Find checkpoints on disk, read them, and verify them against a graph."""

from __future__ import annotations

import os
import re
from typing import Any, Collection, Dict, List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError, first_line

_DAMAGE = (
    tf.errors.OpError,
    LookupError,
    RuntimeError,
    ValueError,
)  # the types that TensorFlow's readers raise

_EXPECTED = "expected the prefix of a checkpoint, as Saver.save returns it, or its directory"


def read(path: str, names: Optional[Collection[str]] = None) -> Dict[str, Any]:
    """Return the tensors of a checkpoint by name; in a TF 1.x checkpoint, the variables' names.

    Args:
      path: a checkpoint prefix, one of its files, or a directory whose `checkpoint` file
        names one.
      names: the tensors to read; names that the checkpoint lacks are left out. None: all.

    Raises:
      BnguardError: there is no checkpoint, or its index or data file is damaged. Reading a tensor
        verifies its checksum.
    """
    prefix = resolve(path)
    try:
        reader = tf.train.load_checkpoint(prefix)
        stored = sorted(reader.get_variable_to_shape_map())
        return {name: reader.get_tensor(name) for name in stored if names is None or name in names}
    except _DAMAGE as error:
        raise _damaged(prefix, error) from error


def names(path: str) -> List[str]:
    """Return the names of a checkpoint's tensors, sorted.

    Raises:
      BnguardError: there is no checkpoint, or its index is damaged.
    """
    prefix = resolve(path)
    try:
        return sorted(tf.train.load_checkpoint(prefix).get_variable_to_shape_map())
    except _DAMAGE as error:
        raise _damaged(prefix, error) from error


def resolve(path: str) -> str:
    """Return the checkpoint prefix that `path` names: a prefix, one of its files, or a directory.

    A directory names the checkpoint in its `checkpoint` file. If that path leads out of the
    directory, it names the checkpoint of the same basename inside the directory, because Saver
    writes absolute paths and directories are moved. Files outside are never read.

    Raises:
      BnguardError: there is no such checkpoint, or TensorFlow could not find a checkpoint by this
        name.
    """
    check_name(path)
    if os.path.isdir(path):
        return _latest(path)
    prefix = re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", path)
    if not prefix:
        raise BnguardError(f"checkpoint: got the empty path {path!r}; {_EXPECTED}.")
    if _is_keras(prefix):
        raise BnguardError(
            f"{prefix}: a file of Keras, not a checkpoint; {_EXPECTED}. Load the model and "
            "save it with tf.train.Checkpoint(model=model).save(PREFIX)."
        )
    if not _exists(prefix):
        raise BnguardError(
            f"{prefix}: no checkpoint found; expected {prefix}.index and its .data shards. "
            "Give the prefix that Saver.save returned, or its directory."
        )
    return prefix


def verify(path: str, variables: Sequence[Any]) -> None:
    """Check that a checkpoint can restore `variables`, without touching them.

    Args:
      path: as for `read`.
      variables: graph variables, each with a fully defined shape.

    Raises:
      BnguardError: the checkpoint is damaged, lacks a variable, or has it with a different shape or
        dtype.
    """
    stored = read(path)
    wanted = {variable.op.name: variable for variable in variables}
    missing = sorted(set(wanted) - set(stored))
    if missing:
        raise BnguardError(
            f"{path}: the checkpoint has no {', '.join(missing)}; it has "
            f"{', '.join(sorted(stored)) or 'nothing'}. Give a checkpoint of this model."
        )
    for name, variable in sorted(wanted.items()):
        shape, dtype = tuple(variable.shape.as_list()), variable.dtype.base_dtype.as_numpy_dtype
        if stored[name].shape != shape or stored[name].dtype != dtype:
            raise BnguardError(
                f"{path}: {name} has shape {stored[name].shape} and dtype {stored[name].dtype} in "
                f"the checkpoint, {shape} and {np.dtype(dtype)} in the graph. "
                "Give a checkpoint of this model."
            )


def check_name(path: str) -> None:
    """Check that TensorFlow would find a checkpoint at this path again.

    Raises:
      BnguardError: it would not, because it reads a checkpoint's path as UTF-8 and as a pattern.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise BnguardError(
            f"{path}: TensorFlow can use no checkpoint there, because it needs paths in UTF-8. "
            "Give a path in UTF-8."
        ) from error
    if re.search(r"[*?[\\]", path):
        raise BnguardError(
            f"{path}: TensorFlow would save a checkpoint there and not find it again, because it "
            "reads * ? [ and \\ as a pattern. Give a path without them."
        )


def _latest(folder: str) -> str:
    named = _named(folder)
    prefix = named if _inside(named, folder) else os.path.join(folder, os.path.basename(named))
    if os.path.basename(prefix) and _exists(prefix):
        return prefix
    if os.path.exists(os.path.join(folder, "saved_model.pb")):
        inside = os.path.join(folder, "variables", "variables")
        raise BnguardError(
            f"{folder}: a SavedModel, not a directory of checkpoints; {_EXPECTED}. Give "
            f"{inside}, the checkpoint in it."
        )
    seen = f"it names {named}, which is not in this directory" if named else "it names none"
    raise BnguardError(
        f"{folder}: no checkpoint found; expected a `checkpoint` file that names one of this "
        f"directory, but {seen}. Give the prefix itself: the path without .index."
    )


def _named(folder: str) -> str:
    """Return the path in a directory's `checkpoint` file; empty if it names none."""
    try:
        state = tf.train.get_checkpoint_state(folder)
    except ValueError:  # the file is not text
        return ""
    return "" if state is None else state.model_checkpoint_path


def _inside(path: str, folder: str) -> bool:
    home = os.path.realpath(folder)
    return os.path.commonpath([home, os.path.realpath(os.path.dirname(path))]) == home


def _damaged(prefix: str, error: Exception) -> BnguardError:
    return BnguardError(
        f"{prefix}: the checkpoint cannot be read ({first_line(error)}); expected an intact "
        ".index file and all its .data shards. Restore the files from a copy, or give "
        "another checkpoint."
    )


def _is_keras(path: str) -> bool:
    """Return whether a path looks like a Keras file; a checkpoint may have such a name, too."""
    return path.endswith((".h5", ".hdf5", ".keras")) and not _is_file(path + ".index")


def _exists(prefix: str) -> bool:
    """Return whether a checkpoint exists, in TensorFlow 1.0's format or the single file before."""
    return _is_file(prefix + ".index") or _is_file(prefix)


def _is_file(path: str) -> bool:
    try:
        return tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path)
    except tf.errors.OpError as error:
        raise BnguardError(
            f"{path}: cannot be looked for ({first_line(error)}); expected a path on this machine, "
            "or on a file system that this TensorFlow reads. Copy the checkpoint to this machine."
        ) from error
