"""`bnguard ...` in this process."""

from click.testing import CliRunner
import pytest
from support.source_case import ROOT

from bnguard.cli import commands


@pytest.fixture
def bnguard(tmp_path, monkeypatch):
    """Run `bnguard ...` with a checkpoint folder of its own."""
    monkeypatch.chdir(ROOT)

    def run(*args):
        runs = {"repro", "fixed", "compare"} & set(args)
        folder = ["--checkpoint-dir", str(tmp_path)] if runs else []
        return CliRunner().invoke(commands.cli, [*args, *folder])

    return run
