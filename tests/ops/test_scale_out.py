"""Several servers, behind a real HAProxy as it is shipped, and under a client that balances."""

from __future__ import annotations

import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import grpc
import pytest

from convoy.client import _options
from convoy.pb.convoy.v1 import classifier_pb2 as pb
from convoy.pb.convoy.v1 import classifier_pb2_grpc
from tests.harness.haproxy import haproxy
from tests.harness.images import png
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.process import free_ports
from tests.harness.server_process import ServerProcess

ROOT = Path(__file__).parents[2]
CALLERS = 8
GRACE_S = "2"
"""Longer than two of the balancer's checks."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        not shutil.which("haproxy"), reason="haproxy is not installed: apt-get install haproxy"
    ),
]


class Replica:
    """A server that can be stopped, and started again in its old place."""

    def __init__(self) -> None:
        self.grpc_port, self.http_port = free_ports(2)
        self.server = self.start()

    def start(self) -> ServerProcess:
        """Start it; returns when it is ready."""
        ports = ["--grpc-port", str(self.grpc_port), "--http-port", str(self.http_port)]
        self.server = ServerProcess(LENET_REPOSITORY, *ports, "--shutdown-grace-s", GRACE_S)
        return self.server.__enter__()

    def restart(self) -> None:
        """Let it drain, then start it again."""
        self.server.process.send_signal(signal.SIGTERM)
        assert self.server.wait() == 0
        self.start()

    def stop(self) -> None:
        """End it, if it runs."""
        if self.server.process.poll() is None:
            self.server.stop()

    def calls(self) -> float:
        """Calls that it answered since it started."""
        lines = self.server.get("/metrics").splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("convoy_requests"))


@pytest.fixture
def replicas() -> Iterator[list[Replica]]:
    """Two servers."""
    with ExitStack() as stack:
        started = []
        for _ in range(2):
            started.append(Replica())
            stack.callback(started[-1].stop)
        yield started


def haproxy_of(replicas: list[Replica], folder: Path) -> AbstractContextManager[str]:
    """HAProxy before the servers."""
    shipped = ROOT / "deploy/haproxy/haproxy.cfg"
    assert set(re.findall(r"10\.0\.0\.\d+", shipped.read_text())) == {"10.0.0.1", "10.0.0.2"}
    addresses = {}
    for host, replica in zip(("10.0.0.1", "10.0.0.2"), replicas, strict=True):
        addresses[f"{host}:8001"] = f"127.0.0.1:{replica.grpc_port}"
        addresses[f"{host}:8000"] = f"127.0.0.1:{replica.http_port}"
    return haproxy(shipped, addresses, folder)


def direct(replicas: list[Replica]) -> str:
    """Both servers, for a client that balances."""
    return "ipv4:" + ",".join(f"127.0.0.1:{replica.grpc_port}" for replica in replicas)


class Callers:
    """Threads that ask without a pause, and count what they get."""

    def __init__(self, address: str, *, balance: bool, may_retry: bool) -> None:
        options = dict(_options(balance)) | {"grpc.enable_retries": int(may_retry)}
        self._channel = grpc.insecure_channel(address, list(options.items()))
        self._stub = classifier_pb2_grpc.ClassifierServiceStub(self._channel)
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        self.outcomes: Counter[str] = Counter()

    def _call(self) -> None:
        request = pb.ClassifyRequest(model="lenet5", image=png(3))
        while not self._ends.is_set():
            try:
                self._stub.Classify(request, timeout=20)
                self.outcomes["OK"] += 1
            except grpc.RpcError as error:
                self.outcomes[f"{error.code().name}: {error.details()}"] += 1

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()
        self._channel.close()


def kill_one(replicas: list[Replica]) -> None:
    """Kill a server."""
    replicas[0].server.kill()
    time.sleep(2)


def restart_all(replicas: list[Replica]) -> None:
    """Restart one server after the other."""
    for replica in replicas:
        replica.restart()
        time.sleep(2)  # until the balancer has seen it


@pytest.mark.parametrize(
    ("disturb", "may_retry"), [(kill_one, True), (restart_all, False)], ids=["kill", "restart"]
)
@pytest.mark.parametrize("way", ["haproxy", "client"])
def test_no_call_is_lost(
    replicas: list[Replica],
    tmp_path: Path,
    way: str,
    disturb: Callable[[list[Replica]], None],
    may_retry: bool,
) -> None:
    """
    A server that is killed costs no call of a client that may retry; a rolling restart none at all.
    """
    with ExitStack() as stack:
        is_direct = way == "client"
        address = (
            direct(replicas) if is_direct else stack.enter_context(haproxy_of(replicas, tmp_path))
        )
        callers = Callers(address, balance=is_direct, may_retry=may_retry)
        with callers:
            time.sleep(1)
            assert min(replica.calls() for replica in replicas) > 0
            before = callers.outcomes["OK"]
            disturb(replicas)
            assert callers.outcomes["OK"] > before
    assert set(callers.outcomes) == {"OK"}, callers.outcomes
