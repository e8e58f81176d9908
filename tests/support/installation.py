"""What an installation of this repository needs, and how to install it without a registry."""

import os
import shutil
import sys

from support.paths import ROOT

_NAMES = ("bnguard", "repro", "fixed", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def copy_repository(folder, *more):
    """Copy what is installed, and more files, to a folder; pip builds in the folder it is given."""
    for name in (*_NAMES, *more):
        path = os.path.join(ROOT, name)
        if os.path.isdir(path):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, os.path.join(str(folder), name), ignore=ignored)
        else:
            shutil.copy(path, str(folder))


def offline():
    """Return an environment in which pip takes what is installed here, and asks no registry.

    The build backend and the dependencies are on PYTHONPATH.
    """
    packages = [path for path in sys.path if os.path.basename(path) == "site-packages"]
    return {
        **os.environ,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_COMPILE": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as the value of --build-isolation
        "PYTHONPATH": os.pathsep.join(packages),
    }
