"""Name the op that moves the statistics, from the file alone.

`bnguard.audit` is both this package and the function that it is about: calling the package is
calling `bnguard.audit.api.audit`.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from bnguard.audit import api
from bnguard.audit.errors import AuditError
from bnguard.audit.examination import Question, examine
from bnguard.audit.finding import Assumed, Finding, Op, Report
from bnguard.audit.loading import load
from bnguard.audit.model import Model, understand

__all__ = [
    "Assumed",
    "AuditError",
    "Finding",
    "Model",
    "Op",
    "Question",
    "Report",
    "examine",
    "load",
    "understand",
]


class _Callable(types.ModuleType):
    """A module that is a function.

    The import system keeps one object for each module, so that this holds however, and in
    whatever order, it is imported.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Report:
        return api.audit(*args, **kwargs)

    @property
    def audit(self) -> _Callable:
        """The same again, for `from bnguard.audit import audit`."""
        return self


_Callable.__call__.__doc__ = api.audit.__doc__
sys.modules[__name__].__class__ = _Callable
