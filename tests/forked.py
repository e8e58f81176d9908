"""The `bnguard` command in processes of its own that need not import TensorFlow first.

A server imports it once, has no session, and forks a process for each command: what a test kills
is a real process that runs the command's own code.
"""

import multiprocessing
import os
import resource
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_BOUND = 120  # seconds
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["bnguard.harness.case", "bnguard.harness.experiment", "bnguard.cli"])


class Command:
    """A command that runs; `stdout` and `stderr` are files in `folder`, and `code` its status."""

    def __init__(self, folder, *args, largest_file=None):
        self._outputs = [os.path.join(str(folder), name) for name in ("stdout", "stderr")]
        self._process = _context.Process(target=_run, args=(args, self._outputs, largest_file))
        self._process.start()

    @property
    def pid(self):
        return self._process.pid

    @property
    def ended(self):
        return not self._process.is_alive()

    def wait(self):
        """Its exit status, stdout and stderr; minus the signal's number where one killed it."""
        self._process.join(_BOUND)
        assert self.ended
        return (self._process.exitcode, *map(_text, self._outputs))

    def send(self, signal):
        """Send it a signal, and wait."""
        os.kill(self.pid, signal)
        return self.wait()

    def wait_for(self, seen):
        """Wait until `seen()` is true, or the command has ended."""
        while not seen() and not self.ended:
            time.sleep(0.0005)


def run(folder, *args, **limits):
    """Run a command; its exit status, stdout and stderr."""
    return Command(folder, *args, **limits).wait()


def _run(args, outputs, largest_file):
    for descriptor, path in zip((1, 2), outputs):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    os.chdir(ROOT)
    sys.argv = ["bnguard", *args]
    from bnguard import cli

    cli.main()


def _text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()
