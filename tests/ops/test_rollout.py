"""Servers that replace each other under one name, as pods do, lose no call of any client."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from convoy import AsyncClient, Client, ConvoyError
from tests.harness.haproxy import haproxy
from tests.harness.images import png
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.name_server import NameServer
from tests.harness.process import free_ports
from tests.harness.server_process import ServerProcess

HAPROXY = Path(__file__).parents[2] / "deploy/haproxy/haproxy-dns.cfg"
REPLICAS = 2

# Shorter than those of the manifests, which is harder for clients.
PRE_STOP_S = 1.5
GRACE_S = 2.0

CLIENT_INTERVAL_S = 1.0
"""Time between the starts of two clients, so that one of each age meets the restart."""

CALL_INTERVAL_S = 0.05

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


class Pods:
    """Servers on addresses of their own and the same ports, behind a headless Service."""

    def __init__(self, names: NameServer) -> None:
        self.grpc_port, self.http_port = free_ports(2)
        self._names = names
        self._hosts = (f"127.0.1.{number}" for number in itertools.count(1))
        self._running: dict[str, ServerProcess] = {}
        self._leaving: list[threading.Thread] = []

    def add(self) -> None:
        """Start one; its address is published when it is ready."""
        host = next(self._hosts)
        ports = ["--grpc-port", str(self.grpc_port), "--http-port", str(self.http_port)]
        grace = ["--shutdown-grace-s", str(GRACE_S)]
        pod = ServerProcess(LENET_REPOSITORY, "--host", host, *ports, *grace)
        self._running[host] = pod.__enter__()
        self._names.set([*self._running])

    def remove_oldest(self) -> None:
        """Withdraw an address, and end its server some time later."""
        pod = self._running.pop(next(iter(self._running)))
        self._names.set([*self._running])
        self._leaving.append(threading.Thread(target=self._end, args=[pod]))
        self._leaving[-1].start()

    def _end(self, pod: ServerProcess) -> None:
        time.sleep(PRE_STOP_S)
        pod.process.send_signal(signal.SIGTERM)
        assert pod.wait() == 0

    def restart(self) -> None:
        """Replace all of them as fast as new ones start; returns when the old ones have ended."""
        for _ in range(REPLICAS):
            self.add()
            self.remove_oldest()
        self.wait()

    def wait(self) -> None:
        """Wait for the end of those that are removed."""
        for thread in self._leaving:
            thread.join()

    def stop(self) -> None:
        """End all of them."""
        self.wait()
        for pod in self._running.values():
            pod.stop()


@contextmanager
def started_pods(names: NameServer) -> Iterator[Pods]:
    """Start the pods of a Deployment."""
    pods = Pods(names)
    try:
        for _ in range(REPLICAS):
            pods.add()
        yield pods
    finally:
        pods.stop()


class Crowd:
    """Clients, blocking ones and those of asyncio, that start one after the other and never end."""

    def __init__(self, address: str, *, balance: bool) -> None:
        self._address = address
        self._balance = balance
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._start_clients)]
        self.outcomes: Counter[str] = Counter()

    def __enter__(self) -> Crowd:
        self._threads[0].start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ends.set()
        # The first of them starts the others.
        for thread in self._threads:
            thread.join()

    def _start_clients(self) -> None:
        for call in itertools.cycle((self._call, lambda: asyncio.run(self._call_with_asyncio()))):
            self._threads.append(threading.Thread(target=call))
            self._threads[-1].start()
            if self._ends.wait(CLIENT_INTERVAL_S):
                return

    def _call(self) -> None:
        with Client(self._address, balance=self._balance) as client:
            while not self._ends.is_set():
                with self._counted():
                    client.classify(png(3), model="lenet5")
                time.sleep(CALL_INTERVAL_S)

    async def _call_with_asyncio(self) -> None:
        async with AsyncClient(self._address, balance=self._balance) as client:
            while not self._ends.is_set():
                with self._counted():
                    await client.classify(png(3), model="lenet5")
                await asyncio.sleep(CALL_INTERVAL_S)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except ConvoyError as error:
            self.outcomes[str(error)] += 1
        else:
            self.outcomes["OK"] += 1

    def wait_for_calls(self, count: int) -> None:
        """Wait until that many more calls have ended."""
        before = self.outcomes.total()
        while self.outcomes.total() < before + count:
            time.sleep(0.05)


def haproxy_of(names: NameServer, pods: Pods, folder: Path) -> AbstractContextManager[str]:
    """HAProxy that finds the servers by their name."""
    return haproxy(
        HAPROXY,
        {
            "10.96.0.10:53": names.address,
            "cluster.local:8001": f"cluster.local:{pods.grpc_port}",
            "cluster.local:8000": f"cluster.local:{pods.http_port}",
            "port 8000": f"port {pods.http_port}",
        },
        folder,
    )


def disturb(pods: Pods, crowd: Crowd) -> None:
    """Restart while there are clients of many ages, and again at once."""
    crowd.wait_for_calls(100)
    pods.restart()
    pods.restart()
    crowd.wait_for_calls(100)


@pytest.mark.parametrize("lag_s", [0.0, 8.0], ids=["fresh names", "cached names"])
def test_balancing_clients(lag_s: float) -> None:
    """
    A restart of all servers costs no call, even where names outlive the servers in caches.
    """
    with NameServer(lag_s) as names, started_pods(names) as pods:
        address = f"dns://{names.address}/convoy-headless.convoy:{pods.grpc_port}"
        # With cached names, the first clients begin before the name exists.
        with Crowd(address, balance=True) as crowd:
            disturb(pods, crowd)
    assert set(crowd.outcomes) == {"OK"}, crowd.outcomes


@pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed: make tools")
def test_clients_of_haproxy(tmp_path: Path) -> None:
    """
    The same for clients that balance nothing, behind an HAProxy that follows the name.
    """
    with ExitStack() as stack:
        names = stack.enter_context(NameServer())
        pods = stack.enter_context(started_pods(names))
        address = stack.enter_context(haproxy_of(names, pods, tmp_path))
        with Crowd(address, balance=False) as crowd:
            disturb(pods, crowd)
    assert set(crowd.outcomes) == {"OK"}, crowd.outcomes


def test_servers_that_come_back() -> None:
    """
    A client of fixed addresses waits while none of its servers runs, and finds one that returns.
    """
    with NameServer() as names:
        names.set(["127.0.1.1"])
        pods = Pods(names)
        with Crowd(f"ipv4:127.0.1.1:{pods.grpc_port}", balance=True) as crowd:
            time.sleep(10)  # gRPC's own pauses would have grown beyond that by now
            pods.add()
            crowd.wait_for_calls(10)
        pods.stop()
    assert set(crowd.outcomes) == {"OK"}, crowd.outcomes
