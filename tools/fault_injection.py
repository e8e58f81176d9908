"""Inject faults into runs that save checkpoints, and check that no checkpoint is lost or broken.

    python tools/fault_injection.py [--seed N] [--divide N] [--write PAGE] [WORD ...]

Each time, a run has saved its checkpoints before, and the fault hits a second run in the same
folder. Then three things must hold: the checkpoints of the first run are the same to the bit, and
restoring one gives the same outputs; every checkpoint of the second run is complete or absent; and
the second run's output names a complete checkpoint or none.

WORDs select faults by a part of their names. The result is a table, printed and, with --write,
written between two markers of a page. The exit status is 1 if anything was lost. The seed decides
the moments and places; how far a process has come by then depends on the machine.
"""

import argparse
from collections import Counter
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from support import forked
from support.checkpoints import checkpoint_damage as damage
import tensorflow.compat.v1 as tf

from bnguard import checkpoint_reader
from bnguard.errors import BnguardError

CASE = "gan_mixed_stats"  # weights, two layers, two runs a step, random numbers in the graph
CHECKPOINTS = ("trained.ckpt", "evaluated.ckpt")
BEGIN, END = "<!-- faults:begin -->", "<!-- faults:end -->"
SAVED_NOTHING = "nothing of this run was saved; earlier checkpoints are untouched"


class Reference:
    """A run without a fault: the values of its checkpoints, its outputs, and its duration."""

    def __init__(self, folder):
        self.folder = folder
        command = start(folder)
        began = time.time()
        command.wait_for(lambda: os.path.isdir(run_folder(folder)))
        training = time.time()
        code, _, stderr = command.wait()
        assert code == 0, stderr
        self.build_seconds, self.seconds = training - began, time.time() - training
        self.outputs = restored_outputs(folder)
        self.values = {name: read(os.path.join(run_folder(folder), name)) for name in CHECKPOINTS}

    def copy(self, folder):
        """Put the finished run into a folder, as its run-1."""
        shutil.copytree(os.path.join(self.folder, CASE), os.path.join(folder, CASE))
        return folder

    def assert_nothing_lost(self, folder):
        """Check the first run's checkpoints, and restore one."""
        first = run_folder(folder)
        for name in CHECKPOINTS:
            assert read(os.path.join(first, name)) == self.values[name], f"{first}/{name} changed"
        assert restored_outputs(folder) == self.outputs, "the restored outputs differ"

    def assert_whole(self, prefix):
        """Check that a checkpoint is complete: it has this run's values."""
        name = os.path.basename(prefix)
        assert read(prefix) == self.values[name], f"{prefix} differs from the reference"

    def complete(self, run):
        """Return the names of the complete checkpoints in a run's folder; no other may exist."""
        found = []
        for name in CHECKPOINTS:
            prefix = os.path.join(run, name)
            try:
                checkpoint_reader.resolve(prefix)
            except BnguardError:
                continue
            self.assert_whole(prefix)
            found.append(name)
        return found


def killed_at_random(folder, reference, choose):
    """`kill -9` at a random moment of training, saving or inference"""
    command = start(reference.copy(folder))
    command.wait_for(lambda: os.path.isdir(run_folder(folder, 2)))
    time.sleep(choose.uniform(0, reference.seconds))
    return kill(command, folder, reference)


def killed_in_a_save(folder, reference, choose):
    """`kill -9` within a save, when some of the checkpoint's files exist"""
    command = start(reference.copy(folder))
    name = choose.choice(CHECKPOINTS)
    command.wait_for(lambda: any(file.startswith(name) for file in files(folder)))
    time.sleep(choose.uniform(0, 0.004))
    return kill(command, folder, reference)


def kill(command, folder, reference):
    code, _, _ = command.send(signal.SIGKILL)
    if code != -signal.SIGKILL:
        return {}  # it had ended
    run = run_folder(folder, 2)
    complete = reference.complete(run)
    saved = f"{len(complete)} of 2 checkpoints complete"
    others = [file for file in files(folder) if not file.startswith((*complete, "checkpoint"))]
    reference.assert_nothing_lost(folder)
    return {saved + (", the next one half written" if others else ""): 1}


def signalled_at_random(folder, reference, choose):
    """Ctrl-C or SIGTERM at a random moment of building, training, saving or inference"""
    number = choose.choice([signal.SIGINT, signal.SIGTERM])
    command = start(reference.copy(folder))
    command.wait_for(lambda: catches(command.pid, signal.SIGTERM))  # the command has begun
    time.sleep(choose.uniform(0, reference.build_seconds + reference.seconds))
    code, stdout, stderr = command.send(number)
    if code == 0:
        return {}
    assert (code, stdout) == (128 + number, ""), (code, stdout, stderr)
    (line,) = stderr.splitlines()
    reference.complete(run_folder(folder, 2))
    reference.assert_nothing_lost(folder)
    if " is " not in line:
        assert names_nothing(line), line
        return {f"{code}, nothing saved": 1}
    reference.assert_whole(line.split(" is ")[1].split(";")[0])
    return {f"{code}, the named checkpoint is complete": 1}


