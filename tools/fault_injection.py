"""Inject faults into runs, and see that nothing is lost.

    python tools/fault_injection.py [--seed N] [--divide N] [WORD ...]

It prints a table: each fault, how often it was injected, what was lost, and what came of it.
WORDs select faults by a part of their names. The exit status is 1 if anything was lost. The seed
decides the moments and places; what a process has come to by then is the machine's affair.
"""

import argparse
from collections import Counter
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from support import checkpoint_damage as damage
from support import forked, resuming
import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError
from bnguard.harness.cases.errors import UnavailableError
from bnguard.harness.cases import catalogue
from bnguard.harness.run import checkpoint_writer, points
from bnguard.harness.run.options import BuildOptions

CASE = "gan_mixed_stats"  # weights, two layers, two runs a step, random numbers in the graph
STEPS, SAVE_EVERY = 40, 4
ENDINGS = (".index", ".data-00000-of-00001")
BUILDS = (BuildOptions("no", "ref", "v1"), BuildOptions("yes", "resource", "v2"))


class Whole:
    """The run that nothing befalls: what it shows, what it saves, how long it takes."""

    def __init__(self, folder):
        self.folder = folder
        command = start(self.folder)
        self.started = time.time()
        command.wait_for(lambda: os.path.isdir(run_folder(self.folder)))
        training = time.time()
        code, stdout, stderr = command.wait()
        assert code == 0, stderr
        self.seconds, self.build_seconds = time.time() - training, training - self.started
        self.document = json.loads(stdout)
        self.end = os.path.join(run_folder(self.folder), f"step-{STEPS}.ckpt")

    def assert_is_what(self, result):
        """Check that the run of this result ended as this one did, to the bit."""
        code, stdout, stderr = result
        assert (code, stderr) == (0, ""), stderr
        document = json.loads(stdout)
        resuming.assert_same_showing(self.document, document)
        trained = document["checkpoints"]["before"]
        assert not resuming.differing(self.document["checkpoints"]["before"], trained)
        end = os.path.join(os.path.dirname(trained), f"step-{STEPS}.ckpt")
        if checkpoint_writer.parts(end):  # there is none where all steps had been taken
            resuming.assert_same_state(self.end, end)


def killed_at_random(folder, whole, choose):
    """kill -9 at a random moment of training, saving or inference."""
    command = start(folder)
    command.wait_for(lambda: os.path.isdir(run_folder(folder)))
    time.sleep(choose.uniform(0, whole.seconds))
    return kill_and_go_on(command, folder, whole)


