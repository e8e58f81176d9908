"""Points on disk, from which a run goes on as if it had never stopped.

A point is `step-N.ckpt`, every variable after N training steps, and `step-N.json`: the rest of
the point, and the length and SHA-256 of every file that it needs. Among these is
`training.jsonl`, which only grows: the runs of training so far, a line each. `step-N.json` is
written last, and gets its name when it is whole: where it is, the point is complete.
"""

from __future__ import annotations

from contextlib import suppress
import glob
import hashlib
import json
import os
import re
from typing import Any, Callable, Dict, List, Sequence

from bnguard.errors import BnguardError, first_line
from bnguard.harness.results.record import TrainingRun
from bnguard.harness.run import checkpoint_writer
from bnguard.harness.run.point import Point, as_json, as_line, from_json, from_line

KEPT = 2
"""How many points of a run stay on disk."""

_EXPECTED = "Give the folder of a run that came to its first save, CASE/SIDE/run-N"
_FORMAT = 2
_TRAINING = "training.jsonl"
_SIGNED = re.compile(rb'\{"sha256": "([0-9a-f]{64})", "point": (\{.*\})\}\n')


class Points:
    """Writes the points of one run into the run's folder."""

    def __init__(self, folder: str, save: Callable[[str], Any]) -> None:
        """`save` saves every variable under a prefix."""
        self._folder = folder
        self._save = save
        self._prefixes: List[str] = []
        self._logged = 0
        self._digest = hashlib.sha256()

    def add(self, point: Point) -> str:
        """Write a point, then delete those that are too many.

        Returns:
          The point's prefix.

        Raises:
          BnguardError: the folder cannot be written, or is full. The points before stay.
        """
        prefix = os.path.join(self._folder, f"step-{point.step}.ckpt")
        self._save(prefix)
        with checkpoint_writer.writing(self._folder):
            files = {
                os.path.basename(part): _measure(part) for part in checkpoint_writer.parts(prefix)
            }
            files[_TRAINING] = self._log(point.training)
            document = {"format": _FORMAT, **as_json(point), "files": files}
            checkpoint_writer.write(_sidecar(prefix), _sign(json.dumps(document)))
            self._prefixes.append(prefix)
            while len(self._prefixes) > KEPT:
                _delete(self._prefixes.pop(0))
        return prefix

    def _log(self, training: Sequence[TrainingRun]) -> Dict[str, Any]:
        lines = "".join(map(as_line, training[self._logged :])).encode()
        with open(os.path.join(self._folder, _TRAINING), "ab") as file:
            file.write(lines)
            checkpoint_writer.sync(file)
            length = file.tell()
        self._logged = len(training)
        self._digest.update(lines)
        return {"length": length, "sha256": self._digest.hexdigest()}


def find(path: str) -> Point:
    """The point at `path`: the last of a run's folder, or the one of this prefix.

    Every file of the point is checked against its digest.

    Raises:
      BnguardError: there is none, or it is damaged. The message names the last one in the
        folder that is intact.
    """
    prefix = _last(path) if os.path.isdir(path) else _prefix(path)
    try:
        return _read(prefix)
    except _DamagedError as damage:
        raise BnguardError(
            f"{prefix}: no run can go on from there: {damage}. {_instead(prefix)}"
        ) from damage


class _DamagedError(Exception):
    """What is wrong with a point."""


def _last(folder: str) -> str:
    prefixes = _complete(folder)
    if not prefixes:
        raise BnguardError(
            f"{folder}: no run can go on from there; expected step-N.json, which a run writes "
            f"with its checkpoint step-N.ckpt. {_EXPECTED}, or start another run."
        )
    return prefixes[-1]


def _prefix(path: str) -> str:
    return re.sub(r"\.(json|ckpt(\..*)?)$", "", path) + ".ckpt"


def _complete(folder: str) -> List[str]:
    """The prefixes of all complete points in a folder, the last one last."""
    sidecars = glob.glob(os.path.join(glob.escape(folder), "step-*.json"))
    return [_prefix(path) for path in sorted(sidecars, key=_step) if _step(path) >= 0]


def _step(sidecar: str) -> int:
    digits = os.path.basename(sidecar)[len("step-") : -len(".json")]
    return int(digits) if digits.isdecimal() else -1


def _read(prefix: str) -> Point:
    document = _read_signed(_sidecar(prefix))
    if document.get("format") != _FORMAT:
        raise _DamagedError(f"format {document.get('format')} is another bnguard's, not {_FORMAT}")
    try:
        return _read_all(document, prefix)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _DamagedError(
            f"{os.path.basename(_sidecar(prefix))} is none that a run writes ({first_line(error)})"
        ) from error


def _read_all(document: Dict[str, Any], prefix: str) -> Point:
    folder = os.path.dirname(prefix)
    contents = {
        name: _read_measured(os.path.join(folder, os.path.basename(name)), **measures)
        for name, measures in document["files"].items()
    }
    training = [from_line(line) for line in contents[_TRAINING].decode().splitlines()]
    point = from_json(document, training, prefix)
    if point.step != _step(_sidecar(prefix)):
        raise ValueError(f"it says step {point.step}")
    return point


def _read_signed(path: str) -> Dict[str, Any]:
    match = _SIGNED.fullmatch(_read_bytes(path))
    if match is None or hashlib.sha256(match.group(2)).hexdigest().encode() != match.group(1):
        raise _DamagedError(f"{os.path.basename(path)} is not as it was written")
    try:
        return json.loads(match.group(2).decode())
    except (ValueError, RecursionError) as error:
        raise _DamagedError(f"{os.path.basename(path)} is no JSON ({first_line(error)})") from error


def _read_measured(path: str, length: int, sha256: str) -> bytes:
    content = _read_bytes(path)[:length]
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _DamagedError(f"{os.path.basename(path)} is not as it was written")
    return content


def _read_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise _DamagedError(f"{os.path.basename(path)}: {error.strerror}") from error


def _instead(prefix: str) -> str:
    others = [one for one in _complete(os.path.dirname(prefix)) if one != prefix]
    for other in reversed(others):
        if _is_intact(other):
            return f"The last intact point of that run is another: --resume {other}"
    if not others:
        return f"{_EXPECTED}, or start another run."
    return (
        "No other point in that folder is intact; start another run, maybe from the variables of "
        "a point with --restore."
    )


def _is_intact(prefix: str) -> bool:
    try:
        _read(prefix)
    except _DamagedError:
        return False
    return True


def _measure(path: str) -> Dict[str, Any]:
    with open(path, "rb+") as file:
        content = file.read()
        checkpoint_writer.sync(file)
    return {"length": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _sign(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{{"sha256": "{digest}", "point": {text}}}\n'


def _sidecar(prefix: str) -> str:
    return prefix[: -len("ckpt")] + "json"


def _delete(prefix: str) -> None:
    # The sidecar first: where it is, the rest is too. What cannot be deleted does no harm.
    for path in (_sidecar(prefix), *checkpoint_writer.parts(prefix)):
        with suppress(OSError):
            os.remove(path)