def signalled_in_the_import(folder, reference, choose):
    """Ctrl-C or SIGTERM while TensorFlow is imported, of `bnguard` and of a case file"""
    number = choose.choice([signal.SIGINT, signal.SIGTERM])
    command = choose.choice([["-m", "bnguard", "fixed", CASE], [f"fixed/{CASE}.py"]])
    process = real(reference.copy(folder), command)
    while not maps(process.pid, "tensorflow"):
        time.sleep(0.001)
    time.sleep(choose.uniform(0, 1))
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == 128 + number, (process.returncode, stderr)
    (line,) = stderr.decode().splitlines()
    assert names_nothing(line), line
    reference.assert_nothing_lost(folder)
    return {f"{process.returncode}": 1}


def names_nothing(line):
    """Return whether the line says that nothing was saved; before a run it is only a word."""
    return line in ("Interrupted.", "Terminated.") or SAVED_NOTHING in line


def interrupted_cluster(folder, reference, choose):
    """Ctrl-C, which a terminal sends to all its processes, while a cluster trains"""
    case = "evaluator_on_parameter_server"
    process = real(folder, ["-m", "bnguard", "fixed", case, "--train-steps", "100000"])
    run = os.path.join(folder, case, "fixed", "run-1")
    while not os.path.exists(run) and process.poll() is None:
        time.sleep(0.001)
    (server,) = children(process.pid)
    time.sleep(choose.uniform(0, 0.5))
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130, stderr
    (line,) = stderr.decode().splitlines()
    assert names_nothing(line), line
    assert os.listdir(run) == []
    wait_until(lambda: not os.path.exists(f"/proc/{server}"))
    return {"130, the parameter server ended too": 1}


def largest_file(folder, reference, choose):
    """No space: no file may grow beyond a random size"""
    result = start(reference.copy(folder), largest_file=choose.randint(50, 40_000)).wait()
    return refused(result, folder, reference)


def full_disk(folder, reference, choose):
    """No space: the disk, a small tmpfs, is full"""
    disk = os.path.join(folder, "disk")
    os.mkdir(disk)
    used = size_in_pages(reference.folder)
    size = f"size={(used + choose.randint(4, 40)) * 4096}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "none", disk], stderr=subprocess.PIPE, check=False
    )
    if mounted.returncode:
        raise CannotBeInjectedError("mounting a tmpfs is not permitted")
    try:
        result = start(reference.copy(disk), outputs=folder).wait()
        copy = shutil.copytree(disk, os.path.join(folder, "copy"))
    finally:
        subprocess.run(["umount", disk], check=True)
    return refused(result, copy, reference)


def read_only(folder, reference, choose):
    """Write permission is taken from the run's folder while it trains"""
    command = start(reference.copy(folder), unprivileged=True)
    run = run_folder(folder, 2)
    command.wait_for(lambda: os.path.isdir(run))
    time.sleep(choose.uniform(0, reference.seconds / 2))
    os.chmod(run, 0o555)
    result = command.wait()
    os.chmod(run, 0o755)
    return refused(result, folder, reference)


def refused(result, folder, reference):
    code, stdout, stderr = result
    if code == 0:
        return {}
    assert (code, stdout) == (2, ""), (code, stderr)
    (line,) = stderr.splitlines()
    assert "cannot save a checkpoint there" in line, line
    assert "earlier checkpoints are untouched" in line, line
    complete = reference.complete(run_folder(folder, 2))
    reference.assert_nothing_lost(folder)
    return {f"exit status 2, {len(complete)} of 2 checkpoints complete": 1}


def two_at_once(folder, reference, choose):
    """Two runs save under the same `--checkpoint-dir` at the same time"""
    reference.copy(folder)
    commands = [start(folder, outputs=tempfile.mkdtemp(dir=folder)) for _ in range(2)]
    runs = set()
    for command in commands:
        code, stdout, stderr = command.wait()
        assert (code, stderr) == (0, ""), stderr
        runs.add(os.path.dirname(json.loads(stdout)["checkpoints"]["before"]))
    assert len(runs) == 2
    for run in runs:
        assert reference.complete(run) == list(CHECKPOINTS)
    reference.assert_nothing_lost(folder)
    return {"both complete, in two folders": 1}


def damaged_checkpoint(folder, reference, choose):
    """Every bit flipped, and a cut at every byte, of a checkpoint's index and data"""
    reference.copy(folder)
    prefix = os.path.join(run_folder(folder), "trained.ckpt")
    endings = (".index", ".data-00000-of-00001")
    outcomes = sum((damage.sweep(prefix, ending) for ending in endings), Counter())
    assert not outcomes["missed"], outcomes
    reference.assert_nothing_lost(folder)
    return outcomes


FAULTS = {
    killed_at_random: 100,
    killed_in_a_save: 50,
    signalled_at_random: 50,
    signalled_in_the_import: 10,
    interrupted_cluster: 3,
    largest_file: 25,
    full_disk: 25,
    read_only: 10,
    two_at_once: 10,
    damaged_checkpoint: 1,
}


