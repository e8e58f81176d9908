"""Find checkpoints on disk, read them, and verify them against a graph.

Values are read here, not by TensorFlow, whose reader believes what an index says; see
bnguard/analysis/checkpoints/entries.py. So a checkpoint on this machine needs no TensorFlow.
"""

from __future__ import annotations

from contextlib import contextmanager
import os
import re
from typing import (
    Any,
    BinaryIO,
    Callable,
    Collection,
    Dict,
    Iterator,
    List,
    Optional,
    Sequence,
    Union,
)

import numpy as np

from bnguard.analysis import limits
from bnguard.analysis.checkpoints.bundle import Bundle
from bnguard.analysis.checkpoints.first_format import FirstFormat
from bnguard.analysis.frontend.loader import graph_file
from bnguard.analysis.ir.protos import DecodeError, message
from bnguard.checkpoint_arrays import bundle_arrays, check_shards, first_format_arrays
from bnguard.errors import BnguardError, first_line
from bnguard.runtime.files import TooLargeError, open_regular, read_regular
from bnguard.runtime.streams import printable
from bnguard.runtime.tensorflow_import import import_tensorflow

_DAMAGE = (DecodeError, LookupError, MemoryError, OverflowError, ValueError)
_EXPECTED = "expected the prefix of a checkpoint, as Saver.save returns it, or its directory"
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # a file system that TensorFlow reads
_SHOWN = 8  # names in a message


class Checkpoint:
    """A checkpoint on disk; its index is read and checked, and tensors are read on demand.

    Args:
      path: a checkpoint prefix, one of its files, or a directory whose `checkpoint` file
        names one.

    Attributes:
      prefix: its prefix.
      names: the names of its tensors, sorted; in a TF 1.x checkpoint, the variables' names.

    Raises:
      BnguardError: there is no checkpoint, or its index is damaged or says what cannot be.
    """

    def __init__(self, path: str) -> None:
        self.prefix = resolve(path)
        with damage_reported(self.prefix):
            self._stored = _stored(self.prefix)
        self.names: Sequence[str] = sorted(self._stored.tensors)

    def read(self, names: Optional[Collection[str]] = None) -> Dict[str, Any]:
        """Return tensors by name; see `read`."""
        wanted = self._chosen(names)
        with damage_reported(self.prefix):
            if isinstance(self._stored, Bundle):
                return bundle_arrays(self._stored, wanted)
            return first_format_arrays(self._stored, wanted)

    def check_restorable(self, names: Collection[str]) -> None:
        """Check what TensorFlow believes when it restores tensors; it checks the other checksums.

        Args:
          names: the tensors; names that the checkpoint lacks are left out.

        Raises:
          BnguardError: a tensor is not in its data file, or a text is damaged.
        """
        wanted = self._chosen(names)
        with damage_reported(self.prefix):
            if isinstance(self._stored, Bundle):
                check_shards(self._stored, wanted)
            else:
                first_format_arrays(self._stored, wanted)

    def _chosen(self, names: Optional[Collection[str]]) -> List[str]:
        return [name for name in self.names if names is None or name in names]


def read(path: str, names: Optional[Collection[str]] = None) -> Dict[str, Any]:
    """Return the tensors of a checkpoint by name.

    Args:
      path: as for `Checkpoint`.
      names: the tensors to read; names that the checkpoint lacks are left out. None: all.

    Returns:
      Arrays by name, sorted; a single text is `bytes`, and an array of texts has objects.

    Raises:
      BnguardError: as for `Checkpoint`; or a tensor is damaged, or the values are too large.
        Reading a tensor verifies its checksum.
    """
    return Checkpoint(path).read(names)


def names(path: str) -> Sequence[str]:
    """Return the names of a checkpoint's tensors, sorted.

    Raises:
      BnguardError: as for `Checkpoint`.
    """
    return Checkpoint(path).names


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
            f"{path}: the checkpoint has no {_listed(missing)}; it has "
            f"{_listed(sorted(stored)) or 'nothing'}. Give a checkpoint of this model."
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
    if graph_file(folder) != folder:
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
    paths = state_paths(folder)
    return paths[0] if paths else ""


