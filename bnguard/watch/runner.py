"""Run a program, watch it, and write the reports, however it ends."""

from __future__ import annotations

import atexit
from contextlib import suppress
import os
import sys
from typing import Callable, Dict, Iterator, List, Mapping, Optional

from bnguard.errors import BnguardError
from bnguard.runtime.event_files import check_folder
from bnguard.runtime.streams import descriptor_2, give_back, takes_color
from bnguard.watch.program import Program, run
from bnguard.watch.program_signals import INTERRUPTED, end_by_sigint, own_signals
from bnguard.watch.report import WatchReport
from bnguard.watch.watcher import Watcher

_RANKS = ("OMPI_COMM_WORLD_RANK", "HOROVOD_RANK", "PMI_RANK", "SLURM_PROCID")


_FORMS: Dict[str, Callable[[WatchReport], str]] = {
    "json": WatchReport.to_json,
    "sarif": WatchReport.to_sarif,
    "html": WatchReport.to_html,
}
FORMS = tuple(_FORMS)
"""The forms in which the report can be written to a file."""


def run_watched(
    program: Program, watcher: Watcher, files: Mapping[str, str], logdir: Optional[str] = None
) -> int:
    """Run a program and report on its steps on stderr; return the exit status.

    Args:
      program: the program.
      watcher: watches its sessions.
      files: the path of a file for each of FORMS in which to write the report, too. In it, `%p`
        stands for the rank of this process, or its id.
      logdir: the folder in which to write the steps for TensorBoard; `%p` as in `files`.

    The status is the program's own if that is not 0; otherwise 1 if errors were found, 2 if the
    report could not be written or something could not be judged, and 0.

    Raises:
      BnguardError: the program cannot be loaded, or the folder cannot be written.
    """
    process = os.getpid()
    statuses: List[int] = []
    # Registered first and so called last, after what the program registers.
    atexit.register(lambda: end_by_sigint() if INTERRUPTED in statuses else None)
    reported: List[WatchReport] = []
    problems: List[str] = []

    def report() -> None:
        if os.getpid() == process and not reported:  # a forked child ends with the same code
            reported.append(watcher.report(program.name, with_timeline="html" in files))
            problems.extend(_write(reported[0], files))
            problems.extend(_write_events(reported[0], logdir))
            for stream in (sys.stdout, sys.stderr):
                _flush(stream)
            try:
                with descriptor_2() as stderr:
                    text = reported[0].to_text(takes_color(stderr))
                    print("\n".join([f"bnguard: {program.name}", text, *problems]), file=stderr)
            except OSError:  # it is full or closed, or its reader has gone
                problems.append("the report is not on stderr")

    main = program.load()
    if logdir is not None:
        logdir = logdir.replace("%p", _rank())
        check_folder(logdir)
    give_back()
    with watcher.hooks.installed(), own_signals(at_sigterm=report):
        status = run(main)
    statuses.append(status)
    report()
    if not reported:  # this is a forked child
        return status
    is_whole = reported[0].is_complete and not problems
    return status or int(reported[0].has_errors) or (0 if is_whole else 2)


def _write(report: WatchReport, files: Mapping[str, str]) -> Iterator[str]:
    """Write the files; yield a line for each that cannot be written."""
    for form, pattern in files.items():
        path = pattern.replace("%p", _rank())
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(_FORMS[form](report) + "\n")
        except OSError as error:
            yield f"Error: --{form} {path}: cannot be written ({error.strerror})"


def _write_events(report: WatchReport, logdir: Optional[str]) -> Iterator[str]:
    """Write the steps for TensorBoard; yield a line if they cannot be written."""
    if logdir is not None and report.graphs:
        from bnguard.watch import tensorboard

        try:
            tensorboard.write(report, logdir)
        except BnguardError as error:
            yield f"Error: {error}"


def _rank() -> str:
    ranks = (os.environ.get(name) for name in _RANKS)
    return next(filter(None, ranks), str(os.getpid()))


def _flush(stream: object) -> None:
    # The program may have closed it, or SIGTERM may have come while it was written to.
    with suppress(AttributeError, OSError, RuntimeError, ValueError):
        stream.flush()  # type: ignore[attr-defined]
