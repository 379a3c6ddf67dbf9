"""One front process: makes its parts, and serves until the engine stops it, or ends.

The engine starts it with two descriptors: its end of their connection, and the shared memory.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections import Counter

import grpc
from prometheus_client import CollectorRegistry
from pydantic_core import to_json

from convoy.service.call import Call, Calls, Model, Request
from convoy.service.errors import StartError
from convoy.service.machine.resources import (
    map_large_blocks,
    raise_descriptor_limit,
    usable_cpus,
)
from convoy.service.process.shared_parts import (
    connection_limits,
    make_decoder,
    make_lifecycle,
    open_prediction_log,
    open_tracing,
)
from convoy.service.rpc.front_server import FrontServer
from convoy.service.rpc.limits import UNLIMITED
from convoy.service.security.access import Access
from convoy.service.security.shared_credentials import Contents, SharedCredentials
from convoy.service.serving.fronts.front_start import Start
from convoy.service.serving.fronts.link import Link
from convoy.service.serving.fronts.records import Blob, ToEngine
from convoy.service.serving.fronts.remote_model import RemoteModel
from convoy.service.serving.fronts.remote_models import RemoteModels
from convoy.service.serving.fronts.snapshot import Snapshot
from convoy.service.serving.monitoring.predictions import PredictionLog
from convoy.service.serving.monitoring.signal_counter import SignalCounter, SignalCounts
from convoy.service.serving.monitoring.worker import Repeated
from convoy.service.settings import Settings
from convoy.service.telemetry import logs
from convoy.service.telemetry.metrics import Metrics
from convoy.service.telemetry.reports import take_metrics

logger = logging.getLogger(__name__)

REPORT_INTERVAL_S = 0.1
"""
Time between two reports, in seconds: a front that is killed takes no more of its counts along.

