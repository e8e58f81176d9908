"""The types of option values."""

from __future__ import annotations

from typing import Any

import click


class _Text(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic from click 8.3 on
    """Text that is not empty, so that `--restore "$UNSET"` is an error and not the default."""

    name = "text"

    def convert(self, value: str, param: Any, ctx: Any) -> str:
        return value or self.fail("it is empty", param, ctx)


TEXT = _Text()
