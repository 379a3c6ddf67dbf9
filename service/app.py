"""One server: makes all its parts, and runs them from the first socket to the last answer.

Only this module knows the settings whole; each part gets just the values that it needs.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from convoy.artifact.errors import RepositoryError
from convoy.artifact.misnamed import reasons
from convoy.artifact.repository import FIRST_MODEL
from convoy.service.batching.batcher import Batcher
from convoy.service.call import Calls
from convoy.service.errors import StartError
from convoy.service.http.server import HttpServer
from convoy.service.lifecycle import Phase
from convoy.service.machine.resources import usable_cpus
from convoy.service.machine.sockets import page_url, reason, resolve
from convoy.service.machine.supervisor import notify
from convoy.service.process.http_parts import make_http
from convoy.service.process.model_parts import batch_policy, make_device, make_loader
from convoy.service.process.shared_parts import (
    connection_limits,
    make_credentials,
    make_decoder,
    make_lifecycle,
    open_prediction_log,
    open_tracing,
)
from convoy.service.protocol.log_settings import LogSettings
from convoy.service.protocol.methods import InferenceProtocol
from convoy.service.protocol.shadow_control import ShadowProtocol
from convoy.service.rpc.limits import BEHIND_FRONTS
from convoy.service.rpc.listener import LINGER_S
from convoy.service.rpc.server import RpcServer
from convoy.service.runtime.device import INLINE_MACS
from convoy.service.security.access import Access
from convoy.service.security.sites import SiteCheck
from convoy.service.serving.class_map_finder import ClassMapFinder
from convoy.service.serving.control import DEFAULT, ModelControl
from convoy.service.serving.fronts.front_processes import Fronts
from convoy.service.serving.loader import LoadedArtifact
from convoy.service.serving.monitoring.drift import Drift
from convoy.service.serving.monitoring.signal_counter import SignalCounter
from convoy.service.serving.policy import VersionPolicy
from convoy.service.serving.reconciler import Reconciler
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.served_model import ServedModel
from convoy.service.serving.shadows.shadows import Shadows
from convoy.service.serving.watchdog import Watchdog
from convoy.service.settings import Settings
from convoy.service.telemetry.gpu import gpus, open_nvml
from convoy.service.telemetry.history import History
from convoy.service.telemetry.metrics import Metrics, ModelMetrics
from convoy.suggestion import suggest

logger = logging.getLogger(__name__)

LOAD_THREADS = 2
"""One thread loads; the other polls the repository meanwhile."""

STOP_TIMEOUT_S = 0.5
"""Longest wait for a running batch, and then for any other thread, once the server stops."""


class Server:
    """
    One server, from its sockets to its models; `convoy.service.process.main_process` runs it.

    `serve` runs it until `request_stop`. A test, or a program with an event loop of its own, calls
    `startup`, `load`, `drain` and `stop` instead.

    Args:
        inline_macs: Maximum multiply-accumulates of a run on a CPU that the event loop does itself.

    Attributes:
        lifecycle: Phase of the server, and calls in flight.
        registry: Models that are served.
        shadows: Compares shadows with the versions that serve.
        control: Loads and unloads models.
        metrics: Every metric.
        credentials: Tokens and TLS.
        history: Samples of the last minutes.
        watchdog: Checks whether a model that failed can still run.
        decoder: Decodes images.
        batcher: Runs batches, in `device_threads`.
        device_threads: Threads that run batches on the device.
        rpc: The gRPC transport.
        http: The HTTP transport.
        grpc_port: Port that gRPC listens on; 0 before `startup`.
        http_port: Port that HTTP listens on; 0 before `startup`.
        control_port: gRPC port for model control; None unless it has a port of its own.
        failed: Whether the server stops because a model can no longer run.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        inline_macs: int = INLINE_MACS,
    ) -> None:
        self._settings = settings
        self._stop_requested = asyncio.Event()
        self._grace_s = 0.0
        self.failed = False
        self.grpc_port = 0
        self.http_port = 0
        self.control_port: int | None = None
        self._tasks: list[asyncio.Task[None]] = []
        cpus = usable_cpus()
        self._device = make_device(settings, cpus, inline_macs)
        self.lifecycle = make_lifecycle(settings)
        self.metrics = Metrics(CollectorRegistry())
        self.credentials = make_credentials(settings)
        self._tracing = open_tracing(settings.traces)
        self._prediction_log = open_prediction_log(
            settings, self.credentials.tokens, self.metrics.prediction_dropped
        )
        self._drift = self._open_drift()
        self._signals = SignalCounter(self._drift.add) if self._drift else None
        self.decoder = make_decoder(settings, cpus)
        self._load_threads = ThreadPoolExecutor(LOAD_THREADS, thread_name_prefix="load")
        self.device_threads = ThreadPoolExecutor(cpus, thread_name_prefix="device")
        self.batcher = Batcher(self.device_threads, cpus)
        self.registry = ModelRegistry(self._switched, self.lifecycle.lost)
        self._class_maps = ClassMapFinder(self.registry, settings.memory_budget)
        self.shadows = Shadows(self.registry, self._prediction_log)
        self.metrics.watch_shadows(self.shadows.facts)
        self.watchdog = Watchdog(
            self.registry, self.device_threads, self.lifecycle, self._watchdog_changed
        )
        # Gauges are read from the registry at each scrape; nothing needs to keep them up to date.
        self.metrics.watch(self.registry.facts, self.registry.not_ready)
        if tls := self.credentials.tls:
            self.metrics.watch_certificate(lambda: tls.expires_at)
        # Without a GPU to use, none is reported.
        nvml = open_nvml() if settings.device != "cpu" else None
        if nvml:
            self.metrics.watch_gpus(lambda: gpus(nvml))
        self.control = self._make_control()
        self._log_settings = LogSettings()
        # With a port for model control, the public port refuses it.
        apart = settings.control_port is not None
        calls = self._make_calls(control=settings.control and not apart)
        self.fronts = self._make_fronts() if settings.front_processes else None
        if self.fronts:
            self.rpc = self._make_rpc(calls, "grpcio", behind_fronts=True)
        else:
            self.rpc = self._make_rpc(calls, settings.transport)
        self._rpcs = [self.rpc]
        self.metrics.watch_calls(lambda: self.in_flight, self._waiting)
        if apart:
            self._rpcs.append(self._make_rpc(self._make_calls(control=True), "grpcio"))
        self.history = History(
            self.metrics,
            self.registry.facts,
            lambda: gpus(nvml) if nvml else (),
            processor_s=self._processor_s,
        )
        self.http = self._make_http(calls)

    async def serve(self) -> None:
        """
        Listen, load, serve until `request_stop`, drain, and stop.

        Raises:
            StartError: See `startup` and `load`.
        """
        await self.startup()
        try:
            if await self._loaded():
                # The objects that exist now stay. Collecting garbage among them again and again
                # would take a tenth of the time of a small network's request.
                gc.freeze()
                notify("READY=1")
                await self._stop_requested.wait()
                notify("STOPPING=1")
                await self.drain(self._grace_s)
        finally:
            await self.stop()

    def request_stop(self, grace_s: float) -> None:
        """
        Let `serve` drain, with *grace_s* seconds for balancers to notice, and stop.

        Only the first request counts. While models are still loading, there is nothing to drain.
        """
        if not self._stop_requested.is_set():
            self._grace_s = grace_s
            self._stop_requested.set()

    async def startup(self) -> None:
        """
        Listen, not ready yet.

        Raises:
            StartError: If the host is not an address of this machine, or a port is not available.
        """
        await self.batcher.__aenter__()
        try:
            await self._listen()
        except BaseException:  # release the ports that are already open, and the threads
            await self.stop()
            raise
        self.credentials.warn_of_files()
        self._tasks.append(asyncio.create_task(self.credentials.watch(), name="credentials"))
        self._tasks.append(asyncio.create_task(self.history.keep(), name="history"))

    async def stop(self, linger_s: float = LINGER_S) -> None:
        """Give the answers in flight *linger_s* seconds to reach their clients, and close."""
        for task in self._tasks:
            task.cancel()
        self.watchdog.close()
        self.shadows.close()
        await self.stop_rpc(linger_s)
        await self.http.stop()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self.batcher.__aexit__(None, None, None)
        except TimeoutError:
            logger.warning("stopping although a batch is still running")
        if self._signals:
            self._signals.close()
        if self._prediction_log:
            await asyncio.to_thread(self._prediction_log.close)
        if self._tracing:
            await asyncio.to_thread(self._tracing.close)
        # Threads cannot be stopped: `main_process` ends those that are still busy.
        self.decoder.close()
        self._class_maps.close()
        for pool in (self.device_threads, self._load_threads, self._device.gpu.thread):
            pool.shutdown(wait=False, cancel_futures=True)

    async def stop_rpc(self, linger_s: float = LINGER_S) -> None:
        """End the open streams of gRPC, and close its ports."""
        stopping = [rpc.stop(linger_s) for rpc in self._rpcs]
        # At once: the streams that fronts forward end with those of the engine.
        if self.fronts:
            stopping.append(self.fronts.stop())
        await asyncio.gather(*stopping)

    async def load(self) -> None:
        """
        Load the models to serve at startup, and become ready.

        Raises:
            StartError: If the repository cannot be read; in mode `none`, also if it has no model,
                or one of them cannot be served.
        """
        settings = self._settings
        # The other modes load every model, these or not.
        if settings.load_model and settings.model_control_mode != "explicit":
            logger.warning(
                "--load-model ignored: it needs --model-control-mode explicit",
                extra={"mode": settings.model_control_mode, "models": settings.load_model},
            )
        try:
            await self.control.start(settings.load_model)
        except RepositoryError as error:
            raise StartError(str(error)) from error
        await self._warn_of_unknown_models()
        # In the other modes, a model may come later, and a faulty one must not stop the others.
        if settings.model_control_mode == "none":
            self._check_models()
        elif not self.registry.models() and settings.model_control_mode == "poll":
            logger.warning("no models yet", extra={"repository": settings.model_repository})
        self.registry.started = True
        self.lifecycle.phase = Phase.SERVING
        if self.fronts:
            await self.fronts.published()
        for rpc in self._rpcs:
            await rpc.set_ready()
        if settings.model_control_mode == "poll":
            polling = self.control.poll(settings.repository_poll_s)
            self._tasks.append(asyncio.create_task(polling, name="poll"))
        logger.info("ready", extra=self.places)

    @property
    def places(self) -> dict[str, str | int]:
        """The URLs of the page, its neighbours and gRPC, and the ports, by name."""
        page = page_url(
            self._settings.host, self.http_port, tls=bool(self._settings.tls_certificate)
        )
        places: dict[str, str | int] = {
            "page": page,
            "docs": f"{page}docs",
            "metrics": f"{page}metrics",
            "grpc": f"{urlsplit(page).netloc.rpartition(':')[0]}:{self.grpc_port}",
            "grpc_port": self.grpc_port,
            "http_port": self.http_port,
        }
        if self.control_port is not None:
            places["control_port"] = self.control_port
        return places

    async def drain(self, grace_s: float) -> None:
        """
        Serve without being ready for *grace_s* seconds, refuse new calls, and finish the others.

        No request is lost, except calls still in flight after another `shutdown_timeout_s`.
        """
        # Phase 1: balancers notice that the server is not ready, and send requests elsewhere.
        self.shadows.close()
        logger.info("not ready, still serving", extra={"seconds": grace_s})
        self.lifecycle.phase = Phase.LEAVING
        for rpc in self._rpcs:
            await rpc.set_not_ready()
        await asyncio.sleep(grace_s)
        # Phase 2: nothing new comes in, so that the calls in flight come to an end.
        self.lifecycle.phase = Phase.REFUSING
        self.registry.stop()
        self.batcher.hurry()
        logger.info("refusing new calls", extra={"in_flight": self.lifecycle.in_flight})
        try:
            async with asyncio.timeout(self._settings.shutdown_timeout_s):
                if self.fronts:
                    await self.fronts.published()
                    await self.fronts.idle()
                await self.lifecycle.idle()
        except TimeoutError:
            logger.warning(
                "cutting off the calls that are still in flight",
                extra={"in_flight": self.lifecycle.in_flight},
            )

    async def _listen(self) -> None:
        settings = self._settings
        address = resolve(settings.host)
        if self.fronts:
            await self._start_behind(self.fronts)
            self.grpc_port = await self._start_fronts(self.fronts, address)
        else:
            self.grpc_port = await self.rpc.start(address, settings.grpc_port)
        self.http_port = await self.http.start(address, settings.http_port)
        self.credentials.warn(address)
        if settings.control_port is not None:
            address = resolve(settings.control_host)
            self.control_port = await self._rpcs[1].start(
                address, settings.control_port, "--control-port"
            )
            self.credentials.warn(address)

    async def _start_behind(self, fronts: Fronts) -> None:
        try:
            await self.rpc.start_behind(fronts.engine)
        except (OSError, RuntimeError) as error:
            raise StartError(
                f"cannot listen on {fronts.engine}; set TMPDIR to a folder with a short name"
            ) from error

    async def _start_fronts(self, fronts: Fronts, address: str) -> int:
        port = self._settings.grpc_port
        try:
            return await fronts.start(address, port)
        except OSError as error:
            why = reason(error, "--grpc-port")
            raise StartError(f"cannot listen for gRPC on {address}:{port}: {why}") from error

    @property
    def in_flight(self) -> int:
        """Calls that handlers work on, in this process and in the fronts."""
        return self.lifecycle.in_flight + (self.fronts.in_flight if self.fronts else 0)

    def _processor_s(self) -> float:
        return time.process_time() + (self.fronts.processor_s if self.fronts else 0.0)

    def _waiting(self) -> int:
        return self.lifecycle.waiting + (self.fronts.waiting if self.fronts else 0)

    async def _loaded(self) -> bool:
        """Load the models; return False if the server is asked to stop before that is done."""
        loading = asyncio.create_task(self.load())
        stopping = asyncio.create_task(self._stop_requested.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not loading.done():  # its thread goes on, and does not delay the end of the process
            loading.cancel()
            return False
        loading.result()
        return True

    def _switched(self) -> None:
        self.shadows.follow()
        if self.fronts:
            self.fronts.publish()

    async def _set_model_ready(self, name: str, ready: bool) -> None:
        # A client that was told of a change meets it, whichever front it reaches next.
        if self.fronts:
            await self.fronts.published()
        for rpc in self._rpcs:
            await rpc.set_model_ready(name, ready)

    def _make_fronts(self) -> Fronts:
        settings = self._settings
        fronts = Fronts(
            settings.front_processes,
            self.registry,
            self.lifecycle,
            self.metrics,
            self.credentials,
            self._drift,
            arena_bytes=settings.front_memory,
            settings=settings.model_dump_json(),
            module="convoy.service.process.front_process",
            on_answer=self.shadows.observe_slot,
        )
        self.credentials.changed = fronts.renew_credentials
        self.metrics.refresh = fronts.refresh
        self.metrics.watch_fronts(fronts.facts, lambda: fronts.restarts)
        return fronts

    def _make_calls(self, *, control: bool) -> Calls:
        return Calls(
            Access(self.credentials.tokens, control=control, sites=self._make_sites()),
            self.lifecycle,
            self.metrics,
            log_requests=self._settings.log_requests,
            tracing=self._tracing,
            observers=[
                one.observe for one in (self._prediction_log, self._signals, self.shadows) if one
            ],
        )

    def _open_drift(self) -> Drift | None:
        if not self._settings.drift:
            return None
        drift = Drift(self._settings.drift_windows_s)
        self.metrics.watch_drift(drift.indices, drift.counts)
        return drift

    def _make_sites(self) -> SiteCheck:
        settings = self._settings
        # A page that pretends to be this server has no token, and no certificate for its name.
        protected = settings.token_file or settings.tls_certificate
        return SiteCheck(
            None if protected and not settings.allowed_hosts else settings.allowed_hosts,
            settings.cors_origins,
        )

    def _make_rpc(
        self, calls: Calls, transport: Literal["grpcio", "native"], *, behind_fronts: bool = False
    ) -> RpcServer:
        settings = self._settings
        # The fronts alone connect then, over a socket of this machine.
        tls = None if behind_fronts else self.credentials.tls
        limits = BEHIND_FRONTS if behind_fronts else connection_limits(settings, transport)
        return RpcServer(
            self.registry,
            self.control,
            self.shadows,
            self._log_settings,
            calls,
            transport=transport,
            tls=tls,
            limits=limits,
            max_images_per_call=settings.max_images_per_call,
        )

    def _make_http(self, calls: Calls) -> HttpServer:
        return make_http(
            self._settings,
            registry=self.registry,
            class_maps=self._class_maps,
            protocol=InferenceProtocol(
                self.registry, self.control, self.lifecycle, self._log_settings
            ),
            shadows=ShadowProtocol(self.control, self.shadows),
            calls=calls,
            lifecycle=self.lifecycle,
            metrics=self.metrics,
            history=self.history,
            tls=self.credentials.tls,
            grpc_port=lambda: self.grpc_port,
        )

    def _make_control(self) -> ModelControl:
        settings = self._settings
        loader = make_loader(settings, self._device)
        reconciler = Reconciler(
            self.registry,
            loader,
            self.metrics,
            self._load_threads,
            serve=self._serve,
            changed=self._set_model_ready,
            memory_budget_bytes=settings.memory_budget,
        )
        return ModelControl(
            self.registry,
            loader.repository,
            reconciler,
            mode=settings.model_control_mode,
            policies={
                name: VersionPolicy.parse(text) for name, text in settings.version_policy.items()
            },
            shadows=self.shadows,
        )

    def _serve(self, loaded: LoadedArtifact) -> ServedModel:
        """Make the served model of a loaded artifact, with a queue of its own."""
        return ServedModel(
            loaded,
            policy=batch_policy(self._settings, loaded),
            batcher=self.batcher,
            decoder=self.decoder,
            metrics=ModelMetrics(self.metrics, loaded.manifest.name),
            on_failure=self.watchdog.check,
        )

    async def _watchdog_changed(self, model: ServedModel) -> None:
        if self._settings.exit_on_fatal_error and model in self.lifecycle.lost:
            self._fail()
        # A model is ready if it has a version, and none of its versions is lost.
        lost = {one.name for one in self.registry.models() if one in self.lifecycle.lost}
        serves = bool(self.registry.versions(model.name))
        await self._set_model_ready(model.name, serves and model.name not in lost)
        # Without a front nobody asks over gRPC, and the answer must be right once there is one.
        ready = self.lifecycle.phase is Phase.SERVING and not self.lifecycle.lost
        for rpc in self._rpcs:
            await rpc.set_ready(ready)

    def _fail(self) -> None:
        # A server that is already asked to stop ends with the exit code of that request.
        if not self._stop_requested.is_set():
            logger.error("stopping after a fatal error")
            self.failed = True
            self.request_stop(0.0)

    async def _warn_of_unknown_models(self) -> None:
        """Warn of settings for models that the repository lacks: their names may be misspelt."""
        settings = self._settings
        named = {
            "--version-policy": set(settings.version_policy) - {DEFAULT},
            "--model-weight": set(settings.model_weight),
            "--prediction-log-share": set(settings.prediction_log_share) - {DEFAULT},
        }
        if not any(named.values()):
            return
        with suppress(RepositoryError):  # mode explicit starts without it
            known = await self.control.names()
            for setting, names in named.items():
                for name in sorted(names - set(known)):
                    closest = {"hint": suggest(name, known)} if known else {}
                    logger.warning(
                        "setting for a model that the repository does not have",
                        extra={"setting": setting, "model": name, **closest},
                    )

    def _check_models(self) -> None:
        if error := self.registry.first_error():
            raise StartError(str(error))
        if not self.registry.models():
            why = reasons(self.control.misnamed) or f"; {FIRST_MODEL}"
            raise StartError(f"no models in {self._settings.model_repository}{why}")
