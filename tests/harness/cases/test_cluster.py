"""The cluster of this machine; tests/guard/test_cluster.py runs one."""

import shutil
import sys

import pytest

from bnguard.harness.cases import cluster
from bnguard.harness.cases.errors import UnavailableError


def test_every_job_has_a_loopback_port_of_its_own():
    addresses = cluster.spec()
    assert sorted(addresses) == ["evaluator", "ps", "trainer"]
    hosts, ports = zip(*(address.split(":") for (address,) in addresses.values()))
    assert set(hosts) == {"127.0.0.1"}
    assert len(set(ports)) == 3


def test_a_server_that_does_not_come_up_is_reported(monkeypatch):
    addresses = cluster.spec()
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(UnavailableError) as caught:
        cluster.serve_elsewhere(addresses, "ps")
    for fragment in (addresses["ps"][0], "the ps job", "does not start; expected", "no_proxy"):
        assert fragment in str(caught.value)
