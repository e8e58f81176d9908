"""Check that the packages which a command needs are installed."""

from __future__ import annotations

import importlib.util
from typing import Sequence

from bnguard.errors import BnguardError

_NAMES = {
    "tensorflow": "TensorFlow (1.15 to 2.21)",
    "numpy": "NumPy",
    "scipy": "SciPy",
    "matplotlib": "Matplotlib",
}


def require(packages: Sequence[str], extra: str) -> None:
    """Check that packages are installed, without importing them.

    Args:
      packages: their import names.
      extra: the extra of bnguard that installs them.

    Raises:
      BnguardError: some are missing; the message says which, and how to install them.
    """
    missing = [
        _NAMES.get(package, package)
        for package in packages
        if importlib.util.find_spec(package) is None
    ]
    if missing:
        names = " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]]))
        verb, pronoun = ("is", "it") if len(missing) == 1 else ("are", "them")
        raise BnguardError(
            f"{names} {verb} not installed, and this needs {pronoun}. Install {pronoun} with: "
            f"pip install 'bnguard[{extra}]'"
        )
