"""A signal ends a process with one line and exit status 130 or 143, and no half-written file."""

from contextlib import suppress
import os
import signal
import subprocess
import sys
import time

import pytest
from support import forked

from bnguard import checkpoint_reader

pytestmark = pytest.mark.slow

CASE = "update_ops_never_run"
STEPS = "100000"  # more than a test has time for
WORDS = {signal.SIGINT: ("Interrupted", 130), signal.SIGTERM: ("Terminated", 143)}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_a_save_the_line_names_the_complete_checkpoint(tmp_path, number):
    options = ["--train-steps", "1", "--infer-steps", STEPS, "--checkpoint-dir", str(tmp_path)]
    command = forked.Command(tmp_path, "fixed", CASE, *options)
    prefix = str(tmp_path / CASE / "fixed" / "run-1" / "trained.ckpt")
    command.wait_for(lambda: os.path.exists(prefix + ".meta"))
    time.sleep(0.5)  # the save returns, and inference begins
    code, stdout, stderr = command.send(number)
    word, status = WORDS[number]
    assert (code, stdout) == (status, "")
    assert stderr == f"{word}: the last complete checkpoint is {prefix}; --restore reads it.\n"
    assert checkpoint_reader.read(prefix)


def test_before_the_first_save_the_line_names_none(tmp_path):
    flags = ["--train-steps", STEPS, "--checkpoint-dir", str(tmp_path)]
    command = forked.Command(tmp_path, "fixed", CASE, *flags)
    folder = str(tmp_path / CASE / "fixed" / "run-1")
    command.wait_for(lambda: os.path.exists(folder))
    code, stdout, stderr = command.send(signal.SIGINT)
    assert (code, stdout) == (130, "")
    assert stderr == (
        "Interrupted: nothing of this run was saved; earlier checkpoints are untouched.\n"
    )
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    "command", [["-m", "bnguard", "fixed", CASE], [os.path.join("fixed", CASE + ".py")]]
)
def test_a_signal_during_the_import_of_tensorflow_prints_its_line(command, tmp_path):
    """The line is not swallowed with TensorFlow's messages."""
    process = subprocess.Popen(
        [sys.executable, *command, "--checkpoint-dir", str(tmp_path)],
        cwd=forked.ROOT,
        env={**os.environ, "PYTHONPATH": forked.ROOT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not imports_tensorflow(process.pid):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert process.returncode == 130
    assert stdout == b""
    (line,) = stderr.decode().splitlines()
    assert line.startswith("Interrupted")
    assert os.listdir(str(tmp_path)) == []


def imports_tensorflow(pid):
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        return "tensorflow" in file.read()


def test_an_ignored_signal_stays_ignored():
    """As with `nohup`, or in the background of a script: the signal was ignored before."""
    script = (
        "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "from bnguard.runtime import signals; signals.install();"
        "os.kill(os.getpid(), signal.SIGINT); print('on')"
    )
    assert run(script) == (0, b"on\n", b"")


def test_no_code_can_swallow_the_signal():
    """An exception could be swallowed by an import, a finalizer or a bare `except`."""
    script = (
        "import os, signal; from bnguard.runtime import signals; signals.install()\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "except BaseException: pass\n"
        "finally: print('on')"
    )
    assert run(script) == (130, b"", b"Interrupted.\n")


def test_without_stderr_the_status_is_the_same():
    script = (
        "import os, signal; os.close(2); from bnguard.runtime import signals;"
        "signals.install(); os.kill(os.getpid(), signal.SIGTERM); print('on')"
    )
    assert run(script)[:2] == (143, b"")


def test_on_a_terminal_the_progress_bar_is_cleared_and_the_cursor_shown():
    ours, its = os.openpty()
    script = (
        "import os, signal; from bnguard.runtime import signals; signals.install();"
        "os.kill(os.getpid(), signal.SIGINT)"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, cwd=forked.ROOT, stderr=its, check=False).returncode == 130
    assert os.read(ours, 1000) == b"\r\x1b[K\x1b[?25hInterrupted.\r\n"
    os.close(ours)
    os.close(its)


@pytest.fixture
def audit(tmp_path):
    """Start an audit whose three workers wait for files forever; yield it and the workers."""
    paths = [str(tmp_path / f"{number}.pb") for number in range(3)]
    for path in paths:
        os.mkfifo(path)
    process = subprocess.Popen(
        [sys.executable, "-m", "bnguard", "audit", "--jobs", "3", *paths],
        cwd=forked.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    end = time.time() + 60
    while len(started_by(process.pid)) < 3:
        assert process.poll() is None
        assert time.time() < end
        time.sleep(0.001)
    yield process, started_by(process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def test_a_killed_audit_leaves_no_process_behind(audit):
    process, workers = audit
    process.kill()
    process.communicate(timeout=60)
    wait_for_the_end_of(workers)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_audit_leaves_no_process_behind(audit, number):
    process, workers = audit
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)  # no worker holds the streams open
    word, status = WORDS[number]
    assert (process.returncode, stdout, stderr) == (status, b"", f"{word}.\n".encode())
    wait_for_the_end_of(workers)


def test_ctrl_c_at_a_terminal_reaches_the_workers_and_prints_one_line(audit):
    process, workers = audit
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, b"Interrupted.\n")
    wait_for_the_end_of(workers)


def test_a_worker_that_is_killed_ends_the_audit_with_one_line(audit):
    process, workers = audit
    writers = list(map(once_it_is_read, process.args[-3:]))  # a process that starts misses signals
    os.kill(workers[0], signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (2, b"")
    (line,) = stderr.decode().splitlines()
    assert line.startswith("Error: --jobs 3: a worker process was killed")
    for writer in writers:
        os.close(writer)


def test_a_forked_child_prints_nothing():
    script = (
        "import os, signal; from bnguard.runtime import signals; signals.install()\n"
        "child = os.fork()\n"
        "if child: print(os.waitpid(child, 0)[1] >> 8)\n"
        "else: os.kill(os.getpid(), signal.SIGINT)"
    )
    assert run(script) == (0, b"130\n", b"")


def test_a_worker_ignores_ctrl_c():
    script = (
        "import multiprocessing, os, signal; from bnguard.runtime import signals\n"
        "reader, writer = multiprocessing.Pipe(duplex=False)\n"
        "kept = os.dup(writer.fileno())\n"
        "signals.in_worker(reader, writer)\n"
        "os.kill(os.getpid(), signal.SIGINT); print('on')"
    )
    assert run(script) == (0, b"on\n", b"")


def test_in_another_thread_nothing_is_installed():
    script = (
        "import signal, threading; from bnguard.runtime import signals\n"
        "before = signal.getsignal(signal.SIGINT)\n"
        "def body():\n"
        "    undo = signals.install(); undo(); print('on')\n"
        "thread = threading.Thread(target=body); thread.start(); thread.join()\n"
        "print(signal.getsignal(signal.SIGINT) is before)"
    )
    assert run(script) == (0, b"on\nTrue\n", b"")


def run(script):
    """Run a program in a process of its own: status, stdout, stderr."""
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=forked.ROOT, capture_output=True, check=False
    )
    return process.returncode, process.stdout, process.stderr


def once_it_is_read(fifo):
    """Open a FIFO for writing, once a process has opened it for reading."""
    end = time.time() + 60
    while time.time() < end:
        with suppress(OSError):  # there is no reader
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.001)
    raise AssertionError("no process reads it")


def started_by(process):
    """Return the ids of the children that a process has not yet waited for."""
    with open(f"/proc/{process}/task/{process}/children", encoding="utf-8") as file:
        return list(map(int, file.read().split()))


def wait_for_the_end_of(processes):
    """Wait; a killed process may take a moment to end."""
    end = time.time() + 60
    while any(map(is_running, processes)):
        assert time.time() < end
        time.sleep(0.001)


def is_running(process):
    """Return whether it runs; a zombie does not."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
