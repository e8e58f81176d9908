"""Audit all graph files that paths stand for: each graph once, several at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
import os
import traceback
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple, Union

from bnguard.analysis import limits
from bnguard.analysis.api import AuditOptions, audit_all
from bnguard.analysis.errors import AuditError, NotAGraphError, about
from bnguard.analysis.formatters.lines import count
from bnguard.analysis.frontend.loader import graph_file
from bnguard.analysis.report import Report
from bnguard.errors import first_line
from bnguard.repository.configuration import Configuration
from bnguard.repository.discovery import Found, find
from bnguard.repository.equal_graphs import equal_graphs
from bnguard.repository.errors import RepositoryError
from bnguard.runtime import signals
from bnguard.runtime.cpu_time import limit_cpu_time

_Outcome = Union[List[Report], NotAGraphError, str]
"""The reports on a file, or what else it is, or a line with the reason why there are none."""


@dataclass(frozen=True)
class RepositoryAudit:
    """The audit of all files that paths stand for.

    Attributes:
      reports: the reports, in the order of the files.
      skipped: what each file is that is no graph, without an article, such as `label map`.
      excluded: the number of graph files that the user excludes.
      errors: a line for each file or folder that could not be read.
      remarks: lines about what was searched, or was not, against expectation.
      is_search: whether any path is a directory to search.
      files: the number of graph files that the paths stand for.
    """

    reports: Tuple[Report, ...]
    skipped: Tuple[str, ...]
    excluded: int
    errors: Tuple[str, ...]
    remarks: Tuple[str, ...]
    is_search: bool
    files: int


@dataclass(frozen=True)
class _Task:
    """One graph to audit, the files that contain it, and the file that configures its options."""

    files: Tuple[str, ...]
    options: AuditOptions
    configured_by: str = ""


def audit_paths(
    paths: Sequence[str],
    given: AuditOptions,
    configuration: Configuration,
    jobs: int = 1,
    with_timeline: bool = False,
    only_graphs: bool = False,
) -> RepositoryAudit:
    """Audit the graph files that paths stand for.

    Args:
      paths: files, SavedModels, or directories to search.
      given: the options of the command line.
      configuration: the options of a configuration file.
      jobs: the number of files to audit at once.
      with_timeline: whether the reports have timelines.
      only_graphs: whether to skip files that are no graphs also if they are given.

    Raises:
      RepositoryError: a worker process was killed.
    """
    found = [find(path, configuration.excludes) for path in paths]
    first = _first_names(file for one in found for file in one.files)
    files = list(dict.fromkeys(first.values()))
    tasks = list(_tasks(files, given, configuration))
    outcomes = _outcomes(tasks, jobs, with_timeline)
    reports = [
        replace(report, configured_by=configuration.file)
        for outcome in map(outcomes.get, files)
        if isinstance(outcome, list)
        for report in outcome
    ]
    skipped: Dict[str, str] = {}
    errors: List[str] = []
    for one in found:
        names = dict.fromkeys(first[file] for file in one.files)
        _sort(one, {name: outcomes[name] for name in names}, only_graphs, skipped, errors)
    return RepositoryAudit(
        tuple(reports),
        tuple(skipped.values()),
        sum(one.excluded for one in found),
        tuple(dict.fromkeys(errors)),
        tuple(dict.fromkeys(remark for one in found for remark in one.remarks)),
        any(one.is_searched for one in found),
        len(files),
    )


def kinds(skipped: Sequence[str]) -> str:
    """Return how many files there are of each kind, in words."""
    counts = ", ".join(f"{kind} ({number})" for kind, number in Counter(skipped).items())
    return f"{count(len(skipped), 'file')} of other kinds: {counts}"


def _first_names(files: Iterable[str]) -> Dict[str, str]:
    """Return, for each name of a file, the first of that file, such as `a.pb` for `./a.pb`."""
    by_place: Dict[Tuple[str, str], str] = {}
    names: Dict[str, str] = {}
    for file in files:
        folder, name = os.path.split(file.rstrip(os.sep))
        names[file] = by_place.setdefault((os.path.realpath(folder), name), file)
    return names


def _sort(
    found: Found,
    outcomes: Mapping[str, _Outcome],
    only_graphs: bool,
    skipped: Dict[str, str],
    errors: List[str],
) -> None:
    """Sort what is no report on the files of a path: a search skips other files than graphs."""
    others = {
        file: outcome for file, outcome in outcomes.items() if isinstance(outcome, NotAGraphError)
    }
    kinds_of_others = {file: _without_article(other.what) for file, other in others.items()}
    errors += found.errors
    errors += [outcome for outcome in outcomes.values() if isinstance(outcome, str)]
    if not found.is_searched:
        if only_graphs:
            skipped.update(kinds_of_others)
        else:
            errors += map(str, others.values())
    elif len(others) < len(outcomes) or found.errors:
        skipped.update(kinds_of_others)
    else:
        errors.append(_nothing_in(found, list(kinds_of_others.values())))


def _without_article(kind: str) -> str:
    article, _, rest = kind.partition(" ")
    return rest if article in ("a", "an") else kind  # "metadata of Keras" has none


def _nothing_in(found: Found, others: Sequence[str]) -> str:
    """Return the line about a directory in which no graph was found."""
    but = [kinds(others)] if others else []
    if found.excluded:
        but.append(f"{count(found.excluded, 'file')} excluded")
    if found.excluded_folders:
        but.append(f"{count(found.excluded_folders, 'folder')} excluded")
    if found.ignored:
        but.append("what git ignores, which is audited only if you name it")
    if but:
        return f"{found.path}: no graph here, but {', and '.join(but)}"
    return (
        f"{found.path}: no graph here; expected saved_model.pb, or files that end with .meta, .pb "
        "or .pbtxt. Give a .meta file or a SavedModel"
    )


def _tasks(
    files: Sequence[str], given: AuditOptions, configuration: Configuration
) -> Iterator[_Task]:
    """Yield a task for each graph and set of options."""
    by_options: Dict[str, List[_Task]] = {}
    for file in files:
        options = configuration.options_for(file, given)
        by_options.setdefault(repr(options), []).append(_Task((file,), options))
    for tasks in by_options.values():
        for equal in equal_graphs([file for task in tasks for file in task.files]):
            yield _Task(equal, tasks[0].options, configuration.file)


def _outcomes(tasks: Sequence[_Task], jobs: int, with_timeline: bool) -> Dict[str, _Outcome]:
    """Return the outcome for each file; that of a copy is an empty list of reports."""
    audit = partial(_audit, with_timeline=with_timeline)
    outcomes: Dict[str, _Outcome] = {}
    for task, outcome in zip(tasks, _map(audit, tasks, jobs)):
        first, *copies = task.files
        if isinstance(outcome, list):
            copied: Tuple[str, ...] = tuple(copies)
            outcomes.update((copy, []) for copy in copies)
            outcomes[first] = [replace(report, copies=copied) for report in outcome]
        else:  # each file has an error of its own
            outcomes[first] = outcome
            outcomes.update((copy, audit(replace(task, files=(copy,)))) for copy in copies)
    return outcomes


def _map(
    audit: Callable[[_Task], _Outcome], tasks: Sequence[_Task], jobs: int
) -> Iterable[_Outcome]:
    if jobs == 1 or len(tasks) == 1:
        return map(audit, tasks)
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import Pipe

    ends = Pipe(duplex=False)
    workers = max(1, min(jobs, len(tasks)))
    try:
        with ProcessPoolExecutor(workers, None, signals.in_worker, ends) as pool:
            return list(pool.map(audit, tasks))
    except BrokenProcessPool as error:
        raise RepositoryError(
            f"--jobs {jobs}: a worker process was killed, perhaps for lack of memory; "
            "give a smaller number, or fewer files."
        ) from error


def _size(path: str) -> int:
    """Return the size of the file with a graph; of a pipe, the largest size, as it may come."""
    file = graph_file(path)
    return os.path.getsize(file) if os.path.isfile(file) else limits.FILE_BYTES


def _audit(task: _Task, with_timeline: bool) -> _Outcome:
    """Audit a graph. An error of any type becomes a line, so no report on another is lost."""
    path = task.files[0]
    size = _size(path)
    try:
        with about(path), limit_cpu_time(limits.seconds(size), limits.out_of_time(size)):
            return audit_all(path, task.options, with_timeline)
    except NotAGraphError as error:
        return error
    except AuditError as error:
        return f"{error}{_configuration_in(str(error), task)}"
    except MemoryError:
        return f"{path}: not enough memory to audit it; give no --jobs, or use a larger machine"
    except Exception as error:
        if os.environ.get("BNGUARD_TRACEBACK") == "1":
            traceback.print_exc()
        return (
            f"{path}: unexpected {type(error).__name__} ({first_line(error)}); this is a bug. "
            "BNGUARD_TRACEBACK=1 shows where; please report it with that"
        )


def _configuration_in(message: str, task: _Task) -> str:
    """Return which file configured a name that a message is about."""
    options = task.options
    names = [*options.fetches, *(options.feeds or ()), *options.train_op, options.checkpoint]
    is_named = any(name and str(name) in message for name in names)
    return f" (configured by {task.configured_by})" if task.configured_by and is_named else ""
