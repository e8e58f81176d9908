"""Run `bnguard ...` without a TensorFlow to import.

This is a file because `python -c` looks into the current folder. If that was deleted, NumPy does
not load on CPython 3.13.0: "SystemError: error return without exception set".
"""

import sys

from bnguard.cli import main

if __name__ == "__main__":
    sys.modules["tensorflow"] = None
    main()
