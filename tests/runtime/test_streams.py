"""Output works on any stream, and hostile names are escaped."""

import json
import os
import pty
import re

import pytest
from support.commands import ROOT, START, bnguard, drifting, in_shell

from bnguard.harness.cases import catalogue
from bnguard.runtime.streams import printable

pytestmark = pytest.mark.slow

HOSTILE = "bn\x1b]0;owned\x07\x1b[31m\u202e\n[red]x[/]"
ESCAPED = "bn\\x1b]0;owned\\x07\\x1b[31m\\u202e\\n[red]x[/]"


@pytest.fixture
def graph_file(tmp_path):
    return drifting(tmp_path / "graph.pb")


def lines(process):
    return process.stdout.decode().splitlines()  # click writes UTF-8 where ASCII is set


def test_printable_leaves_text_as_it_is():
    assert printable("bn/moving_mean [1, 2] -> é 漢") == "bn/moving_mean [1, 2] -> é 漢"
    assert printable("a\r\n\t\x7f\x9b\u2028\udce9") == "a\\r\\n\\t\\x7f\\x9b\\u2028\\udce9"


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "koi8-r", "LANG": "ru_RU.KOI8-R"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_a_terminal_without_unicode_gets_escapes(tmp_path, environment):
    path = drifting(tmp_path / "a b é\n漢.pb")
    process = bnguard("audit", path, "--fetch", "bn/y", environment=environment)
    assert (process.returncode, process.stderr) == (1, b"")
    first, *others = lines(process)
    assert re.search(r"/a b \S+\\n\S+\.pb: ", first)
    assert any(line.startswith("BN101 statistics-written-at-inference") for line in others)


def test_tables_are_drawn_in_ascii_on_an_ascii_stream():
    process = bnguard("list", environment={"PYTHONIOENCODING": "ascii"})
    assert process.returncode == 0
    assert lines(process)[0].startswith("+----")


@pytest.mark.parametrize(
    ("redirection", "status"),
    [("<&-", 1), (">&-", 1), ("2>&-", 1), (">&- 2>&- <&-", 1), (">/dev/full", 2)],
)
def test_a_closed_stream_keeps_the_status_and_a_full_one_is_2(graph_file, redirection, status):
    process = in_shell(f'"$@" {redirection}', "audit", graph_file, "--fetch", "bn/y")
    assert process.returncode == status
    closed = ">&-" in redirection.split()
    assert (b"BN101" in process.stdout) == (status == 1 and not closed)
    error = b"Error: the output cannot be written (No space left on device)\n"
    assert process.stderr == (error if status == 2 else b"")


@pytest.mark.full_disk
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_disk_that_fills_up_during_output_is_exit_2(tmp_path, unbuffered):
    """The first kilobyte fits; unbuffered, Python would drop the rest without an error."""
    path = str(tmp_path / "output")
    line = f"ulimit -f 1; trap '' XFSZ; \"$@\" > {path}"
    # The limit must not truncate a file of bytecode, which Python would read later.
    environment = {"PYTHONUNBUFFERED": unbuffered, "PYTHONDONTWRITEBYTECODE": "1"}
    process = in_shell(line, "explain", "BN101", environment=environment)
    assert process.returncode == 2
    assert process.stderr == b"Error: the output cannot be written (File too large)\n"
    assert os.path.getsize(path) in (512, 1024)  # a block of a shell's


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_unbuffered_output_is_the_same(graph_file, unbuffered):
    environment = {"PYTHONUNBUFFERED": unbuffered, "PYTHONIOENCODING": "ascii"}
    process = bnguard("list", environment=environment)
    assert process.returncode == 0
    assert lines(process)[0].startswith("+----")
    environment["PYTHONIOENCODING"] = "koi8-r"
    mistake = bnguard("explain", "é", environment=environment)
    assert (mistake.returncode, mistake.stdout) == (2, b"")
    assert mistake.stderr.startswith(b"Error: no rule is called '\\xe9'")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_a_mistake_is_exit_2_even_without_stderr(redirection):
    process = in_shell(f'"$@" {redirection}', "explain", "nosuch")
    assert (process.returncode, process.stdout, process.stderr) == (2, b"", b"")


