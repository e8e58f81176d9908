"""Random healthy programs: nothing is found, and nothing is assumed wrongly.

The default run draws few; BNGUARD_PROGRAMS=300 draws more.
"""

import os
from random import Random

import pytest
from support.analysis.healthy_programs import HealthyProgram

import bnguard
from bnguard.analysis.findings import defects

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("BNGUARD_PROGRAMS", "8"))


@pytest.mark.parametrize("seed", range(COUNT))
def test_nothing_is_found_and_all_assumptions_are_right(seed):
    program = HealthyProgram(Random(seed))
    report = bnguard.audit(program.meta)
    assert [str(finding) for finding in defects(report.findings)] == [], program.description
    assert set(report.assumed.train_ops) == program.train_ops, program.description
    assert report.assumed.fetches, program.description
    assert set(report.assumed.fetches) <= program.outputs, program.description
    assert report.limits == ()
