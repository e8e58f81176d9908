"""What a run's flags may be: as the command line takes them, and as a point holds them."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Tuple, Union


class Between(NamedTuple):
    """An integer that is neither smaller nor larger."""

    smallest: int
    largest: int


_MANY = 2**31 - 1  # of what NumPy and TensorFlow count, in whatever integer they do

KINDS: Dict[str, Union[Between, Tuple[str, ...]]] = {
    "train_steps": Between(1, _MANY),
    "infer_steps": Between(1, _MANY),
    "batch_size": Between(1, _MANY),
    "seed": Between(0, 2**32 - 1),
    "fused": ("auto", "yes", "no"),
    "variables": ("ref", "resource"),
    "control_flow": ("v1", "v2"),
    "checkpoint_dir": (),
    "save_every": Between(0, _MANY),
}
"""Name to a range, to choices, or to none of these: any text."""


def check(flags: Dict[str, Any]) -> None:
    """Check that these are all the flags of a run.

    Raises:
      ValueError: one is missing, is unknown, or has another type or value than it may have.
    """
    if flags.keys() != KINDS.keys():
        raise ValueError(f"its flags are {', '.join(flags) or 'none'}")
    for name, value in flags.items():
        if not _may_be(value, KINDS[name]):
            raise ValueError(f"its {name} is {value!r}")


def _may_be(value: Any, kind: Union[Between, Tuple[str, ...]]) -> bool:
    if isinstance(kind, Between):
        return type(value) is int and kind.smallest <= value <= kind.largest
    return isinstance(value, str) and (value in kind if kind else value != "")
