"""Findings: what their fingerprints depend on."""

from dataclasses import replace
import lzma
import os

import pytest
from support.analysis.reports import finding
from support.paths import TESTS

import bnguard
from bnguard.analysis.findings import NOTE, Location, Op, fetch_in_short, group_fingerprint
from bnguard.analysis.ir import protos

NETWORK = "resnet_v2_50-two_branch.meta.xz"


@pytest.mark.parametrize(
    ("fetch", "short"),
    [
        ("train", "train"),
        ("a:0, b:0, c with x:0=True, y:0=1", "a:0, b:0, c with x:0=True, y:0=1"),
        ("a, b, c, d with x:0=True", "a, b, c and 1 more with x:0=True"),
        ("a, b, c, d, e", "a, b, c and 2 more"),
        ("signature serve", "signature serve"),
    ],
)
def test_a_message_names_the_first_of_many_fetches(fetch, short):
    assert fetch_in_short(fetch) == short


class TestFingerprint:
    @pytest.mark.parametrize(
        "change",
        [
            {"fetch": "train_1"},
            {"path": (Op("train_1", "NoOp"),)},
            {"problem": "is never updated: train_1 runs none of the 3 update ops"},
            {"remedy": "Do something else"},
            {"location": Location("net.py", 1, "f", "y = f(x)")},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_it_stays(self, change):
        assert replace(finding(), **change).fingerprint == finding().fingerprint

    @pytest.mark.parametrize(
        "change",
        [
            {"rule": "BN102"},
            {"layer": "bn_1"},
            {"variable": "bn/moving_variance"},
            {"op": "bn/AssignSub_1"},
            {"severity": NOTE},
            {"certain": False},
            {"condition": "is_training:0 is True"},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_it_changes(self, change):
        assert replace(finding(), **change).fingerprint != finding().fingerprint

    def test_parts_are_not_run_together(self):
        first, second = finding(layer="a", variable="b"), finding(layer="", variable="ab")
        assert first.fingerprint != second.fingerprint

    def test_any_name_has_one(self):
        assert len(finding(op="\udcff\0").fingerprint) == 32

    def test_that_of_a_group_depends_on_its_first_member_by_name(self):
        first, second, third = (finding(layer=layer) for layer in "abc")
        assert group_fingerprint([second, first]) == group_fingerprint([first, third, second])
        assert group_fingerprint([second, first]) == first.fingerprint

    def test_the_order_of_the_nodes_does_not_matter(self, tmp_path):
        """On a network with findings of two rules."""
        with lzma.open(os.path.join(TESTS, "data", "networks", NETWORK)) as file:
            message = protos.message("MetaGraphDef").FromString(file.read())
        found = []
        for name in ("forwards", "backwards"):
            path = str(tmp_path / f"{name}.meta")
            with open(path, "wb") as file:
                file.write(message.SerializeToString())
            found.append({one.fingerprint for one in bnguard.audit(path).findings})
            nodes = list(message.graph_def.node)
            del message.graph_def.node[:]
            message.graph_def.node.extend(reversed(nodes))
        assert found[0] == found[1]
        assert len(found[0]) == 196
