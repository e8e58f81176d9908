"""An unexpected exception in any command is one line and exit status 2, never 1."""

import errno
import sys

from click.testing import CliRunner
import pytest
from support.commands import bnguard

from bnguard.cli import commands

COMMANDS = {
    "audit": ["graph.pb"],
    "compare": ["two_branch_cond"],
    "diff": ["before", "after"],
    "explain": ["BN101"],
    "fixed": ["two_branch_cond"],
    "list": [],
    "reestimate": ["model", "--steps", "1"],
    "repro": ["two_branch_cond"],
    "run": ["program.py"],
    "stats": ["model"],
}


class SurprisingError(Exception):
    pass


@pytest.fixture
def broken(monkeypatch):
    """Run `bnguard NAME ...` with a command whose body raises an error."""

    def run(name, error):
        def fail(**parameters):
            raise error

        monkeypatch.setattr(commands.cli.get_command(None, name), "callback", fail)
        return CliRunner().invoke(commands.cli, [name, *COMMANDS[name]])

    return run


def test_these_are_all_commands():
    assert commands.cli.list_commands(None) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unexpected_error_is_one_line_and_exit_2(broken, monkeypatch, name):
    monkeypatch.delenv("BNGUARD_TRACEBACK", raising=False)
    result = broken(name, SurprisingError("a surprise\nof two lines"))
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    (line,) = result.output.splitlines()
    assert line.startswith("Error: bnguard failed unexpectedly (SurprisingError: a surprise); set ")
    assert "BNGUARD_TRACEBACK=1" in line


@pytest.mark.parametrize("name", COMMANDS)
def test_the_traceback_is_shown_on_request(broken, monkeypatch, name):
    monkeypatch.setenv("BNGUARD_TRACEBACK", "1")
    result = broken(name, SurprisingError("a surprise"))
    assert result.exit_code == 2
    *shown, last = result.output.splitlines()
    assert shown[0] == "Traceback (most recent call last):"
    assert any(line.endswith(", in fail") for line in shown)
    assert last.startswith("Error: bnguard failed unexpectedly (SurprisingError: a surprise)")


def test_an_exit_is_not_an_unexpected_error(broken):
    assert broken("explain", SystemExit(3)).exit_code == 3


def test_an_interrupt_is_not_an_unexpected_error(broken):
    result = broken("explain", KeyboardInterrupt())
    assert "unexpectedly" not in result.output


@pytest.mark.parametrize(("code", "is_unexpected"), [(errno.EPIPE, False), (errno.EACCES, True)])
def test_a_broken_pipe_is_not_an_unexpected_error(broken, code, is_unexpected):
    result = broken("explain", OSError(code, "of a stream"))
    assert ("unexpectedly" in result.output) == is_unexpected


def test_every_summary_in_the_help_is_that_of_its_command():
    """The help does not import the commands, so the group repeats their summaries."""
    listed = " ".join(CliRunner().invoke(commands.cli, ["--help"]).output.split())
    for name, subcommand in commands._SUBCOMMANDS.items():
        assert f" {name} {subcommand.summary}" in listed
        assert commands.cli.get_command(None, name).name == name


def test_the_help_imports_no_command():
    script = (
        "import sys; sys.argv = ['bnguard', '--help']; from bnguard.cli import main\n"
        "try: main()\n"
        "finally: print([name for name in sys.modules if name.startswith('bnguard.analysis')])"
    )
    process = bnguard(start=[sys.executable, "-c", script])
    assert process.stdout.decode().splitlines()[-1] == "[]"


def test_an_unexpected_error_of_the_real_command_is_exit_2():
    script = (
        "import sys; sys.argv = ['bnguard', 'explain']; from bnguard.cli import commands\n"
        "commands.cli.get_command(None, 'explain').callback = lambda code: 1 / 0\n"
        "commands.main()"
    )
    process = bnguard(start=[sys.executable, "-c", script], environment={"BNGUARD_TRACEBACK": ""})
    assert (process.returncode, process.stdout) == (2, b"")
    (line,) = process.stderr.decode().splitlines()
    assert line.startswith("Error: bnguard failed unexpectedly (ZeroDivisionError: division")
