"""One server: everything is made here and handed down; nothing below knows the settings whole."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Literal, Self

from prometheus_client import CollectorRegistry

from convoy.artifact.errors import RepositoryError
from convoy.service import parts
from convoy.service.batching.batcher import Batcher
from convoy.service.call import Calls
from convoy.service.errors import StartError
from convoy.service.http.body import BodyReader
from convoy.service.http.page import Page
from convoy.service.http.rest import Rest
from convoy.service.http.routes import create_app
from convoy.service.http.server import HttpServer
from convoy.service.lifecycle import Lifecycle, Phase
from convoy.service.policy import VersionPolicy
from convoy.service.protocol.methods import InferenceProtocol
from convoy.service.resources import usable_cpus
from convoy.service.rpc.server import RpcServer
from convoy.service.security.access import Access
from convoy.service.serving.control import ModelControl
from convoy.service.serving.inference import Ran, Tensor
from convoy.service.serving.loader import LoadedArtifact, Loader
from convoy.service.serving.reconciler import Reconciler
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.served_model import ServedModel
from convoy.service.serving.watchdog import Watchdog
from convoy.service.settings import Settings
from convoy.service.telemetry.gpu import gpus, open_nvml
from convoy.service.telemetry.history import History
from convoy.service.telemetry.metrics import Metrics, ModelMetrics

logger = logging.getLogger(__name__)

LOAD_THREADS = 2
"""One that loads, and one for looks at the repository meanwhile."""

STOP_TIMEOUT_S = 0.5
"""Most time that a running batch, and then any other thread, may take once the server stops."""


class Server:
    """
    One server, from its sockets to its models; the process's signals are not its business.

    An async context manager: entering it listens, not ready yet; leaving it answers what is in
    flight and closes.

    Attributes:
        fatal: Set when a model cannot run any more, and that is to end the process.
        grpc_port: Port that gRPC listens on.
        http_port: Port that HTTP listens on.
        control_port: Port of gRPC where models are loaded and unloaded, if it is one of its own.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        cpus = usable_cpus()
        self._device = parts.device(settings, cpus)
        self._lifecycle = Lifecycle(
            max_calls=settings.max_calls_in_flight, max_bytes=settings.max_bytes_in_flight
        )
        self._metrics = Metrics(CollectorRegistry())
        self._guards = parts.guards(settings)
        self._decoder = parts.decoder(settings, cpus)
        self._load_threads = ThreadPoolExecutor(LOAD_THREADS, thread_name_prefix="load")
        self._device_threads = ThreadPoolExecutor(cpus, thread_name_prefix="device")
        self._batcher: Batcher[Tensor, Ran] = Batcher(self._device_threads, cpus)
        self._registry = ModelRegistry()
        self._watchdog = Watchdog(
            self._registry, self._device_threads, self._lifecycle, self._watchdog_changed
        )
        self.fatal = asyncio.Event()
        self._metrics.watch(self._registry.facts, self._registry.not_ready)
        if settings.device != "cpu" and (nvml := open_nvml()):
            self._metrics.watch_gpus(lambda: gpus(nvml))
        self._control = self._make_control()
        self._protocol = InferenceProtocol(self._registry, self._control, self._lifecycle)
        apart = settings.control_port is not None
        calls = self._make_calls(control=settings.control and not apart)
        self._rpc = self._make_rpc(calls, settings.transport)
        self._rpcs = [self._rpc]
        if apart:
            self._rpcs.append(self._make_rpc(self._make_calls(control=settings.control), "grpcio"))
        read_body = BodyReader(settings.max_message_bytes, settings.http_request_timeout_s)
        rest = Rest(
            self._protocol,
            calls,
            self._lifecycle,
            read_body=read_body,
            max_json_bytes=settings.max_json_bytes,
        )
        self._history = History(self._metrics, self._registry.facts)
        page = Page(
            self._registry,
            self._history,
            calls,
            grpc_port=lambda: self.grpc_port,
            comparison=parts.comparison(settings),
            read_body=read_body,
        )
        self._http = HttpServer(
            create_app(rest, page, self._metrics, calls.access),
            parts.http_limits(settings),
            tls=self._guards.tls,
            refused=self._metrics.refused,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self.grpc_port = 0
        self.http_port = 0
        self.control_port: int | None = None

    async def __aenter__(self) -> Self:
        """
        Listen.

        Raises:
            StartError: If the host is none of this machine, or a port cannot be had.
        """
        await self._batcher.__aenter__()
        try:
            address = parts.address(self._settings.host)
            self.grpc_port = await self._rpc.start(address, self._settings.grpc_port)
            self.http_port = await self._http.start(address, self._settings.http_port)
            self._guards.warn(address)
            if self._settings.control_port is not None:
                address = parts.address(self._settings.control_host)
                self.control_port = await self._rpcs[1].start(address, self._settings.control_port)
                self._guards.warn(address)
            self._tasks.append(asyncio.create_task(self._guards.follow(), name="follow"))
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        self._tasks.append(asyncio.create_task(self._history.keep(), name="history"))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        self._watchdog.close()
        for rpc in self._rpcs:
            await rpc.stop()
        await self._http.stop()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._batcher.__aexit__(exc_type, exc, traceback)
        except TimeoutError:
            logger.warning("a batch is still running")
        self._decoder.close()
        for pool in (self._device_threads, self._load_threads, self._device.gpu.thread):
            pool.shutdown(wait=False, cancel_futures=True)

    async def load(self) -> None:
        """
        Load the models that are to be there from the start, and be ready.

        Raises:
            StartError: If the repository cannot be read; in mode `none` also if there is no
                model, or one of them cannot be served.
        """
        settings = self._settings
        try:
            await self._control.start(settings.load_model)
        except RepositoryError as error:
            raise StartError(str(error)) from error
        if settings.model_control_mode == "none":
            self._check_models()
        self._registry.started = True
        self._lifecycle.phase = Phase.SERVING
        for rpc in self._rpcs:
            await rpc.set_ready()
        if settings.model_control_mode == "poll":
            polling = self._control.poll(settings.repository_poll_s)
            self._tasks.append(asyncio.create_task(polling, name="poll"))
        ports = {"grpc_port": self.grpc_port, "http_port": self.http_port}
        if self.control_port is not None:
            ports["control_port"] = self.control_port
        logger.info("ready", extra=ports)

    async def drain(self, grace_s: float) -> None:
        """
        Lose no request: not ready but serving for *grace_s* seconds, then refusing, then idle.

        Calls that are in flight `shutdown_timeout_s` later are left behind.
        """
        logger.info("not ready, still serving", extra={"seconds": grace_s})
        self._lifecycle.phase = Phase.LEAVING
        for rpc in self._rpcs:
            await rpc.set_not_ready()
        await asyncio.sleep(grace_s)
        self._lifecycle.phase = Phase.REFUSING
        self._registry.stop()
        logger.info("refusing new calls", extra={"in_flight": self._lifecycle.in_flight})
        try:
            async with asyncio.timeout(self._settings.shutdown_timeout_s):
                await self._lifecycle.idle()
        except TimeoutError:
            logger.warning("calls are cut off", extra={"in_flight": self._lifecycle.in_flight})

    async def _set_model_ready(self, name: str, ready: bool) -> None:
        for rpc in self._rpcs:
            await rpc.set_model_ready(name, ready)

    def _make_calls(self, *, control: bool) -> Calls:
        return Calls(
            Access(self._guards.tokens, control=control),
            self._lifecycle,
            self._metrics,
            log_requests=self._settings.log_requests,
        )

    def _make_rpc(self, calls: Calls, transport: Literal["grpcio", "native"]) -> RpcServer:
        settings = self._settings
        return RpcServer(
            self._registry,
            self._protocol,
            calls,
            self._metrics,
            transport=transport,
            tls=self._guards.tls,
            limits=parts.connection_limits(settings),
            max_images_per_call=settings.max_images_per_call,
        )

    def _make_control(self) -> ModelControl:
        settings = self._settings
        loader = Loader(
            parts.repository(settings),
            self._device,
            parts.graph_cache(settings),
            max_batch_size=settings.max_batch_size,
        )
        reconciler = Reconciler(
            self._registry,
            loader,
            self._metrics,
            self._load_threads,
            serve=self._serve,
            changed=self._set_model_ready,
            memory_budget_bytes=settings.memory_budget,
        )
        return ModelControl(
            self._registry,
            loader.repository,
            reconciler,
            mode=settings.model_control_mode,
            policies={
                name: VersionPolicy.parse(text) for name, text in settings.version_policy.items()
            },
        )

    def _serve(self, loaded: LoadedArtifact) -> ServedModel:
        """Give a loaded artifact its queue."""
        return ServedModel(
            loaded.manifest,
            loaded.session,
            policy=parts.batch_policy(self._settings, loaded),
            max_batch_size=loaded.session.max_batch_size,
            batcher=self._batcher,
            decoder=self._decoder,
            metrics=ModelMetrics(self._metrics, loaded.manifest.name),
            run_s=loaded.run_s,
            load_s=loaded.load_s,
            layers=loaded.layers,
            on_failure=self._watchdog.check,
        )

    async def _watchdog_changed(self, model: ServedModel) -> None:
        if self._settings.exit_on_fatal_error and model in self._lifecycle.lost:
            self.fatal.set()
        lost = {one.name for one in self._registry.models() if one in self._lifecycle.lost}
        serves = bool(self._registry.versions(model.name))
        await self._set_model_ready(model.name, serves and model.name not in lost)
        for rpc in self._rpcs:
            await rpc.set_ready(self._lifecycle.ready)

    def _check_models(self) -> None:
        if error := self._registry.first_error():
            raise StartError(str(error))
        if not self._registry.models():
            raise StartError(
                f"no models in {self._settings.model_repository}: "
                "make one with `convoy export lenet5`"
            )