def state_paths(folder: str) -> List[str]:
    """Return the prefixes in a directory's `checkpoint` file: the latest, and then all it lists.

    Paths are relative to the directory, or absolute. There are none if the file is missing or not
    of this kind.

    Raises:
      BnguardError: the file is no regular file, or cannot be read.
    """
    from google.protobuf import text_format

    path = os.path.join(folder, "checkpoint")
    try:
        text = read_regular(path, limits.STATE_BYTES).decode("utf-8")
        state = text_format.Parse(text, message("CheckpointState")(), allow_unknown_field=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BnguardError(
            f"{path}: cannot be read ({error.strerror}); expected the text file that Saver.save "
            "writes. Give the prefix itself: the path without .index."
        ) from error
    except (text_format.ParseError, UnicodeDecodeError, RecursionError):
        return []
    latest = state.model_checkpoint_path
    paths = [latest, *state.all_model_checkpoint_paths] if latest else []
    return [os.path.join(folder, each) for each in paths]


def _inside(path: str, folder: str) -> bool:
    home = os.path.realpath(folder)
    return os.path.commonpath([home, os.path.realpath(os.path.dirname(path))]) == home


def _stored(prefix: str) -> Union[Bundle, FirstFormat]:
    """Return what a checkpoint contains, in TensorFlow 1.0's format or the one before."""
    index = f"{prefix}.index"
    if _is_file(index):
        return Bundle(prefix, _contents(index, limits.INDEX_BYTES), _opener(prefix))
    return FirstFormat(_contents(prefix, limits.FIRST_FORMAT_BYTES))


def _opener(path: str) -> Callable[[str], BinaryIO]:
    return _open_remote if _REMOTE.match(path) else open_regular


def _open_remote(path: str) -> Any:
    import tensorflow.compat.v1 as tf

    return tf.io.gfile.GFile(path, "rb")


def _contents(path: str, most: int) -> bytes:
    if not _REMOTE.match(path):
        return read_regular(path, most)
    with _open_remote(path) as file:
        if file.size() > most:
            raise TooLargeError(path, most)
        return bytes(file.read())


@contextmanager
def damage_reported(prefix: str) -> Iterator[None]:
    """Turn an error that reading the files of a checkpoint raises into a BnguardError."""
    try:
        yield
    except BnguardError:
        raise
    except OSError as error:
        file = f"{error.filename}: " if error.filename else ""
        raise _damaged(prefix, f"{file}{error.strerror or error}") from error
    except _DAMAGE as error:
        raise _damaged(prefix, first_line(error)) from error
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow."):
            raise  # an error of ours, and not of a remote file system
        raise _damaged(prefix, first_line(error)) from error


def _damaged(prefix: str, reason: str) -> BnguardError:
    return BnguardError(
        f"{prefix}: the checkpoint cannot be read ({printable(reason)}); expected an intact "
        ".index file and all its .data shards. Restore the files from a copy, or give "
        "another checkpoint."
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(printable, names[:_SHOWN])) + more


def _is_keras(path: str) -> bool:
    """Return whether a path looks like a Keras file; a checkpoint may have such a name, too."""
    return path.endswith((".h5", ".hdf5", ".keras")) and not _is_file(path + ".index")


def _exists(prefix: str) -> bool:
    """Return whether a checkpoint exists, in TensorFlow 1.0's format or the single file before."""
    return _is_file(prefix + ".index") or _is_file(prefix)


def _is_file(path: str) -> bool:
    """Return whether there is something that may be a file."""
    if not _REMOTE.match(path):
        return os.path.exists(path) and not os.path.isdir(path)
    import_tensorflow()
    import tensorflow.compat.v1 as tf

    try:
        return bool(tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path))
    except tf.errors.OpError as error:
        raise BnguardError(
            f"{path}: cannot be looked for ({first_line(error)}); expected a path on this machine, "
            "or on a file system that this TensorFlow reads. Copy the checkpoint to this machine."
        ) from error
