"""How often an inference of `two_branch_cond` reads statistics that its own step has updated.

Prints two tables in Markdown: the share of such outputs as a function of how often the session
had run the fetch before, and one row answered twice from one checkpoint, by the process that
trained it and by a fresh one.
"""

from __future__ import annotations

import argparse
from functools import partial
from multiprocessing import get_context
import os
import tempfile

from bnguard.harness.cases import catalogue, loading
from bnguard.harness.results.terms import SIDES
from bnguard.runtime.tensorflow_import import import_tensorflow

CASE = "two_branch_cond"
EARLIER = (0, 50, 100, 200)


def main():
    arguments = parse()
    import_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        print_rates(arguments, folder)
        print_pair(folder)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=10, help="sessions for each figure")
    parser.add_argument("--inferences", type=int, default=10, help="inferences in each session")
    return parser.parse_args()


def print_rates(arguments, folder):
    import tensorflow.compat.v1 as tf

    print(f"TensorFlow {tf.__version__}, {os.cpu_count()} cores; outputs from updated statistics\n")
    print(f"| earlier runs of the fetch | {' | '.join(map(str, EARLIER))} |")
    print(f"| --- | {' | '.join(['---'] * len(EARLIER))} |")
    for side in SIDES:
        for variables in ("ref", "resource"):
            counts = [
                sum(
                    late(side, variables, earlier, arguments.inferences, folder)
                    for _ in range(arguments.sessions)
                )
                for earlier in EARLIER
            ]
            total = arguments.sessions * arguments.inferences
            cells = " | ".join(f"{count} of {total}" for count in counts)
            print(f"| {side}, {variables} variables | {cells} |")


def late(side, variables, earlier, inferences, folder):
    """How many outputs of one session used updated statistics."""
    from bnguard.harness.run import experiment
    from bnguard.harness.run.options import BuildOptions

    options = experiment.Options(
        train=earlier > 0,
        train_steps=max(earlier, 1),
        infer_steps=inferences,
        build=BuildOptions("no", variables, "v1"),
        checkpoint_dir=folder,
    )
    record = experiment.run(loading.load(catalogue.find(CASE, side)), options)
    first = record.passes[0]
    assert first.earlier_runs == earlier
    return sum(step.reads != "before" for step in first.steps)


def print_pair(folder):
    print("\nOne checkpoint, ten rows: the process that trained it (200 steps), and a fresh one\n")
    print("| | answered differently | the first row there: trained | fresh |")
    print("| --- | --- | --- | --- |")
    for side in SIDES:
        here, prefix = trained(side, folder)
        with get_context("spawn").Pool(1) as fresh:
            there = fresh.apply(restored, (side, prefix, [step.x for step in here]))
        pairs = list(zip(here, there))
        different = [pair for pair in pairs if pair[0].y.tobytes() != pair[1].y.tobytes()]
        row = " | ".join(text_of(step) for step in (different or pairs)[0])
        print(f"| {side} | {len(different)} of {len(pairs)} | {row} |")


def trained(side, folder):
    """Return the inference steps of a session that trained for 200 steps, and its checkpoint."""
    from bnguard.harness.run import experiment

    options = experiment.Options(train_steps=200, checkpoint_dir=folder)
    record = experiment.run(loading.load(catalogue.find(CASE, side)), options)
    return record.passes[0].steps, record.checkpoints.before


def restored(side, prefix, rows):
    """Return the inference steps on these rows of a session that restores the checkpoint."""
    import_tensorflow()
    from bnguard.harness.run.case_session import CaseSession
    from bnguard.harness.run.experiment import Options

    case = loading.load(catalogue.find(CASE, side))
    with CaseSession(case, Options().build, partial(case.build, False)) as program:
        program.restore(prefix)
        return program.infer("restored", rows).steps


def text_of(step):
    return f"{', '.join(f'{value:.3f}' for value in step.y[0])} (reads {step.reads})"


if __name__ == "__main__":
    main()
