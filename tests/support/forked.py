"""Run the `bnguard` command in processes of its own, without importing TensorFlow each time.

A fork server imports TensorFlow once, opens no session, and forks a process for each command. So a
test kills a real process that runs the command's own code.
"""

from contextlib import suppress
import ctypes
import multiprocessing
import os
import resource
import sys
import time

from support.paths import ROOT

_BOUND = 120  # seconds
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["bnguard.harness.cases.loading", "bnguard.harness.run.experiment", "bnguard.cli.cases"]
)


class Command:
    """A running command in `cwd`, with its stdout and stderr in two files of `folder`.

    Variables in `environment` are set before it begins, but after TensorFlow was imported.

    No file that it writes may grow larger than `largest_file` bytes. With `unprivileged` it must
    respect the permissions of files, even if root runs it. With a `function`, which a module
    defines, it is no command but calls that function with the arguments.
    """

    def __init__(
        self,
        folder,
        *args,
        cwd=ROOT,
        environment=(),
        largest_file=None,
        unprivileged=False,
        function=None,
    ):
        self._outputs = [os.path.join(str(folder), name) for name in ("stdout", "stderr")]
        arguments = (function or _bnguard, args, str(cwd), dict(environment), self._outputs)
        self._process = _context.Process(target=_run, args=(*arguments, largest_file, unprivileged))
        self._process.start()

    @property
    def pid(self):
        return self._process.pid

    @property
    def ended(self):
        return not self._process.is_alive()

    def wait(self):
        """Return exit status, stdout and stderr; a signal that killed it is a negative status."""
        self._process.join(_BOUND)
        assert self.ended
        return (self._process.exitcode, *map(_text, self._outputs))

    def send(self, signal):
        """Send it a signal unless it has ended, and wait."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal)
        return self.wait()

    def wait_for(self, seen):
        """Wait until `seen()` is true or the command has ended."""
        while not seen() and not self.ended:
            time.sleep(0.0005)


def run(folder, *args, **options):
    """Run a command; return its exit status, stdout and stderr."""
    return Command(folder, *args, **options).wait()


def _run(function, args, cwd, environment, outputs, largest_file, unprivileged):
    for descriptor, path in zip((1, 2), outputs):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    if largest_file is not None:
        sys.dont_write_bytecode = True  # Python would read a truncated file the next time
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if unprivileged:
        _drop_capabilities()
    os.environ.pop("COLUMNS", None)  # readline, which pytest imports, sets it for processes
    os.environ.update(environment)
    os.chdir(cwd)
    function(*args)


def _bnguard(*args):
    sys.argv = ["bnguard", *args]
    from bnguard.cli import commands

    commands.main()


def _drop_capabilities():
    """Give up every capability, by capset(2), for this thread and those that it starts."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0


def _text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()
