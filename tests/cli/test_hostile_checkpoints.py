"""`stats`, `diff` and `audit` on files that are none, names that forge, and very many variables."""

import os
import signal
import sys

from click.testing import CliRunner
import numpy as np
import pytest
from support.analysis.graph_defs import message_of
from support.checkpoints import handmade_checkpoints as handmade
from support.checkpoints.mutated_checkpoints import files_of, read_all, write

from bnguard.cli import commands
from bnguard.runtime.tables import MOST_ROWS
from bnguard.statistics.difference import compare
from bnguard.statistics.running_statistics import RunningStatistics

DATA = np.array([1, 2, 3, 4], np.float32).tobytes()
SECONDS = 60  # that nothing here takes, unless it waits for ever
MUTATED = int(os.environ.get("BNGUARD_FILES", "300"))


def bnguard(*args, columns=2000):
    environment = {"COLUMNS": str(columns)}
    return CliRunner().invoke(commands.cli, list(map(str, args)), env=environment)


def checkpoint(prefix, *keys, **fields):
    return handmade.write(prefix, {key: handmade.entry(DATA, **fields) for key in keys}, DATA)


def replaced(path, kind):
    """Put a pipe or a device in the place of a file."""
    if os.path.exists(path):
        os.remove(path)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        os.symlink("/dev/zero", path)


@pytest.fixture
def saved(tmp_path):
    (tmp_path / "run").mkdir()
    prefix = checkpoint(tmp_path / "run" / "model", b"bn/moving_mean")
    (tmp_path / "run" / "checkpoint").write_text('model_checkpoint_path: "model"\n')
    graph = message_of([("a", "Const"), ("b", "Identity", "a")])
    (tmp_path / "run" / "graph.pb").write_bytes(graph.SerializeToString())
    return prefix


@pytest.fixture
def alarm():
    """End a test that waits for ever."""

    def ring(*_):
        raise TimeoutError(f"it took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize(
    ("name", "args", "status"),
    [
        ("model.index", ["stats", "{prefix}"], 2),
        ("model.index", ["audit", "{folder}/graph.pb", "--checkpoint", "{prefix}"], 2),
        ("model.data-00000-of-00001", ["stats", "{prefix}"], 2),
        ("model.data-00000-of-00001", ["diff", "{prefix}", "{prefix}"], 2),
        ("checkpoint", ["stats", "{folder}"], 2),
        ("model.meta", ["stats", "{prefix}"], 0),
        ("x.pb", ["audit", "{folder}"], 0),
        ("graph.debug", ["audit", "{folder}/graph.pb"], 0),
        ("saved_model.pb", ["audit", "{folder}"], 2),
        ("saved_model.pbtxt", ["audit", "{folder}"], 2),
    ],
)
def test_what_is_no_file_is_not_waited_for(saved, kind, name, args, status, alarm):
    folder = os.path.dirname(saved)
    replaced(os.path.join(folder, name), kind)
    result = bnguard(*(each.format(prefix=saved, folder=folder) for each in args))
    assert result.exit_code == status, result.output
    lines = result.output.splitlines()
    if status == 2:
        assert len(lines) == 1
        assert f"{kind}, not a" in lines[0]
    if name == "x.pb":
        assert f"Skipped 1 file of other kinds: {kind} (1)" in lines


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("option", ["--data", "--merge", "--meta"])
def test_reestimate_does_not_wait_either(saved, kind, option, alarm):
    """Its graph, its data and its shares are regular files."""
    from bnguard.errors import BnguardError
    from bnguard.graphs import read_meta_graph
    from bnguard.reestimation.arrays import ArrayFile
    from bnguard.reestimation.partial_files import read_partial

    path = os.path.join(os.path.dirname(saved), "given")
    replaced(path, kind)
    read = {"--data": ArrayFile, "--merge": read_partial, "--meta": read_meta_graph}[option]
    with pytest.raises(BnguardError, match=f"it is a {kind}, not a regular file"):
        read(path)


