"""Select variables by variable scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, TypeVar, Union

from bnguard.errors import BnguardError
from bnguard.runtime.streams import printable

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

Scope = Union[str, "tf.VariableScope"]
"""A variable scope or its name. It contains the variables below it."""

_Item = TypeVar("_Item")
_SHOWN = 8


class NoStatisticsError(BnguardError):
    """There are no running statistics, or none in the requested scope."""


def within(scope: Optional[Scope], items: Mapping[str, _Item], where: str) -> Dict[str, _Item]:
    """Return the items whose variable name is in the scope, sorted by name; at least one.

    Args:
      scope: a variable scope or its name; `a` contains `a/b` and `a` itself, but not `ab`. None
        and the empty name select everything.
      items: by variable name.
      where: the source of the names, for the error message.

    Raises:
      NoStatisticsError: no item is in the scope; the message lists the scopes that have some.
      BnguardError: the scope is neither a variable scope nor a name.
    """
    prefix = _name(scope)
    chosen = {name: items[name] for name in sorted(items) if _is_inside(name, prefix)}
    if not chosen:
        raise _nothing(prefix, items, where)
    return chosen


def _name(scope: Optional[Scope]) -> str:
    name = "" if scope is None else getattr(scope, "name", scope)
    if not isinstance(name, str):
        raise BnguardError(
            f"scope: got {scope!r}; expected a variable scope or its name, such as 'resnet/block1'."
        )
    return name.strip("/")


def _is_inside(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(prefix + "/")


def _nothing(prefix: str, items: Mapping[str, Any], where: str) -> NoStatisticsError:
    if not items:
        return NoStatisticsError(
            f"{where}: no running statistics found; expected variables that a batch "
            "normalization reads or a moving average writes, such as bn/moving_mean. Give a "
            "session or checkpoint of a model that has them."
        )
    scopes = sorted({printable(name.rpartition("/")[0] or name) for name in items})
    more = f" and {len(scopes) - _SHOWN} more" if len(scopes) > _SHOWN else ""
    return NoStatisticsError(
        f"{where}: no running statistics found in scope {prefix!r}; these scopes have some: "
        f"{', '.join(scopes[:_SHOWN])}{more}. Give one of them, or an enclosing scope."
    )