def killed_in_a_save(folder, whole, choose):
    """kill -9 within a save: some of a point's files are there, and not all."""
    command = start(folder)
    step = SAVE_EVERY * choose.randint(1, STEPS // SAVE_EVERY)
    command.wait_for(lambda: has_file(folder, f"step-{step}.ckpt"))
    time.sleep(choose.uniform(0, 0.004))
    return kill_and_go_on(command, folder, whole)


def kill_and_go_on(command, folder, whole):
    complete = last_step(folder)
    code, _, _ = command.send(signal.SIGKILL)
    if code != -signal.SIGKILL:
        return {}  # it had ended
    assert last_step(folder) >= complete
    half = has_file(folder, f"step-{last_step(folder) + SAVE_EVERY}.ckpt")
    return {go_on(folder, whole) + (", beside half a save" if half else ""): 1}


def go_on(folder, whole):
    """Resume a run that was stopped, or start it again where it had not come to a save."""
    if last_step(folder):
        whole.assert_is_what(start(folder, "--resume", run_folder(folder)).wait())
        return "went on"
    whole.assert_is_what(start(folder).wait())
    return "had not saved, began again"


def signalled_at_random(folder, whole, choose):
    """Ctrl-C or SIGTERM at a random moment: of building, training, saving or inference."""
    number = choose.choice([signal.SIGINT, signal.SIGTERM])
    command = start(folder)
    command.wait_for(lambda: catches(command.pid, signal.SIGTERM))  # the command has begun
    time.sleep(choose.uniform(0, whole.build_seconds + whole.seconds))
    code, stdout, stderr = command.send(number)
    if code == 0:
        return {}
    assert (code, stdout) == (128 + number, ""), (code, stdout, stderr)
    (line,) = stderr.splitlines()
    if "--resume" not in line:
        assert says_that_nothing_is_saved(line), line
        return {f"{code}, nothing saved": 1}
    told = line.split("--resume ")[1].split("`")[0]
    assert last_step(folder) - points.find(told).step in (0, SAVE_EVERY)
    whole.assert_is_what(start(folder, "--resume", told).wait())
    return {f"{code}, went on as the line says": 1}


def signalled_in_the_import(folder, whole, choose):
    """Ctrl-C or SIGTERM while TensorFlow is imported, from `bnguard` and from a case's file."""
    number = choose.choice([signal.SIGINT, signal.SIGTERM])
    command = choose.choice([["-m", "bnguard", "fixed", CASE], [f"fixed/{CASE}.py"]])
    process = real(folder, command)
    while not maps(process.pid, "tensorflow"):
        time.sleep(0.001)
    time.sleep(choose.uniform(0, 1))
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == 128 + number, (process.returncode, stderr)
    (line,) = stderr.decode().splitlines()
    assert says_that_nothing_is_saved(line), line
    return {f"{process.returncode}": 1}


def says_that_nothing_is_saved(line):
    """As it does from the moment on at which there is a run; before it is a word."""
    return line in ("Interrupted.", "Terminated.") or "nothing of this run was saved" in line


def interrupted_cluster(folder, whole, choose):
    """Ctrl-C, which a terminal sends to all its processes, while a cluster trains."""
    case = "evaluator_on_parameter_server"
    command = ["-m", "bnguard", "fixed", case, "--train-steps", "100000", "--save-every", "5"]
    process = real(folder, command)
    saved = os.path.join(folder, case, "fixed", "run-1", "step-5.json")
    while not os.path.exists(saved) and process.poll() is None:
        time.sleep(0.001)
    (server,) = children(process.pid)
    time.sleep(choose.uniform(0, 0.2))
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130, stderr
    (line,) = stderr.decode().splitlines()
    points.find(line.split("--resume ")[1].split("`")[0])
    wait_until(lambda: not os.path.exists(f"/proc/{server}"))
    return {"130, the parameter server ended too": 1}


def largest_file(folder, whole, choose):
    """No room: no file may grow beyond a random size (RLIMIT_FSIZE)."""
    return refused(start(folder, largest_file=choose.randint(50, 40_000)).wait(), folder, whole)


def full_disk(folder, whole, choose):
    """No room: the disk, a small tmpfs, is full."""
    disk = os.path.join(folder, "disk")
    os.mkdir(disk)
    size = f"size={choose.randint(4, 40) * 4096}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "none", disk], stderr=subprocess.PIPE, check=False
    )
    if mounted.returncode:
        raise CannotBeInjectedError("it takes the right to mount a tmpfs")
    try:
        outcome = refused(start(folder, "--checkpoint-dir", disk).wait(), disk, None)
        shutil.copytree(disk, os.path.join(folder, "copy"))
    finally:
        subprocess.run(["umount", disk], check=True)
    return outcome and {f"2; from a copy it {go_on(os.path.join(folder, 'copy'), whole)}": 1}


def read_only(folder, whole, choose):
    """The run's folder becomes read-only while it trains."""
    command = start(folder, unprivileged=True)
    step = SAVE_EVERY * choose.randint(1, STEPS // SAVE_EVERY - 2)
    command.wait_for(lambda: f"step-{step}.json" in names(folder))
    os.chmod(run_folder(folder), 0o555)
    result = command.wait()
    os.chmod(run_folder(folder), 0o755)
    return refused(result, folder, whole)


def refused(result, folder, whole):
    code, stdout, stderr = result
    if code == 0:
        return {}
    assert (code, stdout) == (2, ""), result
    (line,) = stderr.splitlines()
    assert "cannot save a checkpoint there" in line, line
    assert "earlier checkpoints are untouched" in line, line
    return {f"2; {go_on(folder, whole)}" if whole else "2": 1}


def two_at_once(folder, whole, choose):
    """Two runs save under the same --checkpoint-dir at once."""
    commands = [start(folder, outputs=tempfile.mkdtemp(dir=folder)) for _ in range(2)]
    for command in commands:
        whole.assert_is_what(command.wait())
    assert len(os.listdir(os.path.dirname(run_folder(folder)))) == 2
    return {"both as if alone": 1}


def damaged_point(folder, whole, choose):
    """A flipped bit, or a cut, anywhere in a file of a run's last point."""
    run = shutil.copytree(run_folder(whole.folder), os.path.join(folder, "run"))
    ending = choose.choice([".json", *(".ckpt" + ending for ending in ENDINGS)])
    path = os.path.join(run, f"step-{STEPS}{ending}")
    with open(path, "rb+") as file:
        content = bytearray(file.read())
        place = choose.randrange(len(content))
        if choose.random() < 0.5:
            content[place] ^= 1 << choose.randrange(8)
            file.seek(0)
            file.write(content)
        else:
            file.truncate(place)
    before = os.path.join(run, f"step-{STEPS - SAVE_EVERY}.ckpt")
    with contextlib.suppress(BnguardError):
        points.find(run)
        raise AssertionError(f"{path}: damage at byte {place} is not said")
    assert points.find(before).step == STEPS - SAVE_EVERY
    return {"said; the point before is intact": 1}


def damaged_checkpoint(folder, whole, choose):
    """Every bit flipped, and a cut at every byte, of a checkpoint's files."""
    run = shutil.copytree(run_folder(whole.folder), os.path.join(folder, "run"))
    prefix = os.path.join(run, "trained.ckpt")
    outcomes = sum((damage.sweep(prefix, ending) for ending in ENDINGS), Counter())
    assert not outcomes["read otherwise"], outcomes
    return outcomes


def resumed_cases(folder, whole, choose):
    """Every case, on ref variables and on resource variables, resumed half way."""
    outcomes = Counter()
    for case in catalogue.names():
        for build in BUILDS:
            try:
                resuming.assert_goes_on(case, os.path.join(folder, build.variables), build=build)
                outcomes["as if it had never stopped"] += 1
            except UnavailableError:
                outcomes["TensorFlow refuses this graph"] += 1
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
    damaged_point: 1000,
    damaged_checkpoint: 1,
    resumed_cases: 1,
}


