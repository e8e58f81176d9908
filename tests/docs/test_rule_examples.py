"""The examples on the rules' pages build what their rule finds, and then what it does not find."""

import json
import os

import pytest
from support import forked
from support.docs.blocks import blocks

from bnguard.analysis.rules import RULES

pytestmark = pytest.mark.slow

EXAMPLES = {rule.code: len(blocks(f"docs/rules/{rule.code}.md")) for rule in RULES}


def judge_all(target):
    """Write the rules that find each example, as JSON; for a process of its own."""
    from support.docs import rule_examples

    found = {}
    for code, count in EXAMPLES.items():
        found[code] = [sorted(rule_examples.judge(code, number)) for number in range(count)]
    with open(target, "w", encoding="utf-8") as file:
        json.dump(found, file)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    target = os.path.join(str(folder), "found.json")
    status, _, errors = forked.run(folder, target, function=judge_all)
    assert status == 0, errors
    with open(target, encoding="utf-8") as file:
        return json.load(file)


@pytest.mark.parametrize("code", EXAMPLES)
def test_a_rule_finds_its_example_and_not_what_to_use_instead(code, found):
    wrong, *right = found[code]
    assert code in wrong
    assert right
    for codes in right:
        assert code not in codes
