"""`bnguard reestimate`: from a checkpoint, its graph and data to one with new statistics."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
import hashlib
import os
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Union
import warnings

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard import checkpoint_reader
from bnguard.analysis import limits
from bnguard.analysis.recognition.savers import asked_names, checkpoint_name
from bnguard.errors import BnguardError, first_line
from bnguard.graphs import import_meta_graph
from bnguard.reestimation.arrays import ArrayFile
from bnguard.reestimation.batches import Report
from bnguard.reestimation.checkpoint_patch import Stored, check_output, write_patched
from bnguard.reestimation.estimation import assign_moments, measure_moments, reestimate
from bnguard.reestimation.measurement import fingerprint
from bnguard.reestimation.moments import Moments
from bnguard.reestimation.partial_files import (
    Partial,
    Share,
    check_identity,
    merge_partials,
    write_partial,
)
from bnguard.runtime.files import read_regular
from bnguard.statistics.difference import StatisticsDiff
from bnguard.statistics.graph_discovery import LiveStatistic, structure_of
from bnguard.statistics.partitioned_variables import variable_parts
from bnguard.statistics.running_statistics import RunningStatistics
from bnguard.statistics.snapshots import diff


@dataclass(frozen=True)
class Job:
    """What to estimate, and from what.

    Attributes:
      checkpoint: the prefix of the checkpoint, or its directory.
      meta: the graph; None for the .meta file beside the checkpoint.
      data: the .npz file with an array for each placeholder; None if the graph reads its own data.
      batch_size: rows of a batch.
      steps: the number of batches; None for all rows.
      feeds: values that are fed with every batch, by placeholder.
      scope: selects the statistics in it; None selects all.
      estimator: as for `bnguard.reestimate`.
      output: the prefix of the new checkpoint; None for that of the input with `-reestimated`.
      latest: whether the `checkpoint` file is to name the new checkpoint.
    """

    checkpoint: str
    meta: Optional[str] = None
    data: Optional[str] = None
    batch_size: int = 32
    steps: Optional[int] = None
    feeds: Mapping[str, Any] = ()  # type: ignore[assignment]
    scope: Optional[str] = None
    estimator: str = "population"
    output: Optional[str] = None
    latest: bool = False

    @property
    def prefix(self) -> str:
        """The prefix of the checkpoint."""
        return checkpoint_reader.resolve(self.checkpoint)

    @property
    def graph_file(self) -> str:
        """The path of the graph."""
        return self.meta or f"{self.prefix}.meta"

    @property
    def target(self) -> str:
        """The prefix of the new checkpoint."""
        return self.output or f"{self.prefix}-reestimated"


Progress = Union[Report, bool, None]


def rescue(job: Job, progress: Progress = None) -> StatisticsDiff:
    """Write a checkpoint with statistics that are estimated from data; return what changed.

    Raises:
      BnguardError: as for `bnguard.reestimate`, or a file cannot be read or written. There is no
        new checkpoint then.
    """
    check_output(job.prefix, job.target)
    batches = _Batches(job)
    with _restored(job) as session:
        batches.check(session.graph)
        difference = reestimate(
            session, batches.feeds(), scope=job.scope, estimator=job.estimator, progress=progress
        )
        return _write(job, session, difference)


def measure(job: Job, share: Share, progress: Progress = None) -> Moments:
    """Return the moments of one share of the data.

    Raises:
      BnguardError: as for `rescue`; or the estimator depends on the order of the batches.
    """
    if job.estimator == "last" or job.data is None:
        reason = "--estimator last depends on the order of all batches"
        if job.data is None:
            reason = "the graph would read the same data for each share"
        raise BnguardError(f"--shard: {reason}; expected --data, and another estimator.")
    batches = _Batches(job)
    first, end = share.span(batches.count)
    if first == end:
        raise BnguardError(
            f"--shard {share}: there are only {batches.count} batches; expected at most as many "
            "shares. Give fewer shares, or a smaller --batch-size."
        )
    with _restored(job) as session:
        batches.check(session.graph)
        moments = measure_moments(
            session, batches.feeds(first, end), scope=job.scope, progress=progress
        )
        moments.identity.update(_identity(job, session.graph))
        moments.identity.update(batches.identity)
        return moments


def assign(job: Job, moments: Moments) -> StatisticsDiff:
    """Write a checkpoint with statistics that are estimated from the moments of all the data.

    Raises:
      BnguardError: the moments are of another job; or as for `rescue`.
    """
    check_output(job.prefix, job.target)
    with _restored(job) as session:
        check_identity("moments", moments.identity, _identity(job, session.graph))
        difference = assign_moments(session, moments, scope=job.scope, estimator=job.estimator)
        return _write(job, session, difference)


def measure_share(job: Job, share: Share, path: str, progress: Progress = None) -> Partial:
    """Measure one share of the data, and write the moments to a file.

    Raises:
      BnguardError: as for `measure`, or the file cannot be written.
    """
    partial = Partial(share, measure(job, share, progress))
    write_partial(path, partial)
    return partial


def merge_shares(job: Job, paths: Sequence[str]) -> StatisticsDiff:
    """Write a checkpoint with statistics that are estimated from the files of all shares.

    Raises:
      BnguardError: a share is missing, there twice or of another job; or as for `rescue`.
    """
    return assign(job, merge_partials(paths, _job_identity(job)))


def _identity(job: Job, graph: tf.Graph) -> Dict[str, str]:
    """Return what all shares of a job have in common, besides the data."""
    return {**_job_identity(job), "graph": fingerprint(graph)}


def _job_identity(job: Job) -> Dict[str, str]:
    """Return what all shares of a job have in common, besides the graph and the data."""
    with checkpoint_reader.damage_reported(job.prefix):
        index = read_regular(f"{job.prefix}.index", limits.INDEX_BYTES)
    checkpoint = hashlib.sha256(index).hexdigest()[:16]  # it has a checksum of each tensor
    return {"checkpoint": checkpoint, "estimator": job.estimator, "scope": job.scope or ""}


class _Batches:
    """The batches of a job, in order."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._file = None if job.data is None else ArrayFile(job.data)
        if self._file is None and job.steps is None:
            raise BnguardError(
                "--data: there is no data; expected an .npz file with an array for each "
                "placeholder, or --steps for a graph that reads its own data."
            )
        rows = 0 if self._file is None else self._file.rows
        self.count = -(-rows // job.batch_size) if self._file is not None else job.steps or 0
        if job.steps is not None:
            self.count = min(self.count, job.steps)
        self.identity = {
            "data": f"{rows} rows of {', '.join(self._file.names) if self._file else 'the graph'}",
            "batch size": f"{job.batch_size} in {self.count} batches",
            "feeds": repr(sorted(dict(job.feeds).items())),
        }

    def check(self, graph: tf.Graph) -> None:
        """Check that the graph has the tensors that are fed."""
        names = [*(self._file.names if self._file else ()), *dict(self._job.feeds)]
        for name in names:
            try:
                graph.get_tensor_by_name(_tensor_name(name))
            except (KeyError, ValueError) as error:
                placeholders = [
                    op.name for op in graph.get_operations() if op.type.startswith("Placeholder")
                ]
                raise BnguardError(
                    f"{self._job.data or '--feed'}: {name!r} is no tensor of the graph; expected "
                    f"the names of its placeholders: {', '.join(placeholders) or 'it has none'}."
                ) from error

    def feeds(self, first: int = 0, end: Optional[int] = None) -> Any:
        """Return the feed dicts; they can be iterated over several times."""
        fixed = {_tensor_name(name): value for name, value in dict(self._job.feeds).items()}
        if self._file is None:
            return (
                _Repeated(lambda: iter([fixed] * self.count), self.count) if fixed else self.count
            )
        file, size = self._file, self._job.batch_size
        last = self.count if end is None else end

        def read() -> Iterator[Dict[str, Any]]:
            for batch in file.batches(size, first, last):
                yield {**{_tensor_name(name): rows for name, rows in batch.items()}, **fixed}

        return _Repeated(read, last - first)


class _Repeated:
    """An iterable with a length that starts anew each time."""

    def __init__(self, start: Callable[[], Iterator[Dict[str, Any]]], count: int) -> None:
        self._start = start
        self._count = count

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        return self._start()

    def __len__(self) -> int:
        return self._count


def _tensor_name(name: str) -> str:
    return name if ":" in name else f"{name}:0"


@contextmanager
def _restored(job: Job) -> Iterator[tf.Session]:
    """Yield a session of the job's graph, with the variables of its checkpoint."""
    prefix, meta = job.prefix, job.graph_file
    if not os.path.isfile(meta):
        raise BnguardError(
            f"{meta}: no graph; expected the .meta file that Saver.save wrote beside the "
            "checkpoint. Give it with --meta, or write it with tf.train.export_meta_graph in the "
            "program that trains."
        )
    config = tf.ConfigProto(allow_soft_placement=True)
    with tf.Graph().as_default() as graph:
        import_meta_graph(meta, clear_devices=True)
        variables = _stored_variables(graph, prefix)
        saver = tf.train.Saver(variables)
        missing = tf.report_uninitialized_variables([*tf.global_variables(), *tf.local_variables()])
        copying = _copies_to_replicas(graph)
        with tf.Session(graph=graph, config=config) as session:
            stored = checkpoint_reader.Checkpoint(prefix)
            stored.check_restorable(stored.names)  # TensorFlow reads all of the copy
            try:
                saver.restore(session, prefix)
            except (tf.errors.OpError, ValueError) as error:
                raise BnguardError(
                    f"{prefix}: does not fit the graph {meta} ({first_line(error)}); expected the "
                    "graph of this checkpoint. Give it with --meta."
                ) from error
            names = {name.decode() for name in session.run(missing)}
            _warn_of_initial_weights(prefix, names)
            _initialize(session, names)
            session.run(copying)
            yield session


def _copies_to_replicas(graph: tf.Graph) -> List[tf.Operation]:
    """Build the ops that give the variables of other replicas the values of the first's.

    A checkpoint has one value for all replicas, and an imported graph lists only the variables of
    the first one.
    """
    parts = variable_parts(graph)
    stored = {part.full_name: part for part in parts.values() if not part.is_copy}
    ops = []
    for part in parts.values():
        if part.is_copy and stored[part.full_name].read is not None:
            handle = graph.get_operation_by_name(part.name).outputs[0]
            value = graph.get_tensor_by_name(stored[part.full_name].read)
            ops.append(tf.raw_ops.AssignVariableOp(resource=handle, value=value))
    return ops


def _stored_variables(graph: tf.Graph, prefix: str) -> Dict[str, Any]:
    """Return the variables of a graph that are in a checkpoint, by their names there."""
    keys = set(checkpoint_reader.names(prefix))
    names = _checkpoint_names(graph)
    found: Dict[str, Any] = {}
    for variable in [*tf.global_variables(), *tf.local_variables()]:
        key = names.get(variable.op.name, "")
        if key in keys:
            slices = variable.to_proto().save_slice_info_def.full_name
            if slices:
                found.setdefault(key, []).append(variable)
            else:
                found[key] = variable
    if not found:
        raise BnguardError(
            f"{prefix}: has none of the variables of the graph; expected the graph of this "
            "checkpoint. Give it with --meta."
        )
    return found


def _checkpoint_names(graph: tf.Graph) -> Dict[str, str]:
    """Return the name in a checkpoint of each variable, as the graph's own Saver has it."""
    recognized = structure_of(graph).recognized
    asked = asked_names(recognized)
    found = {}
    for variable in [*tf.global_variables(), *tf.local_variables()]:
        node = recognized.tensor(variable.op.name).node
        found[variable.op.name] = asked.get(node, checkpoint_name(recognized, node))
    return found


def _warn_of_initial_weights(prefix: str, missing: Set[str]) -> None:
    weights = sorted(missing.intersection(weight.op.name for weight in tf.trainable_variables()))
    if weights:
        more = f" and {len(weights) - 1} more weights" if len(weights) > 1 else ""
        warnings.warn(
            f"{prefix}: has no {weights[0]}{more}; the graph is measured with initial values there",
            RuntimeWarning,
            stacklevel=3,
        )


def _initialize(session: tf.Session, names: Set[str]) -> None:
    """Run the initializers of variables that the checkpoint lacks, as far as they need no feed."""
    for variable in [*tf.global_variables(), *tf.local_variables()]:
        if variable.op.name in names:
            try:
                session.run(variable.initializer)
            except tf.errors.OpError:
                continue


def _write(job: Job, session: tf.Session, difference: StatisticsDiff) -> StatisticsDiff:
    """Write the new checkpoint; return the difference as `bnguard diff` has it."""
    graph = session.graph
    statistics = structure_of(graph).statistics
    names = _checkpoint_names(graph)
    parts = [
        part
        for change in difference.changed
        for part in statistics[change.name].parts
        if not part.is_copy
    ]
    values = session.run([part.read for part in parts]) if parts else []
    stored: List[Stored] = []
    for part, value in zip(parts, values):
        starts = tuple(along.start for along in part.slices) if part.slices else None
        stored.append(Stored(names[part.name], np.asarray(value), starts))
    meta = job.graph_file
    write_patched(job.prefix, job.target, stored, meta)
    if job.latest:
        _name_latest(job.target)
    before, after = (
        RunningStatistics(path, checkpoint_reader.read(path, _in(path, names, statistics)))
        for path in (job.prefix, job.target)
    )
    return diff(before, after, scope=job.scope)


def _in(prefix: str, names: Mapping[str, str], statistics: Mapping[str, LiveStatistic]) -> Set[str]:
    """Return the names of the graph's statistics in a checkpoint, as far as it has them."""
    wanted = {
        names[part.name]
        for found in statistics.values()
        for part in found.parts
        if not part.is_copy
    }
    return wanted.intersection(checkpoint_reader.names(prefix))


def _name_latest(prefix: str) -> None:
    folder = os.path.dirname(prefix) or "."
    earlier = checkpoint_reader.state_paths(folder)[1:]  # behind the latest, which is among them
    tf.train.update_checkpoint_state(folder, prefix, [*earlier, prefix])
