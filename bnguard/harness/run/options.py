"""The options of an experiment: each field's metadata makes the command line and the check."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any, Dict, Optional, Tuple

from bnguard.errors import BnguardError

_LARGEST = 2**31 - 1  # of the counts that NumPy and TensorFlow take, whatever their integer type


def _integer(default: int, minimum: int, text: str, maximum: int = _LARGEST) -> Any:
    return field(default=default, metadata={"help": text, "minimum": minimum, "maximum": maximum})


def _choice(default: str, choices: Tuple[str, ...], text: str) -> Any:
    return field(default=default, metadata={"help": text, "choices": choices})


def _path(default: Optional[str], metavar: str, text: str) -> Any:
    return field(default=default, metadata={"help": text, "metavar": metavar})


def _switched_off_by(flag: str, text: str) -> Any:
    return field(default=True, metadata={"help": text, "flag": flag})


class _Checked:
    """A dataclass that checks its fields against their metadata."""

    def __post_init__(self) -> None:
        for spec in fields(self):  # type: ignore[arg-type]
            _check(spec, getattr(self, spec.name))


@dataclass(frozen=True)
class BuildOptions(_Checked):
    """How to build a graph.

    Attributes:
      fused: `auto`, `yes` or `no`: the layer's `fused`.
      variables: `ref` or `resource`.
      control_flow: `v1` or `v2`: what `tf.cond` and `tf.while_loop` build.

    Raises:
      BnguardError: a value is not one of these.
    """

    fused: str = _choice("no", ("auto", "yes", "no"), "The layer's `fused` argument.")
    variables: str = _choice("ref", ("ref", "resource"), "The class of the variables.")
    control_flow: str = _choice("v1", ("v1", "v2"), "The control flow that tf.cond builds.")

    @property
    def fused_argument(self) -> Optional[bool]:
        """Return `fused` as layers take it: None, True or False."""
        values: Dict[str, Optional[bool]] = {"auto": None, "yes": True, "no": False}
        return values[self.fused]


@dataclass(frozen=True)
class Options(_Checked):
    """How to run an experiment; the defaults are the source's.

    Attributes:
      restore: the checkpoint to start from, the source's `load = 1`; None: initialize.
      train: False skips training, the source's `train = 0`.
      train_steps: number of training steps.
      infer_steps: number of single-row inferences in each pass.
      batch_size: rows in a training step.
      seed: seeds the one random stream of training batches and inference rows.
      checkpoint_dir: the folder in which each run creates a folder of its own.
      build: how to build the graph.

    Raises:
      BnguardError: a value has another type or is out of its range.
    """

    restore: Optional[str] = _path(None, "PATH", "Start from this checkpoint.")
    train: bool = _switched_off_by("--no-train", "Infer only.")
    train_steps: int = _integer(100, 1, "Training steps.")
    infer_steps: int = _integer(10, 1, "Single-row inferences in each session.")
    batch_size: int = _integer(4, 1, "Rows in a training step.")
    seed: int = _integer(1006, 0, "Seed of the data's random stream.", maximum=2**32 - 1)
    checkpoint_dir: str = _path(
        "checkpoints", "DIR", "Folder in which each run saves, in a folder of its own."
    )
    build: BuildOptions = field(default_factory=BuildOptions)


def flag(spec: Field[Any]) -> str:
    """Return the command line's name of a field, such as `--train-steps`."""
    return spec.metadata.get("flag") or f"--{spec.name.replace('_', '-')}"


def _check(spec: Field[Any], value: Any) -> None:
    expected = _unmet(spec, value)
    if expected:
        raise BnguardError(f"{flag(spec)}: got {value!r}; expected {expected}.")


def _unmet(spec: Field[Any], value: Any) -> str:
    """Return the expectation that the value does not meet; empty if it meets it."""
    metadata = spec.metadata
    if "choices" in metadata:
        allowed = metadata["choices"]
        return "" if value in allowed else f"one of {', '.join(allowed)}"
    if "minimum" in metadata:
        smallest, largest = metadata["minimum"], metadata["maximum"]
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if is_integer and smallest <= value <= largest:
            return ""
        return f"an integer from {smallest} to {largest}"
    if "metavar" in metadata:
        is_given = isinstance(value, str) and bool(value)
        return "" if is_given or value is spec.default else "a path that is not empty"
    if "flag" in metadata:
        return "" if isinstance(value, bool) else "True or False"
    return ""
