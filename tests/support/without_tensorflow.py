"""`bnguard ...` where there is no TensorFlow to import.

A file, for `python -c` looks into the current folder, and where that is gone numpy does not load on
CPython 3.13.0: "SystemError: error return without exception set".
"""

import sys

from bnguard.cli import main

if __name__ == "__main__":
    sys.modules["tensorflow"] = None
    main()
