"""Find the folder that contains `repro/` and `fixed/`."""

from __future__ import annotations

import os
import site
import sysconfig
from typing import List, Optional

from bnguard.errors import BnguardError
from bnguard.harness.results.terms import SIDES

_INSTALLED = os.path.join("share", "bnguard")  # as setup.cfg's data_files has it
_PACKAGE = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 2))


def cases_folder(given: Optional[str] = None) -> str:
    """Return the folder that contains `repro/` and `fixed/`.

    Args:
      given: the folder to use. By default the first of these that contains both: the current
        folder, the checkout that the package is imported from, and the folders in which pip
        installs a package's data files.

    Raises:
      BnguardError: the folder does not contain both; or none of the default ones does.
    """
    candidates = [given] if given is not None else [os.curdir, *_defaults()]
    for folder in candidates:
        if all(os.path.isdir(os.path.join(folder, side)) for side in SIDES):
            return folder
    if given is not None:
        raise BnguardError(
            f"{given}: contains no repro/ and fixed/; expected the folder of the cases, such as a "
            "checkout of bnguard's repository. Give that with --cases."
        )
    raise BnguardError(
        f"the cases are not installed: no repro/ and fixed/ in {', '.join(candidates)}. Install "
        "bnguard again with pip, run it in a checkout of its repository, or name the folder of "
        "the cases with --cases."
    )


def _defaults() -> List[str]:
    beside_package = os.path.dirname(_PACKAGE)  # a checkout; or the target of pip install --target
    user = site.getuserbase() if hasattr(site, "getuserbase") else ""
    prefixes = [sysconfig.get_path("data"), user, beside_package]
    return [beside_package, *(os.path.join(prefix, _INSTALLED) for prefix in prefixes if prefix)]
