"""Where the options of `bnguard run` end: where those of Python would."""

import pytest

from bnguard.cli.run import run_command


@pytest.mark.parametrize(
    ("program", "module", "arguments"),
    [
        (["program.py"], None, ["program.py"]),
        (["--", "program.py"], None, ["program.py"]),
        (["-m", "package.train"], "package.train", []),
        (["-mpackage.train"], "package.train", []),
    ],
)
def test_what_follows_the_program_is_the_programs(program, module, arguments):
    rest = ["--", "-m", "--json", "x", "--"]
    own = ["--for", "3", "--stop", "--json=report.json"]
    params = run_command.make_context("run", [*own, *program, *rest]).params
    assert (params["module"], list(params["arguments"])) == (module, [*arguments, *rest])
    assert (params["steps"], params["stop"], params["json"]) == (3, True, "report.json")