def test_a_closed_pipe_is_no_error(graph_file):
    process = in_shell('"$@" | true; "$@" | head -1', "audit", graph_file, "--fetch", "bn/y")
    assert process.stdout.startswith(graph_file.encode())
    assert process.stdout.count(b"\n") == 1
    assert process.stderr == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit", "GRAPH", "--fetch", "bn/y", "--format", "json"],
        ["explain", "BN101"],
        ["list"],
        ["--help"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_reader_that_has_gone_is_neither_success_nor_a_finding(graph_file, arguments):
    given = [graph_file if argument == "GRAPH" else argument for argument in arguments]
    reader, writer = os.pipe()
    os.close(reader)
    process = bnguard(*given, stdout=writer)
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("environment", "colored"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"COLUMNS": "20"}, True)],
    ids=str,
)
def test_colors_are_for_terminals_that_want_them(graph_file, environment, colored):
    status, shown = on_a_terminal(["audit", graph_file, "--fetch", "bn/y"], environment)
    assert (status, b"\x1b[" in shown) == (1, colored)
    assert b"BN101 statistics-written-at-inference" in shown


@pytest.mark.parametrize("environment", [{"COLUMNS": "20"}, {"TERM": "dumb", "NO_COLOR": "1"}])
def test_tables_on_a_narrow_or_dumb_terminal_have_whole_names(environment):
    status, shown = on_a_terminal(["list"], environment)
    assert (status, b"\x1b[3" in shown) == (0, False)
    for name in catalogue.names():
        assert name in shown.decode()


def on_a_terminal(arguments, environment):
    """Run `bnguard ...` on a pseudo-terminal of 80 columns; exit status and what it showed."""
    environment = {"PYTHONPATH": ROOT, "TERM": "xterm", "COLUMNS": "80", **environment}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.environ.pop("NO_COLOR", None)
        os.execvpe(START[0], [*START, *arguments], {**os.environ, **environment})
    shown = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # on Linux: the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(terminal)
    return os.waitpid(child, 0)[1] >> 8, shown


@pytest.mark.parametrize("form", ["text", "mermaid", "markdown", "json", "sarif"])
def test_escape_sequences_in_a_file_are_not_sent_to_the_terminal(tmp_path, form):
    path = drifting(tmp_path / "graph.pb", scope=HOSTILE)
    process = bnguard("audit", path, "--fetch", f"{HOSTILE}/y", "--format", form)
    assert (process.returncode, process.stderr) == (1, b"")
    assert all(32 <= byte < 127 or byte == 10 for byte in process.stdout)
    if form == "text":
        assert f"{ESCAPED}/moving_mean is written" in process.stdout.decode()
    if form == "json":
        (report,) = json.loads(process.stdout)["reports"]
        assert report["findings"][0]["variable"] == f"{HOSTILE}/moving_mean"


def test_a_mistake_is_one_line_whatever_it_names(tmp_path):
    for arguments in (["audit", str(tmp_path / HOSTILE)], ["explain", HOSTILE], ["repro", HOSTILE]):
        process = bnguard(*arguments)
        assert process.returncode == 2
        (error,) = process.stderr.decode().splitlines()
        assert "owned" in error
        assert error.isprintable()


def test_markup_in_a_docstring_is_text(tmp_path):
    for side in ("repro", "fixed"):
        (tmp_path / side).mkdir()
        text = '"""Title.\n\nSymptom\n    It is [red]not[/] [/nosuch] \\x1b[31m :smile:.\n"""\n'
        (tmp_path / side / "case.py").write_text(text)
    process = bnguard("--cases", str(tmp_path), "list")
    assert (process.returncode, process.stderr) == (0, b"")
    assert "It is [red]not[/] [/nosuch] \\x1b[31m :smile:." in process.stdout.decode()