class CannotBeInjectedError(Exception):
    """This machine or this user has not what the fault takes."""


def inject(fault, times, whole, seed):
    """Inject a fault several times; Counter of what came of it, and what was lost, in sentences.

    Each time draws from a stream of its own, so that any one of them can be repeated.
    """
    outcomes, lost, number = Counter(), [], 0
    while number < 3 * times and sum(outcomes.values()) + len(lost) < times:
        choose = random.Random(f"{seed}/{fault.__name__}/{number}")
        folder = tempfile.mkdtemp()
        try:
            outcomes.update(fault(folder, whole, choose))
            shutil.rmtree(folder)
        except AssertionError as error:
            lost.append(f"number {number} in {folder}: {error!r}")
        number += 1
    return outcomes, lost


def start(folder, *flags, outputs=None, **limits):
    """Start the run that is as `Whole` is, if nothing befalls it."""
    given = ["--train-steps", str(STEPS), "--save-every", str(SAVE_EVERY), "--json"]
    arguments = ["fixed", CASE, *given, "--checkpoint-dir", folder, *flags]
    return forked.Command(outputs or folder, *arguments, **limits)


def real(folder, command):
    """Start a process of its own, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, *command, "--checkpoint-dir", folder],
        cwd=forked.ROOT,
        env={**os.environ, "PYTHONPATH": forked.ROOT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def run_folder(folder):
    return os.path.join(folder, CASE, "fixed", "run-1")


def last_step(folder):
    """The step of the last complete point; 0 where there is none."""
    found = [re.match(r"step-(\d+)\.json$", name) for name in names(folder)]
    return max((int(match.group(1)) for match in found if match), default=0)


def has_file(folder, beginning):
    return any(name.startswith(beginning) for name in names(folder))


def names(folder):
    """The names of what the run has saved so far."""
    run = run_folder(folder)
    return os.listdir(run) if os.path.isdir(run) else []


def maps(pid, word):
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        return word in file.read()


def catches(pid, number):
    """Whether a process has a handler of its own for a signal; SigCgt is a mask, bit 0 is 1."""
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--seed", type=int, default=1006)
    parser.add_argument("--divide", type=int, default=1, help="inject so many times fewer")
    options = parser.parse_args()
    # What is started here heeds Ctrl-C, though in the background of a script it would be ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print(f"TensorFlow {tf.__version__}, seed {options.seed}\n")
    print("| fault | injected | lost | what came of it |\n|---|---|---|---|", flush=True)
    whole, all_lost = Whole(tempfile.mkdtemp()), []
    for fault, times in FAULTS.items():
        if not any(word in fault.__name__ for word in options.words or [""]):
            continue
        try:
            outcomes, lost = inject(fault, max(1, times // options.divide), whole, options.seed)
        except CannotBeInjectedError as reason:
            print(f"| {told(fault)} | 0 | - | cannot be injected here: {reason} |", flush=True)
            continue
        injected = sum(outcomes.values()) + len(lost)
        came = "; ".join(f"{note}: {count}" for note, count in sorted(outcomes.items()))
        print(f"| {told(fault)} | {injected} | {len(lost)} | {came} |", flush=True)
        all_lost += lost
    print("", *all_lost, sep="\n")
    return 1 if all_lost else 0


def told(fault):
    return f"`{fault.__name__}`: {fault.__doc__.rstrip('.')}"


if __name__ == "__main__":
    sys.exit(main())
