"""`bnguard ...`: parse, call, render, exit status."""

from bnguard.cli.commands import cli, main

__all__ = ["cli", "main"]
