"""A TensorFlow cluster on this machine: a parameter server, a trainer and an evaluator.

The parameter server is a process of its own, `python -m bnguard.harness.cases.cluster`; trainer and
evaluator are servers in this process. All are on loopback, on ports that were free.
"""

from __future__ import annotations

import atexit
from functools import lru_cache
import json
import os
import socket
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple

from bnguard.harness.cases.catalogue import UnavailableError
from bnguard.runtime.tensorflow_import import import_tensorflow

Spec = Dict[str, List[str]]
JOBS = ("ps", "trainer", "evaluator")
_HOST = "127.0.0.1"


class Cluster(NamedTuple):
    """Where to build a graph and to run it.

    Attributes:
      on_parameter_server: the device function that puts variables there, for `tf.device`.
      trainer: the trainer's server; its `target` is for sessions.
      evaluator: the evaluator's.
    """

    on_parameter_server: Any
    trainer: Any
    evaluator: Any


@lru_cache(maxsize=None)
def start() -> Cluster:
    """The cluster of this process, started when it is first asked for.

    Raises:
      UnavailableError: the parameter server does not start.
    """
    import tensorflow.compat.v1 as tf

    addresses = spec()
    serve_elsewhere(addresses, "ps")
    atexit.register(start.cache_clear)  # a server that outlives TensorFlow's modules complains
    return Cluster(
        tf.train.replica_device_setter(cluster=addresses, worker_device=""),
        tf.distribute.Server(addresses, "trainer"),
        tf.distribute.Server(addresses, "evaluator"),
    )


def spec() -> Spec:
    """An address for each job, on ports that are free now."""
    probes = [socket.socket() for _ in JOBS]
    try:
        for probe in probes:  # all at once, so that no port is chosen twice
            probe.bind((_HOST, 0))
        ports = [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
    return {job: [f"{_HOST}:{port}"] for job, port in zip(JOBS, ports)}


def serve_elsewhere(addresses: Spec, job: str) -> subprocess.Popen:
    """Serve a job in a process that ends with this one, whichever way this one ends.

    Returns:
      The process; it ends when its stdin is closed.

    Raises:
      UnavailableError: the process does not come up.
    """
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
    process = subprocess.Popen(
        [sys.executable, "-m", "bnguard.harness.cases.cluster", job, json.dumps(addresses)],
        stdin=subprocess.PIPE,  # closed by the system when this process ends: the sign to go
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # the terminal's Ctrl-C is for this process alone
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])},
    )
    atexit.register(_stop, process)
    assert process.stdout is not None
    if process.stdout.readline().strip() != b"serving":
        raise UnavailableError(
            f"{addresses[job][0]}: the {job} job of a TensorFlow cluster does not start; expected "
            "a loopback device on which processes may listen. Check that no proxy is set for "
            "127.0.0.1 (no_proxy), and try again: the port may have been taken."
        )
    return process


def _stop(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


def _serve(job: str, addresses: Spec) -> None:
    import_tensorflow()
    import tensorflow.compat.v1 as tf

    server = tf.distribute.Server(addresses, job)
    print("serving", flush=True)
    sys.stdin.read()
    del server
    os._exit(0)  # for a server never ends by itself


if __name__ == "__main__":
    _serve(sys.argv[1], json.loads(sys.argv[2]))
