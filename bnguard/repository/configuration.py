"""What a configuration file says of an audit, checked, and the options that follow for a path."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
import os
from typing import Any, Iterable, Mapping, NamedTuple, Optional, Sequence, Tuple

from bnguard.analysis.api import AuditOptions
from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.errors import AuditError
from bnguard.analysis.formatters import FORMATS
from bnguard.analysis.frontend.loader import graph_file
from bnguard.analysis.rules import choose
from bnguard.repository import option_texts
from bnguard.repository.configuration_files import RawConfiguration, nearest, read, shown
from bnguard.repository.errors import RepositoryError
from bnguard.repository.globs import matches


class Exclusion(NamedTuple):
    """A pattern of paths that are not audited, and the folder that it is relative to."""

    pattern: str
    root: str


@dataclass(frozen=True)
class PathConfiguration:
    """What a file says of the graphs whose paths match a pattern; empty where it says nothing."""

    pattern: str
    fetches: Tuple[str, ...] = ()
    feeds: Optional[Mapping[str, StaticValue]] = None
    train_op: Tuple[str, ...] = ()
    checkpoint: Optional[str] = None
    ignore: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Configuration:
    """What a file says of an audit; paths and patterns in it are relative to its folder.

    Attributes:
      file: the path of the file, relative to the current folder; empty if there is none.
      root: the folder of the file.
      exclude: what is not audited.
      select, ignore: codes of rules, or prefixes of codes, as in AuditOptions.
      baseline: the path of the baseline.
      format: one of FORMATS.
      paths: what holds for some graphs, in the order of the file.
    """

    file: str = ""
    root: str = field(default_factory=os.getcwd)
    exclude: Tuple[Exclusion, ...] = ()
    select: Tuple[str, ...] = ()
    ignore: Tuple[str, ...] = ()
    baseline: Optional[str] = None
    format: Optional[str] = None
    paths: Tuple[PathConfiguration, ...] = ()

    def excludes(self, path: str) -> bool:
        """Return whether a path is not audited."""
        return any(matches(pattern, path, root) for pattern, root in self.exclude)

    def with_excluded(self, patterns: Sequence[str]) -> Configuration:
        """Return the configuration with further exclusions, relative to the current folder."""
        more = tuple(Exclusion(pattern, os.getcwd()) for pattern in patterns)
        return replace(self, exclude=self.exclude + more)

    def options_for(self, path: str, given: AuditOptions) -> AuditOptions:
        """Return the options for a graph file, or for a SavedModel by its directory.

        What is given on the command line replaces what the file says, option by option. Of several
        patterns that match, the last one that says something of an option counts; the rules that
        each ignores add up.
        """
        options = AuditOptions(select=self.select, ignore=self.ignore)
        ignore: Tuple[str, ...] = ()
        file = graph_file(path)
        for part in self.paths:
            if matches(part.pattern, file, self.root):
                options = replace(
                    options,
                    fetches=part.fetches or options.fetches,
                    feeds=options.feeds if part.feeds is None else part.feeds,
                    train_op=part.train_op or options.train_op,
                    checkpoint=part.checkpoint or options.checkpoint,
                )
                ignore += part.ignore
        options = replace(options, **{key: value for key, value in vars(given).items() if value})
        return replace(options, ignore=options.ignore + ignore)


def load_configuration(path: Optional[str]) -> Configuration:
    """Return what a file configures, or the nearest file from the current folder upwards.

    Args:
      path: the path of the file; None to look for one.

    Raises:
      RepositoryError: the file cannot be read, configures nothing, or has a key or a value that
        there is not.
    """
    raw = nearest(os.curdir) if path is None else read(path)
    if raw is not None:
        return _checked(raw)
    if path is None:
        return Configuration()
    raise RepositoryError(
        f"{path}: configures nothing; expected the table [tool.bnguard], or the section [bnguard]"
    )


def _checked(raw: RawConfiguration) -> Configuration:
    file = shown(raw.file)
    root = os.path.dirname(os.path.abspath(raw.file))
    table = _Table(file, raw.where, root, raw.values)
    table.check_keys(("exclude", "select", "ignore", "baseline", "format", "paths"))
    return Configuration(
        file,
        root,
        exclude=tuple(Exclusion(pattern, root) for pattern in table.texts("exclude")),
        select=table.codes("select"),
        ignore=table.codes("ignore"),
        baseline=table.path("baseline"),
        format=table.choice("format", FORMATS),
        paths=tuple(_for_path(*part) for part in table.tables("paths")),
    )


def _for_path(pattern: str, table: _Table) -> PathConfiguration:
    table.check_keys(("fetch", "feed", "train-op", "checkpoint", "ignore"))
    return PathConfiguration(
        pattern,
        fetches=table.texts("fetch"),
        feeds=option_texts.feeds(table.texts("feed")),
        train_op=table.texts("train-op"),
        checkpoint=table.path("checkpoint"),
        ignore=table.codes("ignore"),
    )


class _Table:
    """A table of a configuration file, whose values are checked as they are asked for."""

    def __init__(self, file: str, name: str, root: str, values: Any) -> None:
        self._file = file
        self._name = name  # empty for a whole file
        self._root = root
        self._values = values
        if not isinstance(values, Mapping):
            raise self._error(f"{values!r}; expected a table")

    def check_keys(self, known: Iterable[str]) -> None:
        keys = list(known)
        for key in self._values:
            if key not in keys:
                from difflib import get_close_matches

                close = get_close_matches(key, keys, 1)
                advice = f"did you mean {close[0]!r}? The" if close else "the"
                raise self._error(f"unknown key {key!r}; {advice} keys are {', '.join(keys)}")

    def texts(self, key: str) -> Tuple[str, ...]:
        """Return the texts of a list, or of a text alone."""
        value = self._values.get(key, [])
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(one, str) and one for one in values):
            raise self._wrong(key, "a text, or a list of texts, none empty")
        return tuple(values)

    def text(self, key: str) -> Optional[str]:
        if key not in self._values:
            return None
        value = self._values[key]
        if not isinstance(value, str) or not value:
            raise self._wrong(key, "a text that is not empty")
        return value

    def path(self, key: str) -> Optional[str]:
        """Return a path that works in the current folder."""
        text = self.text(key)
        return None if text is None else shown(os.path.join(self._root, text))

    def choice(self, key: str, choices: Iterable[str]) -> Optional[str]:
        text = self.text(key)
        if text is not None and text not in choices:
            raise self._wrong(key, f"one of {', '.join(choices)}")
        return text

    def codes(self, key: str) -> Tuple[str, ...]:
        codes = option_texts.codes(self.texts(key))
        try:
            choose(codes)
        except AuditError as error:
            raise self._error(f"{key}: {error}") from error
        return codes

    def tables(self, key: str) -> Iterable[Tuple[str, _Table]]:
        """Yield the name and the contents of each table in a table."""
        parts = self._inner(key, self._values.get(key, {}))
        for name, values in parts._values.items():
            if not name.strip("./"):
                raise self._error(
                    f"{key} has the pattern {name!r}; expected one such as 'models/*'"
                )
            yield name, self._inner(f"{key}.{name!r}", values)

    def _inner(self, name: str, values: Any) -> _Table:
        return _Table(self._file, f"{self._name} {name}".strip(), self._root, values)

    def _wrong(self, key: str, expected: str) -> RepositoryError:
        return self._error(f"{key} is {self._values[key]!r}; expected {expected}")

    def _error(self, problem: str) -> RepositoryError:
        place = f"{self._file}: {self._name}" if self._name else self._file
        return RepositoryError(f"{place}: {problem}")
