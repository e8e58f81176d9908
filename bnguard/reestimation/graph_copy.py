"""A copy of a graph, in which layers are measured: its own session and variables, nothing shared.

Tensors inside a `tf.cond` of control flow v1 cannot be fetched from a live graph, and a finalized
graph takes no more ops. In a copy made of the GraphDef both are possible, and whatever a run
changes, it changes there.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.analysis.ir.graph import Tensor
from bnguard.analysis.ir.op_types import VARIABLES, is_write
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.errors import BnguardError, first_line
from bnguard.graphs import import_graph
from bnguard.reestimation.exports import Exporter
from bnguard.reestimation.moments import BatchMoments
from bnguard.reestimation.sites import Site

_COLOCATION = "_class"
_CHEAP = 16  # values of a row for each channel, up to which their mean is refined
_LARGE = 16  # deviations, from which on the rounding of a mean to float32 matters
_WHERE = "the copy of the session's graph"
_INITIALIZERS = frozenset(
    [
        *("MakeIterator", "InitializeTable", "InitializeTableV2", "InitializeTableFromDataset"),
        *("InitializeTableFromTextFile", "InitializeTableFromTextFileV2"),
        *("LookupTableImport", "LookupTableImportV2"),
    ]
)


class GraphCopy:
    """The part of a graph that measures its layers, in a session of its own.

    Args:
      recognized: the analysis of the graph.
      graph_def: the graph, which is changed.
      sites: the layers to measure in each pass.
      updates: the ops to run in each step instead, by name.

    Attributes:
      variables: the names of its variables, which have no values yet.
      channels: the number of channels of each site, by its name; known after the first step.
    """

    def __init__(
        self,
        recognized: RecognizedGraph,
        graph_def: Any,
        sites: Sequence[Sequence[Site]],
        updates: Iterable[str] = (),
    ) -> None:
        exporter = Exporter(recognized.graph, graph_def)
        every_site = [site for in_pass in sites for site in in_pass]
        shapes = {
            site.x: exporter.shape_name(site.x)
            for site in every_site
            if site.is_exact and exporter.is_inside(site.x)
        }
        names = {
            tensor: exporter.name(tensor)
            for site in every_site
            for tensor in _tensors_of(site)
            if tensor not in shapes
        }
        updates = list(updates)
        found = {*names.values(), *shapes.values()}
        wanted = {name.rpartition(":")[0] for name in found}.union(updates)
        pruned, initializers = _prune(graph_def, wanted)
        self.graph = tf.Graph()
        self._summed: Set[str] = set()  # the sites whose moments are computed from x
        with self.graph.as_default():
            import_graph(pruned, _WHERE)
            by_name = self.graph.get_tensor_by_name
            self._shapes = {tensor: by_name(name) for tensor, name in shapes.items()}
            self._tensors = {tensor: by_name(name) for tensor, name in names.items()}
            self._fetches = [
                [tensor for site in in_pass for tensor in self._measure(site)] for in_pass in sites
            ]
            self._updates = [self.graph.get_operation_by_name(name) for name in updates]
            self._loads = self._load_ops()
        self._sites = sites
        self._initializers = [self.graph.get_operation_by_name(name) for name in initializers]
        self.variables = sorted(self._loads)
        self.channels: Dict[str, int] = {}
        self.session = tf.Session(graph=self.graph, config=_config())

    def close(self) -> None:
        """Free the session and its variables."""
        self.session.close()

    def load(self, values: Mapping[str, np.ndarray]) -> None:
        """Assign values to variables of the copy, by the names of their ops."""
        loads = [
            (*self._loads[name], value) for name, value in values.items() if name in self._loads
        ]
        if loads:
            self.session.run([op for op, _, _ in loads], {fed: value for _, fed, value in loads})

    def start(self) -> None:
        """Initialize the iterators and tables that the layers' inputs come from.

        Raises:
          BnguardError: one needs a value that is fed, or another initializer.
        """
        for op in self._initializers:
            try:
                self.session.run(op)
            except tf.errors.OpError as error:
                raise BnguardError(
                    f"{op.name}: the data of the graph cannot be read from the start "
                    f"({first_line(error)}); expected an iterator or table that is initialized "
                    "without feeds. Give the batches in feeds, as feed dicts."
                ) from error

    def can_feed(self, name: str) -> bool:
        """Return whether a tensor is in the copy; what is not does not matter to the layers."""
        try:
            self.graph.get_tensor_by_name(name)
        except (KeyError, ValueError):
            return False
        return True

    def measure(self, number: int, feed: Mapping[str, Any]) -> BatchMoments:
        """Return the moments of one batch for the sites of a pass."""
        sites = self._sites[number]
        found = self._run(self._fetches[number], feed)
        self.channels.update(zip([site.name for site in sites], map(np.size, found[1::4])))
        return _batch_moments(found, sites, [site.name in self._summed for site in sites])

    def update(self, feed: Mapping[str, Any]) -> None:
        """Run the update ops with one batch."""
        self._run(self._updates, feed)

    def read(self, names: Sequence[str]) -> Dict[str, np.ndarray]:
        """Return the values of variables of the copy."""
        with self.graph.as_default():
            fetches = {
                name: self._value_of(self.graph.get_operation_by_name(name)) for name in names
            }
        return dict(self.session.run(fetches))

    def _run(self, fetches: Any, feed: Mapping[str, Any]) -> Any:
        try:
            return self.session.run(fetches, feed)
        except tf.errors.OutOfRangeError:
            raise
        except tf.errors.OpError as error:
            raise BnguardError(
                f"a batch could not be measured ({first_line(error)}); expected feeds with which "
                "the layers run in training mode. Check the feeds, and `training`."
            ) from error
        except (TypeError, ValueError) as error:
            raise BnguardError(
                f"a batch could not be fed ({first_line(error)}); expected values of the shapes "
                "and types of the placeholders."
            ) from error

    def _measure(self, site: Site) -> Tuple[Any, ...]:
        """Build the count, mean and variance of a site, and the layer's own variance."""
        mean, own = (None if t is None else self._tensors[t] for t in (site.mean, site.variance))
        if site.weights is not None:
            return self._tensors[site.weights], mean, own, own
        if site.x in self._shapes:
            return tf.reduce_prod(self._shapes[site.x]), mean, own, own
        x = self._tensors[site.x]
        counted = tf.size(x, out_type=tf.int64)
        if site.is_exact:
            is_cheap = self._is_cheap(site, x)
            return counted, _refined(mean, own, x) if is_cheap else mean, own, own
        self._summed.add(site.name)
        axes = self._axes(site, x)
        values = tf.cast(x, tf.float64)
        exact_mean = tf.reduce_mean(values, axes, keepdims=True)
        variance = tf.reduce_mean(tf.squared_difference(values, exact_mean), axes)
        # A moment that is not a mean of x itself is not replaced.
        is_own = mean is not None and mean.op.type != "Mean"
        return counted, mean if is_own else exact_mean, variance, variance if own is None else own

    def _is_cheap(self, site: Site, x: tf.Tensor) -> bool:
        """Return whether rows of x have so few values that the rounding of their mean matters.

        A batch has few values for each channel then, so that much of the variance is between the
        means of batches. And it is cheap to compute the mean's rounding error.
        """
        shape = _static_shape(x)
        if shape is None or (site.axes is None and site.channels_first is None):
            return False
        axes = [axis % len(shape) for axis in self._axes(site, x)]
        values = 1.0
        for axis in filter(None, axes):
            values *= shape[axis] or np.inf
        is_last = len(shape) - 1 not in axes and len(axes) == len(shape) - 1
        return is_last and values <= _CHEAP and x.dtype.base_dtype == tf.float32

    def _axes(self, site: Site, x: tf.Tensor) -> List[int]:
        """Return the axes of x to reduce: all but those of the channels."""
        if site.axes is not None:
            return list(site.axes)
        shape = _static_shape(x)
        if shape is None:
            raise BnguardError(
                f"{site.name}: the rank of the layer's input is not known; expected an input with "
                "a static rank. Set the shape of the placeholder."
            )
        rank = len(shape)
        if site.channels_first is not None:
            channel = 1 if site.channels_first else rank - 1
            return [axis for axis in range(rank) if axis != channel]
        used = self._tensors[Tensor(site.layer.node, 0)].shape.as_list()
        kept = [rank - len(used) + axis for axis, size in enumerate(used) if size != 1]
        return [axis for axis in range(rank) if axis not in kept]

    def _load_ops(self) -> Dict[str, Tuple[tf.Operation, tf.Tensor]]:
        loads = {}
        for op in self.graph.get_operations():
            if op.type in VARIABLES:
                value = tf.placeholder(tf.as_dtype(op.get_attr("dtype")))
                loads[op.name] = self._assign(op, value), value
        return loads

    def _assign(self, variable: tf.Operation, value: tf.Tensor) -> tf.Operation:
        if variable.type == "VarHandleOp":
            return tf.raw_ops.AssignVariableOp(resource=variable.outputs[0], value=value)
        return tf.assign(variable.outputs[0], value, validate_shape=False).op

    def _value_of(self, variable: tf.Operation) -> tf.Tensor:
        if variable.type == "VarHandleOp":
            dtype = variable.get_attr("dtype")
            return tf.raw_ops.ReadVariableOp(resource=variable.outputs[0], dtype=dtype)
        return tf.identity(variable.outputs[0])


