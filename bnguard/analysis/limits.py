"""Every limit of the analysis: its unit, its reason, and what follows when it is reached.

A limit is an integer. Code that stops at one calls `reach`; `collect` gathers the limits that
were reached, for the report. Two groups are not reported: beyond the limits under "Files" there is
no report but an error, and beyond those under "Values" a value is unknown, as most in a graph are.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Dict, Iterator, Optional

from bnguard.analysis.errors import AuditError


class Limit(int):
    """A limit of the analysis.

    Attributes:
      unit: what is counted.
      reason: why there is a limit at all.
      consequence: what the analysis does when it is reached.
    """

    unit: str
    reason: str
    consequence: str

    def __new__(cls, value: int, unit: str, reason: str, consequence: str) -> Limit:
        """Make the limit from its value and its three texts."""
        limit = super().__new__(cls, value)
        limit.unit, limit.reason, limit.consequence = unit, reason, consequence
        return limit

    def __getnewargs__(self) -> Any:
        return int(self), self.unit, self.reason, self.consequence

    @property
    def text(self) -> str:
        """The limit and what follows when it is reached, in one line."""
        return f"{int(self)} {self.unit}: {self.consequence}"

    def reach(self) -> None:
        """Record that the limit was reached."""
        reached = _reached.get()
        if reached is not None:
            reached[self.text] = self


_reached: ContextVar[Optional[Dict[str, Limit]]] = ContextVar("reached", default=None)


@contextmanager
def collect() -> Iterator[Dict[str, Limit]]:
    """Gather the limits that are reached in the block, by their texts, in order."""
    reached: Dict[str, Limit] = {}
    token = _reached.set(reached)
    try:
        yield reached
    finally:
        _reached.reset(token)


class _Work:
    """The work that is left for a graph."""

    def __init__(self, units: int) -> None:
        self.left = units


_work: ContextVar[Optional[_Work]] = ContextVar("work", default=None)


@contextmanager
def work(file_bytes: int, edges_per_node: float) -> Iterator[_Work]:
    """Limit the work of the block by what the file of a graph may cost.

    Args:
      file_bytes: the size of the graph.
      edges_per_node: how many inputs a node has on average; few in a graph of a network.
    """
    share = max(1.0, file_bytes / _WORK_BYTES) / max(1.0, edges_per_node / _USUAL_EDGES)
    left = _Work(int(WORK * share))
    token = _work.set(left)
    try:
        yield left
    finally:
        _work.reset(token)


def seconds(file_bytes: int) -> float:
    """Return the CPU time that a command may use for a file of this size."""
    return int(SECONDS) * max(1.0, file_bytes / _WORK_BYTES)


def out_of_time(file_bytes: int) -> AuditError:
    """Return the error about a file that takes more CPU time than that."""
    return AuditError(
        f"the audit takes more than {seconds(file_bytes):.3g} s of CPU time, the limit for a file "
        f"of this size: {SECONDS.reason}"
    )


def spend(nodes: int) -> None:
    """Count work on so many nodes.

    Raises:
      AuditError: the work of the block is spent.
    """
    left = _work.get()
    if left is not None:
        left.left -= nodes
        if left.left < 0:
            raise AuditError(
                f"the audit of this graph takes more than {int(WORK)} {WORK.unit}, the limit: "
                f"{WORK.reason}"
            )


_REFUSED = "the file is refused"
_USUAL_EDGES = 8
_WORK_BYTES = 5000000

# Files

FILE_BYTES = Limit(2**31 - 1, "bytes of a file", "protobuf allows no larger message", _REFUSED)
TEXT_BYTES = Limit(
    1 << 27, "bytes of a text graph", "parsing one takes up to two seconds for each MiB", _REFUSED
)
FUNCTION_DEPTH = Limit(100, "nested function calls", "lowering is recursive", _REFUSED)
LOWERED_NODES = Limit(
    250000, "nodes that functions add", "a few nested calls can expand to millions", _REFUSED
)
INDEX_BYTES = Limit(
    1 << 26,
    "bytes of a checkpoint's index",
    "a million tensors take about as many, and it is read whole",
    "the checkpoint is refused",
)
CHECKPOINT_ENTRIES = Limit(
    1 << 17,
    "entries of a checkpoint",
    "no known model has more variables, and each is checked, which takes some microseconds",
    "the checkpoint is refused",
)
CHECKPOINT_KEY_BYTES = Limit(
    1 << 27,
    "bytes of all keys of a checkpoint",
    "shared prefixes let an index of some megabytes expand to gigabytes",
    "the checkpoint is refused",
)
LOWERED_EDGES = Limit(
    1000000,
    "inputs of nodes that functions add",
    "a loop of many variables with many effects has as many as their product",
    _REFUSED,
)
LOWERED_NAME_BYTES = Limit(
    1 << 27,
    "bytes of the names of nodes that functions add",
    "each starts with the name of its call",
    _REFUSED,
)
NAME_BYTES = Limit(
    1 << 12,
    "bytes of the name of a node",
    "each message and path contains several names",
    _REFUSED,
)
WORK = Limit(
    30000000,
    "visits to nodes, for each 5 MB of its file",
    "a small file can ask for more work than a large network",
    _REFUSED,
)
SECONDS = Limit(
    4,
    "seconds of CPU time of a command, for each 5 MB of its file",
    "what takes longer is made to, and would hold up all others",
    _REFUSED,
)
CHECKPOINT_KEY_RATIO = Limit(
    64,
    "times the size of a block of a checkpoint index, for all keys in it",
    "shared prefixes let a small block expand without bound",
    "the checkpoint is refused",
)
OBJECT_GRAPH_BYTES = Limit(
    1 << 26,
    "bytes of a checkpoint's object graph",
    "it is read whole, and its checksum takes about 0.05 s for each MiB",
    "the checkpoint is refused",
)
VALUE_BYTES = Limit(
    1 << 30,
    "bytes of the values that are read from a checkpoint at once",
    "they are held in memory; running statistics are small",
    "the checkpoint is refused",
)
FIRST_FORMAT_BYTES = Limit(
    1 << 30,
    "bytes of a checkpoint in the format before TensorFlow 1.0",
    "it is one file with everything in it, read whole",
    "the checkpoint is refused",
)
STATE_BYTES = Limit(
    1 << 20,
    "bytes of a directory's `checkpoint` file",
    "it names a few checkpoints",
    "the file is refused",
)

# Ops

ENGINES = Limit(
    0,
    "engines of TensorRT are analysed",
    "they are compiled code",
    "layers inside them are not seen",
)

# Values

CONSTANT_BYTES = Limit(
    1 << 20,
    "bytes of a constant's node",
    "large constants decide no branch",
    "its value is unknown",
)
CONSTANT_ELEMENTS = Limit(
    16, "different elements of a constant", "they are the axes of a tensor", "its value is unknown"
)
STORED_BYTES = Limit(
    1 << 15,
    "bytes of a checkpoint's tensor",
    "flags, counters and statistics are small, and the checksum is computed in Python",
    "its value is unknown",
)
FED_ELEMENTS = Limit(
    64, "elements of a fed array", "large arrays decide no branch", "its value is unknown"
)

# Predicates

PREDICATE_TERMS = Limit(
    24,
    "branch outcomes or alternatives in a predicate",
    "predicates can grow exponentially",
    "the predicate is undecided",
)
SWITCH_OUTPUTS = Limit(
    1024,
    "outputs of a _SwitchN",
    "the count is read from the file",
    "whether further outputs are dead is undecided",
)

# Walks

PROVENANCE_TENSORS = Limit(
    4096,
    "tensors between a value and its origins",
    "no chain of branches and casts between a variable and its use is as long",
    "the origins are incomplete, so nothing is concluded from all of them",
)
MOMENT_NODES = Limit(
    48,
    "nodes of a moment or a normalization",
    "each is written with fewer",
    "the search for the rest of the layer ends",
)
AVERAGE_TENSORS = Limit(
    512,
    "tensors between an assigned value and the batch moments in it",
    "a moving average is written with fewer",
    "the search for further moments ends",
)
AVERAGE_DEPTH = Limit(
    32,
    "nested operations in an update of a moving average",
    "a moving average is written with fewer",
    "how much of its initial value it contains is not computed",
)
REPLICA_TENSORS = Limit(
    1024,
    "tensors between a saved value and the variables that it sums",
    "models have fewer replicas",
    "nothing is concluded about variables that were not found",
)
TOWER_SOURCES = Limit(
    64,
    "data sources used to distinguish towers",
    "each is a bit for every node",
    "towers fed by further sources are not compared",
)
PATH_OPS = Limit(
    1000000,
    "ops in the paths of a step to all its statistics",
    "each finding has a path of its own",
    "longer paths are cut to their last ops",
)

# Steps

STEPS = Limit(
    8,
    "inference steps or training steps inferred from the graph",
    "each is analysed",
    "further steps are ignored",
)
SIGNATURES = Limit(
    32, "signatures of a SavedModel", "each is analysed", "further signatures are ignored"
)
FLAG_CANDIDATES = Limit(
    16,
    "placeholders considered as training flags",
    "each takes an analysis of the graph",
    "further placeholders are not considered",
)
FLAG_MERGES = Limit(
    8,
    "Merges whose inputs vote on a training flag",
    "each takes an analysis of the graph",
    "further Merges do not vote",
)
WEIGHT_NODES = Limit(
    64,
    "nodes between a layer and the weights before it",
    "a layer follows its convolution or product directly",
    "the weights are not found",
)
ACTIVATIONS = Limit(
    16,
    "activations that may be the output of a network with another behind it",
    "a generator has one; for each the graph is walked three times",
    "further activations are not considered as outputs of trained networks",
)
FLAG_NODES = Limit(
    64,
    "nodes between a Switch and the placeholder that decides it",
    "a selector is computed with fewer",
    "the placeholder is not considered",
)
EFFECT_TENSORS = Limit(
    4096,
    "tensors that the amount of an update is made of",
    "layers make it of a few",
    "whether the update changes its variable is undecided",
)
FOREIGN_PLACEHOLDERS = Limit(
    8,
    "placeholders of other networks in one training step",
    "they have one cause",
    "further placeholders are not reported",
)
