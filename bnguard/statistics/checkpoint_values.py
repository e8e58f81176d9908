"""The running statistics of a checkpoint: by name only, for a checkpoint has no graph."""

from __future__ import annotations

from collections import Counter
from typing import Any, Collection, Dict, Iterator, Tuple

import numpy as np

from bnguard import checkpoint_reader
from bnguard.analysis.ir.protos import DecodeError, message
from bnguard.errors import BnguardError
from bnguard.statistics.names import UNKNOWN, role_of
from bnguard.statistics.scopes import within

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def read(path: str, scope: Any = None, also: Collection[str] = ()) -> Dict[str, np.ndarray]:
    """Running statistics of a checkpoint by variable name; no other variable is read.

    An object-based checkpoint of TF 2.x tells the names that its variables had. Where it tells
    none, or the same one twice, the path through the objects stands for it.

    Args:
      path: a checkpoint's prefix, or a directory whose `checkpoint` file names one.
      scope: as for `within`.
      also: variables that are running statistics whatever their names say.

    Raises:
      BnguardError: there is no such checkpoint, it is damaged, or nothing in it is named like
        a running statistic of this scope.
    """
    keys = _keys(path)
    wanted = {name: name for name in keys if name in also or role_of(name, also) != UNKNOWN}
    chosen = within(scope, wanted, path)
    values = checkpoint_reader.read(path, {keys[name] for name in chosen})
    return {name: values[keys[name]] for name in chosen}


def _keys(path: str) -> Dict[str, str]:
    """Variable name to the checkpoint's name of its tensor."""
    keys = checkpoint_reader.names(path)
    if _OBJECT_GRAPH not in keys:
        return {key: key for key in keys}
    named = list(_named_objects(path, set(keys)))
    times = Counter(name for name, _ in named)
    return {name if name and times[name] == 1 else key[: -len(_VALUE)]: key for name, key in named}


def _named_objects(path: str, keys: Collection[str]) -> Iterator[Tuple[str, str]]:
    """The name that each variable of an object-based checkpoint had, and its key."""
    content = checkpoint_reader.read(path, {_OBJECT_GRAPH})[_OBJECT_GRAPH]
    try:
        graph = message("TrackableObjectGraph").FromString(content)
    except DecodeError as error:
        raise BnguardError(
            f"{path}: the checkpoint's object graph cannot be decoded ({error}); expected an "
            "object-based checkpoint of TensorFlow 2.x. Restore the files from a copy."
        ) from error
    for node in graph.nodes:
        for attribute in node.attributes:
            if attribute.checkpoint_key in keys and attribute.checkpoint_key.endswith(_VALUE):
                yield attribute.full_name, attribute.checkpoint_key
