"""A TensorFlow cluster on this machine: a parameter server, a trainer and an evaluator.

The parameter server runs in its own process, `python -m bnguard.harness.cases.cluster`; trainer and
evaluator are servers in this process. All of them listen on free ports of the loopback device.
"""

from __future__ import annotations

import atexit
from contextlib import suppress
from functools import lru_cache
import json
import os
from random import Random
import socket
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple

from bnguard.harness.cases.errors import UnavailableError
from bnguard.runtime.tensorflow_import import import_tensorflow

Spec = Dict[str, List[str]]
JOBS = ("ps", "trainer", "evaluator")
_HOST = "127.0.0.1"
_PORTS = range(20000, 32768)  # Linux gives the higher ones to connections, at any time


class Cluster(NamedTuple):
    """A running cluster.

    Attributes:
      on_parameter_server: a device function for `tf.device` that places variables on the
        parameter server.
      trainer: the trainer's server; give its `target` to a session.
      evaluator: the evaluator's server.
    """

    on_parameter_server: Any
    trainer: Any
    evaluator: Any


@lru_cache(maxsize=None)
def start() -> Cluster:
    """Return the cluster of this process; start it on the first call.

    Raises:
      UnavailableError: the parameter server does not start.
    """
    import tensorflow.compat.v1 as tf

    addresses = spec()
    serve_elsewhere(addresses, "ps")
    atexit.register(start.cache_clear)  # a server that outlives TensorFlow's modules logs errors
    return Cluster(
        tf.train.replica_device_setter(cluster=addresses, worker_device=""),
        tf.distribute.Server(addresses, "trainer"),
        tf.distribute.Server(addresses, "evaluator"),
    )


def spec() -> Spec:
    """Return an address for each job, on ports that are free now."""
    return {job: [f"{_HOST}:{port}"] for job, port in zip(JOBS, free_ports(len(JOBS)))}


def free_ports(count: int) -> List[int]:
    """Return ports on which nothing listens now, and which no connection will be given.

    Raises:
      UnavailableError: there are not so many.
    """
    found: List[int] = []
    for port in Random().sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((_HOST, port))
            found.append(port)
        if len(found) == count:
            return found
    raise UnavailableError(
        f"{len(found)} ports from {_PORTS[0]} to {_PORTS[-1]} of {_HOST} are free; expected "
        f"{count}. End programs that listen there."
    )


def serve_elsewhere(addresses: Spec, job: str) -> subprocess.Popen[bytes]:
    """Serve a job in a process that ends with this one, however this one ends.

    Returns:
      The process; it ends when its stdin is closed.

    Raises:
      UnavailableError: the process does not come up.
    """
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
    process = subprocess.Popen(
        [sys.executable, "-m", "bnguard.harness.cases.cluster", job, json.dumps(addresses)],
        stdin=subprocess.PIPE,  # the system closes it when this process ends
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # the terminal's Ctrl-C reaches this process alone
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])},
    )
    atexit.register(_stop, process)
    assert process.stdout is not None
    if process.stdout.readline().strip() != b"serving":
        raise UnavailableError(
            f"{addresses[job][0]}: the {job} job of a TensorFlow cluster does not start; expected "
            "a loopback device on which processes may listen. Check that no proxy is set for "
            "127.0.0.1 (no_proxy), and try again: a different process may have taken the port."
        )
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _serve(job: str, addresses: Spec) -> None:
    import_tensorflow()
    import tensorflow.compat.v1 as tf

    server = tf.distribute.Server(addresses, job)
    print("serving", flush=True)
    sys.stdin.read()
    del server
    os._exit(0)  # a server never ends by itself


if __name__ == "__main__":
    _serve(sys.argv[1], json.loads(sys.argv[2]))
