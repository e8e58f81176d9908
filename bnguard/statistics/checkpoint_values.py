"""Read running statistics from a checkpoint, which has no graph, by variable name."""

from __future__ import annotations

from collections import Counter
from glob import escape, glob
import os
from typing import Collection, Dict, Iterator, Optional, Tuple

import numpy as np

from bnguard import checkpoint_reader
from bnguard.analysis.checkpoints.stored_checkpoint import (
    OBJECT_GRAPH,
    read_checkpoint,
    stored_prefix,
)
from bnguard.analysis.errors import AuditError
from bnguard.analysis.frontend.file_kinds import pointer_at
from bnguard.analysis.frontend.loader import load
from bnguard.analysis.ir.protos import DecodeError, parse
from bnguard.analysis.recognition.recognized_graph import recognize
from bnguard.analysis.scenario.initial_values import LARGEST_SHARE, initial_shares
from bnguard.analysis.scenario.scenario import build_scenario
from bnguard.checkpoint_reader import Checkpoint
from bnguard.errors import BnguardError
from bnguard.statistics.names import UNKNOWN, role_of
from bnguard.statistics.scopes import Scope, within

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def read(
    path: str, scope: Optional[Scope] = None, also: Collection[str] = ()
) -> Dict[str, np.ndarray]:
    """Read the running statistics of a checkpoint, and no other variable.

    An object-based checkpoint of TF 2.x records the names of its variables. A variable without
    a name, or with the same name as another variable, gets its path through the objects instead.

    Args:
      path: a checkpoint's prefix, or a directory whose `checkpoint` file names one.
      scope: as for `within`.
      also: names of variables to treat as running statistics, whatever their names.

    Returns:
      Variable name to value, sorted by name.

    Raises:
      BnguardError: the checkpoint is missing or damaged, or no variable in this scope has the
        name of a running statistic.
    """
    _check_files(path)
    checkpoint = Checkpoint(path)
    keys = _keys(checkpoint)
    wanted = {name: name for name in keys if name in also or role_of(name, also) != UNKNOWN}
    chosen = within(scope, wanted, path)
    values = checkpoint.read({keys[name] for name in chosen})
    return {name: values[keys[name]] for name in chosen}


def coldness(path: str) -> Dict[str, str]:
    """Return, in words and by name, how cold each statistic of a checkpoint is that is cold.

    The number of updates is in the checkpoint, and the decay in the graph of the .meta file beside
    it. Without that, or if it cannot be read, nothing is known.
    """
    prefix = checkpoint_reader.resolve(path)
    if not os.path.isfile(f"{prefix}.meta"):
        return {}
    try:
        stored = read_checkpoint(prefix)
        scenarios = [
            build_scenario(recognize(loaded), stored=stored) for loaded in load(f"{prefix}.meta")
        ]
        shares = [found for scenario in scenarios for found in initial_shares(scenario)]
    except AuditError:
        return {}
    return {
        found.key: f"cold: {100 * found.share:.0f} % of its initial value is left after "
        f"{found.updates} updates with a decay of {found.decay:.6g}"
        for found in shares
        if found.share > LARGEST_SHARE
    }


def _check_files(path: str) -> None:
    """Check that the files of a checkpoint are not pointers of Git LFS or git-annex.

    Raises:
      BnguardError: one is.
    """
    prefix = checkpoint_reader.resolve(path) if os.path.isdir(path) else stored_prefix(path)
    for file in (f"{prefix}.index", *sorted(glob(f"{escape(prefix)}.data-*"))):
        pointer = pointer_at(file)
        if pointer is not None:
            raise BnguardError(
                f"{file}: {pointer.what}, not a file of a checkpoint; {pointer.advice}."
            )


def _keys(checkpoint: Checkpoint) -> Dict[str, str]:
    """Map each variable name to the key of its tensor in the checkpoint."""
    keys = checkpoint.names
    if OBJECT_GRAPH not in keys:
        return {key: key for key in keys}
    named = list(_named_objects(checkpoint))
    times = Counter(name for name, _ in named)
    return {name if name and times[name] == 1 else key[: -len(_VALUE)]: key for name, key in named}


def _named_objects(checkpoint: Checkpoint) -> Iterator[Tuple[str, str]]:
    """Yield the name and the key of each variable of an object-based checkpoint."""
    content = checkpoint.read([OBJECT_GRAPH])[OBJECT_GRAPH]
    try:
        if not isinstance(content, bytes):
            raise TypeError("it is not one text")
        graph = parse("TrackableObjectGraph", content)
    except (DecodeError, TypeError) as error:
        raise BnguardError(
            f"{checkpoint.prefix}: the checkpoint's object graph cannot be decoded; expected an "
            "object-based checkpoint of TensorFlow 2.x. Restore the files from a copy."
        ) from error
    keys = set(checkpoint.names)
    for node in graph.nodes:
        for attribute in node.attributes:
            if attribute.checkpoint_key in keys and attribute.checkpoint_key.endswith(_VALUE):
                yield attribute.full_name, attribute.checkpoint_key
