"""The console that tables are printed to."""

from __future__ import annotations

import os

from rich.console import Console

from bnguard.runtime.columns import PIPED

_NARROWEST = 72  # columns


class _Console(Console):
    """Leaves a reader that has gone to the command, as of any other output."""

    def on_broken_pipe(self) -> None:
        raise  # the error that is being handled


def console() -> Console:
    """Return a console for stdout.

    It is as wide as COLUMNS or the terminal says, and 100 columns wide for a file or a pipe. It is
    never narrower than the name of a case needs.
    """
    out = _Console(markup=False, emoji=False)  # cases contain brackets and colons of their own
    is_known = out.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    out.width = max(out.width if is_known else PIPED, _NARROWEST)
    return out