@pytest.mark.parametrize(
    "forged",
    [
        "bn/x | [4] | 0 | 0 | 0 | ok |\n| bn/moving_mean",
        "bn\r\x0b\x0c\x1c\x85\u2028\u2029/moving_mean",
        "bn\x1b[2J\x1b]0;title\x07/moving_mean",
        "\u202egnivom\u2066/moving_mean",
        "a | [4] | 1 | 1 | 1 | ok | /moving_mean",
    ],
)
def test_a_name_cannot_look_like_a_row_or_command_a_terminal(tmp_path, forged):
    one = checkpoint(tmp_path / "one", forged.encode())
    other = {forged.encode(): handmade.entry(DATA[::-1])}
    two = handmade.write(tmp_path / "two", other, DATA[::-1])
    for result, columns in ((bnguard("stats", one), 6), (bnguard("diff", one, two), 4)):
        lines = result.output.splitlines()
        assert all(line.isprintable() for line in lines)
        rows = [line for line in lines if line.startswith("| ")]
        assert len(rows) == 2  # the headings, and the variable
        assert [row.replace("\\|", "").count("|") for row in rows] == [columns + 1] * 2
    folded = bnguard("stats", one, columns=100).output.replace("\\|", "").splitlines()
    cells = [line.strip("|").split("|") for line in folded if line.startswith("| ")]
    assert sum(all(map(str.strip, row)) for row in cells) == 2  # the others have a part of a name


def test_a_very_long_name_is_cut(tmp_path):
    name = b"x" * 100_000 + b"/moving_mean"
    result = bnguard("stats", checkpoint(tmp_path / "model", name))
    assert "x... (100012 characters) |" in result.output
    assert max(map(len, result.output.splitlines())) < 1000


def test_a_statistic_of_another_type_is_said(tmp_path):
    prefix = checkpoint(tmp_path / "model", b"bn/moving_mean", sizes=(2,), dtype=8)
    output = bnguard("stats", prefix).output
    assert "complex64, not of a floating-point type, examined by its real parts" in output
    output = bnguard("stats", checkpoint(tmp_path / "model", b"bn/moving_mean", dtype=3)).output
    assert "int32, not of a floating-point type" in output
    biased = checkpoint(tmp_path / "model", b"bn/moving_mean/local_step", dtype=3)
    assert "floating" not in bnguard("stats", biased).output  # it counts updates


def very_many(prefix, count, changed=0):
    """A checkpoint of as many statistics, some of them with other values."""
    data = DATA + DATA[::-1]
    entries = {
        b"net/%06d/moving_mean" % number: handmade.entry(data[first : first + 16], offset=first)
        for number in range(count)
        for first in [16 if number < changed else 0]
    }
    return handmade.write(prefix, entries, data)


def test_a_long_table_is_cut_with_a_count(tmp_path):
    one = very_many(tmp_path / "one", MOST_ROWS + 7)
    two = very_many(tmp_path / "two", MOST_ROWS + 7, changed=MOST_ROWS + 3)
    stats, diff = bnguard("stats", one), bnguard("diff", one, two)
    for result, more in ((stats, 7), (diff, 3)):
        lines = result.output.splitlines()
        assert sum(line.startswith("| net/") for line in lines) == MOST_ROWS
        assert f"and {more} more rows; --json and to_dict() have all of them" in lines
    assert "4 of 1007 common variables are bit-identical" in diff.output
    assert bnguard("stats", one, "--json").output.count('"name"') == MOST_ROWS + 7


def test_the_work_grows_with_the_number_of_variables_and_not_with_its_square():
    """Four times as many variables took 16 times the calls; now about four times as many."""

    def calls(count):
        values = {f"{number}/moving_mean/biased": np.zeros(2) for number in range(count)}
        before, after = (RunningStatistics("there", values) for _ in range(2))
        events = []
        sys.setprofile(lambda frame, event, argument: events.append(event))
        try:
            compare(before, after)
            str(before)
        finally:
            sys.setprofile(None)
        return len(events)

    assert calls(800) < 8 * calls(200)


def test_mutated_checkpoints_are_read_or_refused(tmp_path):
    """BNGUARD_FILES tries so many; tools/fuzz/checkpoints.py lets TensorFlow read them, too."""
    from random import Random

    (tmp_path / "one").mkdir()
    prefix = str(tmp_path / "one" / "model")
    read = 0
    for number in range(MUTATED):
        write(prefix, files_of(Random(number).randrange))
        read += read_all(prefix) is not None
    assert MUTATED / 20 < read < MUTATED / 2  # or it would test nothing
