"""Real signals to real processes: one line, exit status 130 or 143, and nothing half written."""

import os
import signal
import subprocess
import sys
import time

from bnguard import checkpoint
from bnguard.harness import points
import forked
import pytest

CASE = "update_ops_never_run"
STEPS = "100000"  # more than a test has time for
WORDS = {signal.SIGINT: ("Interrupted", 130), signal.SIGTERM: ("Terminated", 143)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_training_the_line_says_where_to_go_on_from(tmp_path, number):
    flags = ["--train-steps", STEPS, "--save-every", "2", "--checkpoint-dir", str(tmp_path)]
    command = forked.Command(tmp_path, "fixed", CASE, *flags)
    folder = str(tmp_path / CASE / "fixed" / "run-1")
    command.wait_for(lambda: os.path.exists(os.path.join(folder, "step-4.json")))
    code, stdout, stderr = command.send(number)
    word, status = WORDS[number]
    assert (code, stdout) == (status, "")
    (line,) = stderr.splitlines()
    told = line.split("`")[1].split()
    assert line == (
        f"{word}: the last complete checkpoint is {told[-1]}; go on with "
        f"`bnguard fixed {CASE} --resume {told[-1]}`."
    )
    last = points.find(folder)
    assert last.step - points.find(told[-1]).step in (0, 2)  # 2: in the middle of a save
    checkpoint.read(told[-1])


def test_before_the_first_save_it_says_that_too(tmp_path):
    flags = ["--train-steps", STEPS, "--save-every", "0", "--checkpoint-dir", str(tmp_path)]
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
def test_while_tensorflow_is_imported(command, tmp_path):
    """The line is not among what TensorFlow's chatter is held back with."""
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
    assert line.startswith("Interrupted: nothing of this run was saved")
    assert os.listdir(str(tmp_path)) == []


def imports_tensorflow(pid):
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        return "tensorflow" in file.read()


def test_who_is_not_to_be_interrupted_is_not():
    """As with `nohup`, or in the background of a script: the signal was ignored before."""
    script = (
        "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "from bnguard.harness import interrupts; interrupts.install();"
        "os.kill(os.getpid(), signal.SIGINT); print('on')"
    )
    assert subprocess.check_output([sys.executable, "-c", script], cwd=forked.ROOT) == b"on\n"


def test_nothing_on_the_way_can_swallow_it():
    """An import, a finalizer or a bare `except` would, were it an exception."""
    script = (
        "import os, signal; from bnguard.harness import interrupts; interrupts.install()\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "except BaseException: pass\n"
        "finally: print('on')"
    )
    process = subprocess.run(
        [sys.executable, "-c", script],
        cwd=forked.ROOT,
        capture_output=True,
        check=False,
    )
    assert (process.returncode, process.stdout) == (130, b"")
    assert process.stderr.startswith(b"Interrupted: ")


def test_without_a_stderr_the_status_says_it():
    script = (
        "import os, signal; os.close(2); from bnguard.harness import interrupts;"
        "interrupts.install(); os.kill(os.getpid(), signal.SIGTERM); print('on')"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=forked.ROOT, stdout=subprocess.PIPE, check=False
    )
    assert (process.returncode, process.stdout) == (143, b"")


def test_on_a_terminal_the_progress_bar_goes_and_the_cursor_comes_back():
    ours, its = os.openpty()
    script = (
        "import os, signal; from bnguard.harness import interrupts; interrupts.install();"
        "os.kill(os.getpid(), signal.SIGINT)"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, cwd=forked.ROOT, stderr=its, check=False).returncode == 130
    assert os.read(ours, 1000).startswith(b"\r\x1b[K\x1b[?25hInterrupted: ")
    os.close(ours)
    os.close(its)
