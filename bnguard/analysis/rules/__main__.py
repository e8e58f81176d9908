"""Write the pages of the rules: `python -m bnguard.analysis.rules docs/rules`."""

from __future__ import annotations

import os
import sys

from bnguard.analysis.rules import RULES, page

if __name__ == "__main__":
    (folder,) = sys.argv[1:]
    for rule in RULES:
        with open(os.path.join(folder, f"{rule.code}.md"), "w", encoding="utf-8") as file:
            file.write(page(rule))
