"""The cluster of this machine; tests/guard/test_cluster.py runs one."""

import os
import shutil
import socket
import sys

import pytest

from bnguard.harness.cases import cluster
from bnguard.harness.cases.errors import UnavailableError

RANGE = "/proc/sys/net/ipv4/ip_local_port_range"


def test_every_job_has_a_loopback_port_of_its_own():
    addresses = cluster.spec()
    assert sorted(addresses) == ["evaluator", "ps", "trainer"]
    hosts, ports = zip(*(address.split(":") for (address,) in addresses.values()))
    assert set(hosts) == {"127.0.0.1"}
    assert len(set(ports)) == 3


@pytest.mark.skipif(not os.path.exists(RANGE), reason="Linux tells the range in a file")
def test_no_connection_is_given_a_port_between_its_choice_and_its_use():
    with open(RANGE, encoding="ascii") as file:
        first, last = map(int, file.read().split())
    assert not any(first <= port <= last for port in cluster.free_ports(50))


def test_a_port_on_which_something_listens_is_left_out(monkeypatch):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        taken = listening.getsockname()[1]
        monkeypatch.setattr(cluster, "_PORTS", range(taken, taken + 1))
        with pytest.raises(UnavailableError, match=r"^0 ports .* are free; expected 1"):
            cluster.free_ports(1)
    assert cluster.free_ports(1) == [taken]


def test_a_server_that_does_not_come_up_is_reported(monkeypatch):
    addresses = cluster.spec()
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(UnavailableError) as caught:
        cluster.serve_elsewhere(addresses, "ps")
    for fragment in (addresses["ps"][0], "the ps job", "does not start; expected", "no_proxy"):
        assert fragment in str(caught.value)
