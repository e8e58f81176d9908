"""The rules of the audit that find a case."""

import re

from bnguard.harness.cases import catalogue
from bnguard.harness.cases.docstring import Docstring


def covering_rules(case):
    """Return the rules that the docstring of the case says will find it."""
    section = Docstring(catalogue.find(case, "repro")).sections["How to see it in your own program"]
    return set(re.findall(r"BN\d{3}", section))
