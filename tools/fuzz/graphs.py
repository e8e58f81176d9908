"""Fuzz the audit with mutated graphs.

    PYTHONPATH=.:tests python tools/fuzz/graphs.py evaluate --inputs 1000000 --seed 1
    PYTHONPATH=.:tests python tools/fuzz/graphs.py audit --inputs 10000 --seed 1
    PYTHONPATH=.:tests python tools/fuzz/graphs.py audit --seed 1 --only 4711

`evaluate` reads each file, and asks every evaluator of the data flow about every tensor, with feeds
of odd values. `audit` audits it, with and without options, and formats the reports. An input ends
well in a report or in an AuditError of one line, within 5 s and 1 GB. Each depends on the seed and
its number alone. What does not end well is printed, and the exit status is 1; so is it if a process
dies, whose last input is then the one to run again.
"""

from __future__ import annotations

import argparse
from collections import Counter
from functools import partial
from multiprocessing import Process, Queue, Value
import os
from random import Random
import resource
import sys
import tempfile
import time
import traceback

from support.analysis.hostile_files import random_file
from support.analysis.mutated_graphs import NUMBERS, REALS, mutated_file

from bnguard.analysis.api import AuditOptions, audit_all
from bnguard.analysis.dataflow.constant_folding import can_fold, fold
from bnguard.analysis.dataflow.constant_propagation import ConstantPropagation
from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.dataflow.provenance import Provenance
from bnguard.analysis.errors import AuditError, about
from bnguard.analysis.formatters import FORMATS, format_reports
from bnguard.analysis.frontend.loader import load
from bnguard.analysis.ir.graph import Tensor

SECONDS, GIGABYTES = 5, 1
VALUES = (None, True, False, *NUMBERS, 10**400, *REALS, b"", b"x")
OPTIONS = (
    AuditOptions(),
    AuditOptions(fetches=("n1",), train_op=("n2",)),
    AuditOptions(fetches=("y",), feeds={"flag": float("nan"), "x": 10**400}),
    AuditOptions(feeds={"n0": float("inf")}),
)
_PORTS = 2


def file_of(seed, number):
    """Return the input of this number, and the choices that are left for what is asked of it."""
    random = Random(seed * 1000003 + number)
    choices = random.randrange
    return (random_file if number % 8 == 0 else mutated_file)(choices), choices


def evaluate(path, choices):
    """Read a file, and evaluate every tensor of its graphs."""
    for loaded in load(path):
        graph = loaded.graph
        feeds = {
            Tensor(choices(len(graph)), choices(2)): VALUES[choices(len(VALUES))] for _ in range(2)
        }
        step = Execution(graph, [Tensor(choices(len(graph)), 0), Tensor(len(graph) - 1, 0)], feeds)
        constants, provenance = ConstantPropagation(graph, feeds), Provenance(graph, step)
        for node in range(len(graph)):
            step.predicate(node)
            for port in range(_PORTS if len(graph) < 100 else 1):
                tensor = Tensor(node, port)
                constants.value(tensor)
                constants.first_value(tensor)
                constants.selector_origin(tensor)
                step.value(tensor)
                provenance.origins(tensor)
            if can_fold(graph.types[node]):
                operands = [VALUES[choices(len(VALUES))] for _ in range(choices(4))]
                fold(graph.types[node], partial(graph.attributes, node), operands)


def audit(path, choices):
    """Audit a file, and format the reports in every form."""
    reports = audit_all(path, OPTIONS[choices(len(OPTIONS))], with_timeline=True)
    for form in FORMATS:
        format_reports(reports, form)


TARGETS = {"evaluate": evaluate, "audit": audit}


def try_one(target, path, seed, number):
    """Try one input; return how it ended, and its traceback if it ended badly."""
    data, choices = file_of(seed, number)
    with open(path, "wb") as file:
        file.write(data)
    began = time.perf_counter()
    try:
        with about(path):
            target(path, choices)
        outcome, details = "report", ""
    except AuditError as error:
        is_one_line = "\n" not in str(error) and path in str(error) and len(str(error)) < 2000
        outcome, details = ("refusal", "") if is_one_line else ("not a line", repr(str(error)))
    except Exception:
        outcome, details = "traceback", traceback.format_exc()[-1500:]
    seconds = time.perf_counter() - began
    return ("over the time", f"{seconds:.1f} s") if seconds > SECONDS else (outcome, details)


def work(target, seed, numbers, current, results):
    """Try the inputs of these numbers, and put the counts of their outcomes."""
    counts, bad = Counter(), []
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
        path = os.path.join(folder, "graph.pb")
        for number in numbers:
            current.value = number
            outcome, details = try_one(target, path, seed, number)
            counts[outcome] += 1
            if not counts[outcome] % 1000:
                print(os.getpid(), number, dict(counts), file=sys.stderr, flush=True)
            if details:
                print(number, outcome, details, file=sys.stderr, flush=True)
                bad.append((number, outcome, details))
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > GIGABYTES << 20:
        bad.append((numbers[-1], "over the memory", "the largest of all inputs of its process"))
    results.put((counts, bad))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int, help="the number of the only input to try")
    arguments = parser.parse_args()
    end = arguments.first + arguments.inputs
    starts = range(arguments.first, arguments.first + arguments.jobs)
    ranges = [range(start, end, arguments.jobs) for start in starts]
    if arguments.only is not None:
        ranges = [[arguments.only]]
    target, results, workers = TARGETS[arguments.target], Queue(), []
    for numbers in ranges:
        current = Value("q", -1)
        process = Process(target=work, args=(target, arguments.seed, numbers, current, results))
        process.start()
        workers.append((process, current))
    counts, bad = collected(workers, results)
    print(f"{arguments.target}, seed {arguments.seed}: {sum(counts.values())} inputs")
    print(", ".join(f"{outcome}: {count}" for outcome, count in sorted(counts.items())))
    for number, outcome, details in bad[:8]:
        print(f"\n--seed {arguments.seed} --only {number}: {outcome}\n{details}")
    sys.exit(int(bool(bad)))


def collected(workers, results):
    """Return the counts and the bad inputs of all workers; of one that dies, its last input."""
    counts, bad, waiting = Counter(), [], len(workers)
    while waiting:
        while not results.empty():
            found, more = results.get()
            counts += found
            bad += more
            waiting -= 1
        for process, current in workers:
            process.join(0.1)
            if process.exitcode:
                bad.append((current.value, "dead", f"exit status {process.exitcode}"))
                counts["dead"] += 1
                waiting -= 1
                workers.remove((process, current))
                break
    return counts, bad


if __name__ == "__main__":
    main()
