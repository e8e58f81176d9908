"""Find and read configuration files: bnguard.toml, pyproject.toml and setup.cfg."""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional

from bnguard.repository.errors import RepositoryError, reason

_SECTION = "bnguard"
_PATHS = "paths"
_MISTAKEN_SECTIONS = (f"tool:{_SECTION}", f"tool.{_SECTION}", f"{_SECTION}.")  # of setup.cfg


class RawConfiguration(NamedTuple):
    """What a file configures, not checked yet.

    Attributes:
      file: the path of the file.
      where: the table or section of the file, as messages show it; empty for a whole file.
      values: the value of each key; `paths` has a mapping for each pattern.
    """

    file: str
    where: str
    values: Mapping[str, Any]


def nearest(folder: str) -> Optional[RawConfiguration]:
    """Return what configures bnguard in a folder or the nearest one above; None if nothing does.

    The search ends at the root of a repository. In one folder bnguard.toml comes before
    pyproject.toml, and that before setup.cfg.

    Raises:
      RepositoryError: a file that mentions bnguard cannot be read.
    """
    folder = os.path.realpath(folder)
    while True:
        for name in _READERS:
            path = os.path.join(folder, name)
            raw = read(path) if os.path.isfile(path) and _mentions_bnguard(path) else None
            if raw is not None:
                return raw
        parent = os.path.dirname(folder)
        if parent == folder or os.path.exists(os.path.join(folder, ".git")):
            return None
        folder = parent


def read(path: str) -> Optional[RawConfiguration]:
    """Return what a file configures; None if it has no table or section for bnguard.

    The name tells the form: setup.cfg or another `.cfg` or `.ini` file, pyproject.toml, or another
    `.toml` file, which is all about bnguard.

    Raises:
      RepositoryError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
        return _reader(path)(path, text)
    except OSError as error:
        raise RepositoryError(
            f"{shown(path)}: cannot be read ({reason(error)}); give another file, or --no-config"
        ) from error
    except (RecursionError, ValueError) as error:  # as TOML's error and the error of an encoding
        raise RepositoryError(
            f"{shown(path)}: not valid ({reason(error)}); correct it, or give --no-config"
        ) from error


def shown(path: str) -> str:
    """Return a path relative to the current folder, if it can be."""
    try:
        return os.path.relpath(path)
    except ValueError:  # on another drive
        return path


def _reader(path: str) -> Callable[[str, str], Optional[RawConfiguration]]:
    name = os.path.basename(path)
    if name in _READERS:
        return _READERS[name]
    return _read_cfg if name.endswith((".cfg", ".ini")) else _read_whole_toml


def _mentions_bnguard(path: str) -> bool:
    """Return whether a file may be about bnguard; only then are errors in it ours to report."""
    if os.path.basename(path) == "bnguard.toml":
        return True
    try:
        with open(path, "rb") as file:
            return _SECTION.encode() in file.read()
    except OSError:
        return False


def _read_whole_toml(path: str, text: str) -> RawConfiguration:
    return RawConfiguration(path, "", _toml(text))


def _read_pyproject(path: str, text: str) -> Optional[RawConfiguration]:
    document = _toml(text)
    if _SECTION in document:
        raise ValueError(f"the table [{_SECTION}] is not read; call it [tool.{_SECTION}]")
    tools = document.get("tool")
    if not isinstance(tools, dict) or _SECTION not in tools:
        return None
    return RawConfiguration(path, f"[tool.{_SECTION}]", tools[_SECTION])


def _read_cfg(path: str, text: str) -> Optional[RawConfiguration]:
    """Read the section `bnguard`, and those called `bnguard:PATTERN`; lists have several lines."""
    import configparser

    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError(str(error)) from error
    for name in parser.sections():
        if name.startswith(_MISTAKEN_SECTIONS):
            raise ValueError(
                f"the section [{name}] is not read; call it [{_SECTION}], and those of patterns "
                f"[{_SECTION}:PATTERN]"
            )
    sections = {
        name: {key: _lines(value) for key, value in parser.items(name)}
        for name in parser.sections()
        if name == _SECTION or name.startswith(f"{_SECTION}:")
    }
    if not sections:
        return None
    values: Dict[str, Any] = sections.pop(_SECTION, {})
    patterns = {name.partition(":")[2].strip(): section for name, section in sections.items()}
    return RawConfiguration(
        path, f"[{_SECTION}]", {**values, **({_PATHS: patterns} if patterns else {})}
    )


def _lines(value: str) -> Any:
    lines = [line.strip() for line in value.splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else lines


def _toml(text: str) -> Dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


_READERS: Dict[str, Callable[[str, str], Optional[RawConfiguration]]] = {
    "bnguard.toml": _read_whole_toml,
    "pyproject.toml": _read_pyproject,
    "setup.cfg": _read_cfg,
}
"""How each file is read that is looked for, in the order of precedence."""