def _refined(mean: tf.Tensor, variance: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Return the mean of x, channels last, in float64, from its mean in float32.

    The error of a mean in float32 matters only where the mean is large beside the deviation: it
    would spoil the variance between batches there. Elsewhere the mean stays.
    """
    channels = x.shape.as_list()[-1]
    rounded = tf.reshape(mean, [1, channels])
    is_large = tf.reduce_any(tf.abs(rounded) > _LARGE * tf.sqrt(tf.reshape(variance, [-1])))
    rows = tf.reshape(x, [-1, channels])
    count = tf.shape(rows)[0] * tf.cast(is_large, tf.int32)  # a tf.cond would cost more
    total = tf.reduce_sum(rows[:count] - rounded, 0)
    error = tf.div_no_nan(tf.cast(total, tf.float64), tf.cast(count, tf.float64))
    return tf.cast(rounded, tf.float64) + error


def _static_shape(x: tf.Tensor) -> Optional[List[Optional[int]]]:
    """Return the sizes of the axes of a tensor, None where unknown; None if the rank is unknown."""
    return None if x.shape.ndims is None else list(x.shape.as_list())


def _tensors_of(site: Site) -> List[Tensor]:
    needs_shape = site.axes is None and site.channels_first is None
    return [*site.tensors, *([Tensor(site.layer.node, 0)] if needs_shape else [])]


def _batch_moments(
    found: Sequence[np.ndarray], sites: Sequence[Site], summed: Sequence[bool]
) -> BatchMoments:
    """Return the moments of one batch of some sites, of all channels one after another.

    Args:
      found: four arrays of each site: the count of all values or the weights for each channel,
        the mean, the variance, and the layer's own variance.
      sites: the sites.
      summed: whether their moments are computed from x.
    """
    sizes = list(map(np.size, found[1::4]))
    weight = np.concatenate(
        [
            np.full(size, count / size) if site.weights is None else np.ravel(count)
            for site, count, size in zip(sites, found[::4], sizes)
        ]
    )
    mean, variance, own = (
        np.concatenate(list(map(np.ravel, found[place::4]))).astype(np.float64)
        for place in (1, 2, 3)
    )
    if any(site.is_corrected for site in sites):
        bessel = np.maximum(weight, 1) / np.maximum(weight - 1, 1)
        is_corrected = np.repeat([site.is_corrected for site in sites], sizes)
        is_summed = np.repeat(summed, sizes)
        variance = np.where(is_corrected & ~is_summed, own / bessel, variance)
        own = np.where(is_corrected & is_summed, variance * bessel, own)
    epsilon = np.repeat([site.epsilon for site in sites], sizes)
    with np.errstate(invalid="ignore"):
        return BatchMoments(weight, mean, variance, own, np.sqrt(own + epsilon))


def _prune(graph_def: Any, wanted: Set[str]) -> Tuple[Any, List[str]]:
    """Return the part of a graph that some nodes need, and the initializers of its data."""
    by_name = {node.name: node for node in graph_def.node}
    writes = {node.name for node in graph_def.node if is_write(node.op)}
    starts = _initializers_by_handle(graph_def)
    kept: Set[str] = set()
    initializers: List[str] = []
    stack = sorted(wanted)
    while stack:
        name = stack.pop()
        if name in kept or name not in by_name:
            continue
        kept.add(name)
        stack += [_source(text) for text in by_name[name].input if not _waits_for(text, writes)]
        found = starts.get(name, [])
        initializers += found
        stack += found
    pruned = tf.GraphDef()
    pruned.versions.CopyFrom(graph_def.versions)
    pruned.library.CopyFrom(graph_def.library)
    for node in graph_def.node:
        if node.name in kept:
            _add_node(pruned, node, writes)
    return pruned, list(dict.fromkeys(initializers))


def _add_node(pruned: Any, node: Any, writes: Set[str]) -> None:
    """Add a node that waits for no write, is placed on this machine and colocated with nothing."""
    added = pruned.node.add()
    added.CopyFrom(node)
    del added.input[:]
    added.input.extend(text for text in node.input if not _waits_for(text, writes))
    added.device = _local(node.device)
    if _COLOCATION in added.attr:
        del added.attr[_COLOCATION]


def _initializers_by_handle(graph_def: Any) -> Dict[str, List[str]]:
    found: Dict[str, List[str]] = {}
    for node in graph_def.node:
        if node.op in _INITIALIZERS:
            handle = node.input[1 if node.op == "MakeIterator" else 0]
            found.setdefault(_source(handle), []).append(node.name)
    return found


def _source(text: str) -> str:
    return text.lstrip("^").partition(":")[0]


def _waits_for(text: str, writes: Set[str]) -> bool:
    return text.startswith("^") and text[1:] in writes


def _local(device: str) -> str:
    """Return a device without job, replica and task, which are not those of this process."""
    parts = [
        part for part in device.split("/") if part.lower().startswith(("device:", "cpu:", "gpu:"))
    ]
    return "".join(f"/{part}" for part in parts)


def _config() -> tf.ConfigProto:
    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    return config