class CannotBeInjectedError(Exception):
    """The machine or the user lacks something that the fault needs."""


def inject(fault, times, reference, seed):
    """Inject a fault several times; return a Counter of the outcomes, and the losses in words.

    Each time draws from a random stream of its own, so that it can be repeated alone.
    """
    outcomes, lost, number = Counter(), [], 0
    while number < 3 * times and sum(outcomes.values()) + len(lost) < times:
        choose = random.Random(f"{seed}/{fault.__name__}/{number}")
        folder = tempfile.mkdtemp()
        try:
            outcomes.update(fault(folder, reference, choose))
            shutil.rmtree(folder)
        except (AssertionError, BnguardError) as error:
            lost.append(f"{fault.__name__} number {number} in {folder}: {error!r}")
        number += 1
    return outcomes, lost


def start(folder, *options, outputs=None, **limits):
    """Start a run that saves under `folder`."""
    arguments = ["fixed", CASE, "--train-steps", "40", "--json", "--checkpoint-dir", folder]
    return forked.Command(outputs or folder, *arguments, *options, **limits)


def real(folder, command):
    """Start a process without a fork server, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, *command, "--checkpoint-dir", folder],
        cwd=forked.ROOT,
        env={**os.environ, "PYTHONPATH": forked.ROOT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def run_folder(folder, number=1):
    return os.path.join(folder, CASE, "fixed", f"run-{number}")


def files(folder):
    """Return the names of the files that the second run has written so far."""
    run = run_folder(folder, 2)
    return os.listdir(run) if os.path.isdir(run) else []


def read(prefix):
    return {name: value.tobytes() for name, value in checkpoint_reader.read(prefix).items()}


def restored_outputs(folder):
    """Restore the first run's checkpoint, and return the outputs for the same rows each time."""
    prefix = os.path.join(run_folder(folder), "trained.ckpt")
    outputs = tempfile.mkdtemp()
    code, stdout, stderr = start(folder, "--no-train", "--restore", prefix, outputs=outputs).wait()
    shutil.rmtree(outputs)
    assert code == 1, stderr  # 1: without training the case cannot show its claim
    return [step["y"] for step in json.loads(stdout)["passes"][-1]["steps"]]


def size_in_pages(folder):
    """Return the size of a folder on a tmpfs, in pages of 4096 bytes."""
    pages = 0
    for parent, _, names in os.walk(folder):
        sizes = [os.path.getsize(os.path.join(parent, name)) for name in names]
        pages += 1 + sum(-(-size // 4096) for size in sizes)
    return pages


def maps(pid, word):
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        return word in file.read()


def catches(pid, number):
    """Return whether a process handles a signal; SigCgt is a mask whose bit 0 is signal 1."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        mask = int(file.read().split("SigCgt:")[1].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
        return file.read().split()


def wait_until(true):
    for _ in range(10_000):
        if true():
            return
        time.sleep(0.001)
    raise AssertionError("it takes too long")


def rows(options, losses):
    """Inject the selected faults, and yield a row of the table for each; collect the losses."""
    reference = Reference(tempfile.mkdtemp())
    for fault, times in FAULTS.items():
        if not any(word in fault.__name__ for word in options.words or [""]):
            continue
        try:
            outcomes, lost = inject(fault, max(1, times // options.divide), reference, options.seed)
        except CannotBeInjectedError as reason:
            yield f"| `{fault.__name__}`: {fault.__doc__} | 0 | not injected: {reason} | - |"
            continue
        losses += lost
        injected = sum(outcomes.values()) + len(lost)
        ended = "; ".join(f"{outcome}: {count}" for outcome, count in sorted(outcomes.items()))
        loss = f"{len(lost)} times" if lost else "nothing"
        yield f"| `{fault.__name__}`: {fault.__doc__} | {injected} | {ended} | {loss} |"


def write(page, table):
    """Replace the text between the two markers of a page."""
    with open(page, encoding="utf-8") as file:
        before, begin, rest = file.read().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page}: expected the markers {BEGIN} and {END}; write both")
    with open(page, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n{table}\n{END}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only faults with this name")
    parser.add_argument("--seed", type=int, default=1006)
    parser.add_argument("--divide", type=int, default=1, help="inject so many times fewer")
    parser.add_argument("--write", metavar="PAGE", help="write the table into this page")
    options = parser.parse_args()
    # In the background of a script Ctrl-C is ignored, and the processes would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    table = [
        f"TensorFlow {tf.__version__}, seed {options.seed}:",
        "",
        "| fault | injected | outcomes | data lost |",
        "|---|---|---|---|",
    ]
    print("\n".join(table), flush=True)
    losses = []
    for row in rows(options, losses):
        table.append(row)
        print(row, flush=True)
    if options.write:
        write(options.write, "\n".join(table))
    print("", *losses, sep="\n")
    return 1 if losses else 0


if __name__ == "__main__":
    sys.exit(main())
