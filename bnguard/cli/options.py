"""Make click options from the dataclass of an experiment's options."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any, Callable, Dict, List

import click

from bnguard.cli.types import TEXT
from bnguard.harness.run.options import BuildOptions, Options, flag

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


def experiment_options(command: Command) -> Command:
    """Add every option of an experiment to a command, in the order of the fields."""
    for spec in reversed(_fields()):
        command = _option(spec)(command)
    return command


def make_options(values: Dict[str, Any]) -> Options:
    """Make the options from a command's parameters; other parameters are left out.

    Raises:
      BnguardError: a value is out of its range.
    """
    given = {spec.name: values[spec.name] for spec in _fields()}
    build = BuildOptions(**{spec.name: given.pop(spec.name) for spec in fields(BuildOptions)})
    return Options(build=build, **given)


def _fields() -> List[Field[Any]]:
    return [*(spec for spec in fields(Options) if spec.name != "build"), *fields(BuildOptions)]


def _option(spec: Field[Any]) -> Decorator:
    metadata = spec.metadata
    extra: Dict[str, Any] = {"help": metadata["help"], "default": spec.default}
    if "flag" in metadata:
        extra.update(is_flag=True, default=False, callback=lambda ctx, param, given: not given)
        return click.option(flag(spec), spec.name, **extra)
    if "minimum" in metadata:
        extra["type"] = click.IntRange(metadata["minimum"], metadata["maximum"])
    elif "choices" in metadata:
        extra["type"] = click.Choice(metadata["choices"])
    else:
        extra.update(type=TEXT, metavar=metadata["metavar"])
    return click.option(flag(spec), spec.name, show_default=spec.default is not None, **extra)