The engine asks for a report before it shows metrics.
"""

COUNT_TIMEOUT_S = 1.0
"""Time limit at the end for counting the signals of the last requests, in seconds."""


class Front:
    """
    One front.

    Args:
        connected: Its end of the connection to the engine.
        arena: Descriptor of the memory that it shares with the engine.

    Attributes:
        start: The engine's first message.
        stopping: Set when the front has to end.
        lost: Whether the engine has ended, or has sent data that this front cannot use.
        link: Hands requests to the engine.
        metrics: The metrics that it counts in, from `serve` on.
        lifecycle: Its phase, and calls in flight, from `serve` on.
    """

    def __init__(self, connected: socket.socket, arena: int) -> None:
        self.start = asyncio.get_running_loop().create_future()
        self.stopping = asyncio.Event()
        self.lost = False
        self.link = Link(
            connected,
            arena,
            on_blob=self._take_blob,
            on_repeated=self._log_repeated,
            on_ask=self._report,
            on_stop=self.stopping.set,
            on_lost=lambda: self._end("the engine has ended"),
        )
        self._models: RemoteModels | None = None
        self._snapshot: Snapshot | None = None
        self._credentials: SharedCredentials | None = None
        self._predictions: PredictionLog | None = None
        self._dropped = Counter[str]()
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> None:
        """
        Serve until the engine stops this front, or has ended.

        Raises:
            StartError: If the port is not available, or the engine has ended or sent data that
                this front cannot use.
        """
        start: Start = await self.start
        settings = Settings.model_validate_json(start.settings)
        logs.configure(settings.log_level, settings.log_format)
        self.metrics = Metrics(CollectorRegistry())
        self.lifecycle = make_lifecycle(settings, start.fronts)
        credentials = self._credentials
        assert credentials is not None
        decoder = make_decoder(settings, usable_cpus())
        tracing = open_tracing(settings.traces)
        predictions = open_prediction_log(settings, credentials.tokens, self._count_dropped)
        self._predictions = predictions
        self._models = RemoteModels(self.link, decoder, self.metrics, self._report)
        signals = SignalCounter(self._count_signals) if settings.drift else None
        control = settings.control and settings.control_port is None
        calls = Calls(
            Access(credentials.tokens, control=control),
            self.lifecycle,
            self.metrics,
            log_requests=settings.log_requests,
            tracing=tracing,
            observers=[one.observe for one in (predictions, signals) if one],
        )
        async with grpc.aio.insecure_channel(f"unix:{start.engine}", _OPTIONS) as engine:
            server = FrontServer(
                self._models,
                calls,
                engine,
                transport=settings.transport,
                tls=credentials.tls,
                limits=connection_limits(settings, settings.transport, start.fronts),
                max_images_per_call=settings.max_images_per_call,
            )
            if self._snapshot:
                self._apply(self._snapshot)
            await server.start(start.address, start.port)
            if self.lost:
                raise StartError("the engine has sent no state to serve")
            self.link.tell(ToEngine.HELLO)
            gc.freeze()
            reporting = asyncio.create_task(self._keep_reporting(), name="reports")
            await self.stopping.wait()
            reporting.cancel()
            await server.stop()
            decoder.close()
            for closed in (tracing, predictions):
                if closed:
                    await asyncio.to_thread(closed.close)
            if signals:
                await asyncio.to_thread(signals.close, COUNT_TIMEOUT_S)
        self._report()
        await asyncio.sleep(0)  # the report is sent in the next turn of the event loop

    def _take_blob(self, kind: Blob, data: bytes) -> None:
        try:
            self._use(kind, data)
        # With an outdated state, or none, the front would refuse calls forever. The engine replaces
        # a front that has ended, and counts it.
        except Exception:
            logger.exception("cannot use data from the engine, ending this front process")
            self._end("the engine sent data that the front cannot use")

    def _use(self, kind: Blob, data: bytes) -> None:
        if kind is Blob.START:
            start = Start.model_validate_json(data)
            self._credentials = SharedCredentials(start.credentials)
            self.start.set_result(start)
            return
        if kind is Blob.CREDENTIALS:
            assert self._credentials is not None
            self._credentials.use(Contents.model_validate_json(data))
            return
        snapshot = Snapshot.model_validate_json(data)
        # It comes while this front makes its parts.
        if self._models is None:
            self._snapshot = snapshot
        else:
            self._apply(snapshot)

    def _apply(self, snapshot: Snapshot) -> None:
        assert self._models is not None
        self.lifecycle.phase = snapshot.phase
        logging.getLogger().setLevel(snapshot.log_level)
        self._models.apply(snapshot)
        self.link.tell(ToEngine.SEEN, number=snapshot.number)

    async def _keep_reporting(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            self._report()

    def _report(self, number: int = 0) -> None:
        """Send what was counted since the last report; *number* repeats that of the request."""
        if self._models is None:
            return
        report = {
            "number": number,
            "metrics": take_metrics(self.metrics),
            "statistics": self._models.take_statistics(),
            "signals": self._models.take_signals(),
            "predictions_dropped": self._dropped,
            "in_flight": self.lifecycle.in_flight,
            "waiting": self.lifecycle.waiting,
            "used_bytes": self.link.slots.used,
        }
        self.link.send_report(to_json(report))
        self._dropped = Counter()

    def _log_repeated(self, request: Request, model: RemoteModel, repeated: Repeated) -> None:
        """Log the answer of a shadow, which the engine has sampled."""
        assert self._predictions is not None
        assert isinstance(request, Call)
        self._predictions.keep_repeated(request, model, repeated)

    def _count_dropped(self, reason: str, rows: int) -> None:
        """Count rows that the prediction log lost; called in its thread."""
        self._loop.call_soon_threadsafe(lambda: self._dropped.update({reason: rows}))

    def _count_signals(self, model: Model, counts: SignalCounts) -> None:
        """Count the signals of a request; called in the counting thread."""
        assert isinstance(model, RemoteModel)
        self._loop.call_soon_threadsafe(model.count_signals, counts)

    def _end(self, reason: str) -> None:
        """End this front; if the engine still runs, its requests are answered first."""
        self.lost = True
        self.stopping.set()
        if not self.start.done():
            self.start.set_exception(StartError(reason))


_OPTIONS = (
    ("grpc.max_receive_message_length", UNLIMITED),
    ("grpc.max_send_message_length", UNLIMITED),
    ("grpc.max_metadata_size", UNLIMITED),
    ("grpc.absolute_max_metadata_size", UNLIMITED),
    ("grpc.use_local_subchannel_pool", 1),
)


async def _serve(connected: socket.socket, arena: int) -> bool:
    front = Front(connected, arena)
    await front.serve()
    return front.lost


def main(connection: int, arena: int) -> int:
    """Serve with these descriptors; return the exit code."""
    # The engine gets these signals, too, and decides when its fronts end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logs.configure("info", "auto")
    map_large_blocks()
    raise_descriptor_limit()
    try:
        lost = asyncio.run(_serve(socket.socket(fileno=connection), arena))
    except StartError as error:
        logger.error("a front process cannot start: %s", error)
        return 1
    return int(lost)


if __name__ == "__main__":
    code = main(int(sys.argv[1]), int(sys.argv[2]))
    logging.shutdown()
    # Threads that still decode must not delay the end.
    os._exit(code)
