"""Measurements of shares of the data, in files that are written whole and merged by name."""

from __future__ import annotations

from contextlib import suppress
import json
import os
from typing import Any, Dict, List, NamedTuple, Sequence
import zipfile
import zlib

import numpy as np

from bnguard.errors import BnguardError
from bnguard.reestimation.moments import ChannelMoments, Moments
from bnguard.runtime.files import open_regular

_FORMAT = 1
_HEADER = "header"


class Share(NamedTuple):
    """A share of the data: number `number` of `total`, from 1."""

    number: int
    total: int

    def span(self, batches: int) -> tuple[int, int]:
        """Return the first batch of the share, and the one to end before."""
        return (
            (self.number - 1) * batches // self.total,
            self.number * batches // self.total,
        )

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


class Partial(NamedTuple):
    """The measurement of one share."""

    share: Share
    moments: Moments


def read_share(text: str) -> Share:
    """Return the share that `I/N` names.

    Raises:
      BnguardError: it is not of this form, or I is not in 1 to N.
    """
    number, _, total = text.partition("/")
    if number.isdigit() and total.isdigit() and 1 <= int(number) <= int(total):
        return Share(int(number), int(total))
    raise BnguardError(
        f"--shard {text}: expected I/N, the number of this share, from 1 to N, and of all shares; "
        "such as 1/8."
    )


def write_partial(path: str, partial: Partial) -> None:
    """Write the measurement of a share; the file is there whole or not at all.

    Raises:
      BnguardError: the file cannot be written.
    """
    header = {
        "format": _FORMAT,
        "share": list(partial.share),
        "identity": partial.moments.identity,
        "channels": partial.moments.channels,
        "steps": partial.moments.steps,
    }
    arrays = partial.moments.values._asdict()
    staged = f"{path}.{os.getpid()}.incomplete"
    try:
        try:
            with open(staged, "wb") as file:
                np.savez(file, **{_HEADER: np.array(json.dumps(header)), **arrays})
                file.flush()
                os.fsync(file.fileno())
            os.replace(staged, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(staged)
    except OSError as error:
        raise BnguardError(f"{path}: cannot be written ({error.strerror}).") from error


def read_partial(path: str) -> Partial:
    """Return the measurement in a file.

    Raises:
      BnguardError: the file cannot be read, or is not one that `write_partial` wrote.
    """
    try:
        with open_regular(path) as file:
            zipfile.ZipFile(file).close()  # NumPy 1.16 prints a traceback where it is none
            file.seek(0)
            stored = np.load(file, allow_pickle=False)
            header = json.loads(str(stored[_HEADER]))
            if header["format"] != _FORMAT:
                raise BnguardError(
                    f"{path}: written by another version of bnguard; run its --shard again."
                )
            values = ChannelMoments(*(stored[name] for name in ChannelMoments._fields))
        share = read_share("{}/{}".format(*header["share"]))
        moments = Moments(header["identity"], header["channels"], values, int(header["steps"]))
        if {array.shape for array in values} != {(sum(moments.channels.values()),)}:
            raise ValueError("other channels than the header names")
    except OSError as error:
        raise BnguardError(
            f"{path}: cannot be read ({error.strerror or error}); expected the file of a share. "
            "Run its --shard again."
        ) from error
    except (
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise BnguardError(
            f"{path}: not the file of a share, or damaged; expected what --partial wrote. Run its "
            "--shard again."
        ) from error
    return Partial(share, moments)


def merge_partials(paths: Sequence[str], identity: Dict[str, str]) -> Moments:
    """Return the moments of all shares.

    Args:
      paths: the files, in any order.
      identity: what must have been measured.

    Raises:
      BnguardError: a share is missing, there twice, or of another job; the message names it.
    """
    found = [(path, read_partial(path)) for path in paths]
    first = found[0][1]
    expected = {**first.moments.identity, **identity}
    for path, partial in found:
        check_identity(path, partial.moments.identity, expected)
    by_number: Dict[int, List[str]] = {}
    for path, partial in found:
        if partial.share.total != first.share.total:
            raise BnguardError(
                f"{path}: share {partial.share}, and {paths[0]} is share {first.share}; expected "
                "shares of one job."
            )
        by_number.setdefault(partial.share.number, []).append(path)
    for number, files in sorted(by_number.items()):
        if len(files) > 1:
            raise BnguardError(
                f"{' and '.join(files)}: both are share {number}/{first.share.total}; expected "
                "each share once."
            )
    missing = [n for n in range(1, first.share.total + 1) if n not in by_number]
    if missing:
        names = ", ".join(f"{number}/{first.share.total}" for number in missing)
        raise BnguardError(f"--merge: the shares {names} are missing; run these shards, too.")
    in_order = [partial.moments for _, partial in sorted(found, key=lambda item: item[1].share)]
    return in_order[0].merge(*in_order[1:])


def check_identity(path: str, found: Dict[str, Any], expected: Dict[str, str]) -> None:
    """Check that what was measured is what is expected, key by key.

    Raises:
      BnguardError: it is not; the message names the path and the key.
    """
    for key, value in sorted(expected.items()):
        if found.get(key) != value:
            raise BnguardError(
                f"{path}: measured with another {key} ({found.get(key, 'none')}; expected "
                f"{value}). Measure all shares with the same command."
            )
