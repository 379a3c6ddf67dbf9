"""A server in this process, on real sockets, with a tiny model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from convoy.pb.convoy.v1 import classifier_pb2_grpc
from convoy.pb.inference import grpc_service_pb2_grpc
from convoy.service.app import Server
from convoy.service.machine.resources import usable_cpus
from convoy.service.settings import Settings
from tests.harness import tiny
from tests.harness.transports import FRONTS, TRANSPORTS


class Running:
    """A server, and a stub of each of its services."""

    def __init__(self, server: Server, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.address = f"127.0.0.1:{server.grpc_port}"
        self.url = f"http://127.0.0.1:{server.http_port}"
        self.channel = channel
        self.classifier = classifier_pb2_grpc.ClassifierServiceStub(channel)
        self.inference = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)

    def sample(self, name: str, **labels: str) -> float | None:
        """Value of one metric."""
        return self.server.metrics.registry.get_sample_value(name, labels)

    async def counted(self) -> None:
        """Fetch the counts of all processes; calls with one message need not wait for this."""
        await self.server.metrics.refresh()

    async def reload_credentials(self) -> None:
        """Let every process use the files of credentials that have changed."""
        self.server.credentials.reload_changed()
        if self.server.fronts:
            # A snapshot arrives after the credentials.
            await self.server.fronts.published()

    @contextmanager
    def device_held(self) -> Iterator[None]:
        """Keep the device busy, so that batches wait, until the block ends."""
        gate = threading.Event()
        for _ in range(usable_cpus()):
            self.server.device_threads.submit(gate.wait)
        try:
            yield
        finally:
            gate.set()

    @property
    def in_flight(self) -> int:
        """Calls that handlers of any process work on."""
        return self.server.in_flight

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* holds, looking each time the event loop comes round."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the server tells nobody of such changes
                await asyncio.sleep(0.001)

    def queue_depth(self, model: str = "tiny") -> float:
        """Images that hold a place in the queue."""
        return self.sample("convoy_queue_depth", model=model) or 0.0

    async def until_waiting(self, images: int, model: str = "tiny") -> None:
        """Wait until that many images hold a place in the queue."""
        await self.until(lambda: self.queue_depth(model) == images)

    async def until_running(self, calls: int) -> None:
        """Wait until that many calls have arrived and none of them waits for the device."""
        await self.until(lambda: self.in_flight == calls)
        await self.until_waiting(0)


class _Refresh(grpc.aio.UnaryUnaryClientInterceptor):
    """Fetches the counts of the fronts after each call."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        call = await continuation(details, request)
        try:
            await call.code()
        except asyncio.CancelledError:  # waiting for the code does not cancel the call
            call.cancel()
            raise
        await self._server.metrics.refresh()
        return call


Serve = Callable[..., AbstractAsyncContextManager[Running]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """
    Run tests marked `both_transports` over each transport, and the others over the default.

    Those marked `with_fronts` are also run with a front process, unless they are marked
    `one_process`.
    """
    if "transport" in metafunc.fixturenames:
        both = metafunc.definition.get_closest_marker("both_transports")
        fronts = metafunc.definition.get_closest_marker("with_fronts")
        if metafunc.definition.get_closest_marker("one_process"):
            fronts = None
        transports = [*(TRANSPORTS if both else TRANSPORTS[:1]), *([FRONTS] if fronts else [])]
        metafunc.parametrize("transport", transports)


@pytest.fixture
def serve(tmp_path: Path, transport: str) -> Serve:
    """
    Start a server with settings other than the usual.

    `load=False` leaves it loading; `inline_macs` lets the event loop run small batches,
    which otherwise go to a thread, so that a test can hold the device.
    """
    tiny.write(tmp_path)
    over_fronts = transport == FRONTS

    @asynccontextmanager
    async def start(
        *,
        load: bool = True,
        inline_macs: int = 0,
        **changes: Any,
    ) -> AsyncIterator[Running]:
        usual: dict[str, Any] = {
            "model_repository": tmp_path,
            "host": "127.0.0.1",
            "grpc_port": 0,
            "http_port": 0,
            "graph_cache": "",
            "transport": "grpcio" if over_fronts else transport,
            # Tests of tokens run over the native transport, too.
            "allow_unbounded_messages": transport == "native",
            # One run at a time, so that a test knows what runs and what waits.
            "intra_op_threads": usable_cpus(),
            "front_processes": int(over_fronts),
        }
        server = Server(Settings(**(usual | changes)), inline_macs=inline_macs)
        await server.startup()
        # Connects when it is used: tests of other hosts bring their own.
        address = f"127.0.0.1:{server.grpc_port}"
        # Tests look at the metrics after an answer.
        interceptors = [_Refresh(server)] if over_fronts else []
        try:
            async with grpc.aio.insecure_channel(address, interceptors=interceptors) as channel:
                if load:
                    await server.load()
                yield Running(server, channel)
        finally:
            # Nobody waits for an answer any more; tests that look at the stop make it themselves.
            await server.stop(linger_s=0.0)

    return start


@pytest.fixture
async def running(serve: Serve) -> AsyncIterator[Running]:
    """A server with the usual settings."""
    async with serve() as running:
        yield running
