"""Fuzz the readers of checkpoints with entries, tables and files that lie.

    PYTHONPATH=.:tests python tools/fuzz/checkpoints.py --inputs 200000 --seed 1
    PYTHONPATH=.:tests python tools/fuzz/checkpoints.py --inputs 20000 --seed 1 --tensorflow
    PYTHONPATH=.:tests python tools/fuzz/checkpoints.py --seed 1 --only 4711

Every input is read for the audit, for `stats`, and whole. It ends well in values or in an error of
one line, within 5 s. With --tensorflow, a child process lets TensorFlow read what it would be asked
to restore: it must survive, and read the same values or report an error. Each input depends on the
seed and its number alone. What does not end well is printed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
from collections import Counter
import os
from random import Random
import sys
import tempfile
import time
import traceback

import numpy as np
from support.checkpoints.mutated_checkpoints import files_of, is_restorable, read_all, write

from bnguard.runtime.tensorflow_import import import_tensorflow

SECONDS = 5
SLICE = "\0"  # TensorFlow lists the keys of slices without a tensor, too


def try_one(prefix, seed, number):
    """Read one input; return how it ended, and the traceback if it ended badly."""
    write(prefix, files_of(Random(seed * 1000003 + number).randrange))
    import_tensorflow()  # as a type that NumPy lacks does, and that takes longer than an input may
    began = time.perf_counter()
    try:
        outcome = "refused" if read_all(prefix) is None else "read"
    except Exception:
        return "traceback", traceback.format_exc()[-1500:]
    seconds = time.perf_counter() - began
    return (outcome, "") if seconds <= SECONDS else ("over the time", f"{seconds:.1f} s")


def try_tensorflow(prefix, seed, number):
    """Let TensorFlow read one input, if it is restorable; it may end this process."""
    import_tensorflow()
    import tensorflow.compat.v1 as tf

    write(prefix, files_of(Random(seed * 1000003 + number).randrange))
    if not is_restorable(prefix):
        return "not restored", ""
    ours = read_all(prefix)
    try:
        reader = tf.train.load_checkpoint(prefix)
        names = [name for name in reader.get_variable_to_shape_map() if name[:1] != SLICE]
        theirs = {name: reader.get_tensor(name) for name in names}
    except UnicodeDecodeError:
        return "TensorFlow cannot list the names", ""
    except (tf.errors.OpError, LookupError, RuntimeError, ValueError) as error:
        return ("TensorFlow refuses", "") if ours is None else ("only we read it", str(error))
    if ours is None:
        return "only TensorFlow reads it", "ours is refused"
    same = _comparable(theirs) == _comparable(ours)
    return ("the same values", "") if same else ("other values", f"{theirs} {ours}")


def _comparable(values):
    """Return values by name as lists, because a NaN equals no other; TensorFlow has scalars."""
    return {
        name: value
        if isinstance(value, bytes)
        else (np.shape(value), str(np.asarray(value).dtype), repr(np.ravel(value).tolist()))
        for name, value in values.items()
    }


def in_child(target, prefix, seed, numbers):
    """Try inputs in a child process; return the outcomes, and the number at which it died."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            with os.fdopen(writing, "w", buffering=1) as results:
                for number in numbers:
                    outcome, details = target(prefix, seed, number)
                    results.write(f"{number}\t{outcome}\t{details!r}\n")
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as results:
        lines = [line.rstrip("\n").split("\t", 2) for line in results]
    _, status = os.waitpid(child, 0)
    return [(int(number), *rest) for number, *rest in lines], status


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--only", type=int, help="the number of the only input to try")
    parser.add_argument("--tensorflow", action="store_true", help="let TensorFlow read them, too")
    arguments = parser.parse_args()
    target = try_tensorflow if arguments.tensorflow else try_one
    numbers = range(arguments.first, arguments.first + arguments.inputs)
    if arguments.only is not None:
        numbers = range(arguments.only, arguments.only + 1)
    counts, bad = Counter(), []
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
        prefix = os.path.join(folder, "model")
        while numbers:
            outcomes, status = in_child(target, prefix, arguments.seed, numbers)
            counts.update(outcome for _, outcome, _ in outcomes)
            bad += [each for each in outcomes if each[2] != repr("")]
            numbers = numbers[len(outcomes) :]
            if numbers:
                counts["dead"] += 1
                bad.append((numbers[0], "dead", f"status {status}"))
                numbers = numbers[1:]
    print(f"seed {arguments.seed}: {sum(counts.values())} inputs")
    print(", ".join(f"{outcome}: {count}" for outcome, count in sorted(counts.items())))
    for number, outcome, details in bad[:3]:
        print(f"\n--seed {arguments.seed} --only {number}: {outcome}\n{details}")
    sys.exit(int(bool(bad)))


if __name__ == "__main__":
    main()
