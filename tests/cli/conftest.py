"""`bnguard ...` in this process."""

from bnguard import cli
from click.testing import CliRunner
import pytest
from sources_case import ROOT


@pytest.fixture
def bnguard(tmp_path, monkeypatch):
    """Run `bnguard ...` with a checkpoint folder of its own."""
    monkeypatch.chdir(ROOT)

    def run(*args):
        runs = {"repro", "fixed", "compare"} & set(args)
        folder = ["--checkpoint-dir", str(tmp_path)] if runs else []
        return CliRunner().invoke(cli.cli, [*args, *folder])

    return run
