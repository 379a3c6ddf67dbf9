"""The engine's side of one front: its demands become requests of the scheduler."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from pydantic_core import from_json

from convoy.service.call import Request
from convoy.service.errors import InferenceError, ServerBusyError, ShuttingDownError
from convoy.service.lifecycle import BUSY_RETRY_S
from convoy.service.security.shared_credentials import Contents
from convoy.service.serving.fronts.arena import map_arena
from convoy.service.serving.fronts.front_start import Start
from convoy.service.serving.fronts.packets import Packets
from convoy.service.serving.fronts.records import (
    DEMAND,
    METHODS,
    REPLY,
    TEXT_BYTES,
    Blob,
    Demand,
    Reply,
    ToEngine,
    ToFront,
    encode_outputs,
    error_index,
)
from convoy.service.serving.fronts.repeats import encode_repeated
from convoy.service.serving.fronts.snapshot import Snapshot
from convoy.service.serving.monitoring.drift import Drift
from convoy.service.serving.monitoring.worker import Repeated
from convoy.service.serving.served_model import ServedModel
from convoy.service.serving.shadows.shadow import OnEnd
from convoy.service.telemetry.metrics import Metrics
from convoy.service.telemetry.reports import Report, add_metrics, add_statistics

logger = logging.getLogger(__name__)

OnAnswer = Callable[[Request, ServedModel, OnEnd], bool]
"""
Called with a request that was answered, its model, and a function.

It returns whether it repeats the request on a shadow; it then calls the function later, once.
"""

LOST = ShuttingDownError.status
"""Status of calls that end with their front, as their clients see it."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Request(Request):
    """A request of a front: `Request`, with the demand that it came with, and when it came."""

    model: ServedModel
    demand: Demand
    received_at: float


class _Input(NamedTuple):
    """The dtype of a model's input, the shape of one image, and its number of values."""

    dtype: np.dtype[Any]
    item_shape: tuple[int, ...]
    item_size: int

    @classmethod
    def of(cls, model: ServedModel) -> _Input:
        spec = model.manifest.input
        return cls(np.dtype(spec.dtype), spec.item_shape, math.prod(spec.item_shape))


class Session:
    """
    One front, from its start to its end. Owned by the event loop.

    Args:
        arena: Descriptor of the shared memory.
        metrics: Receives what the front counts.
        drift: Receives the signals that the front counts; None if drift is not measured.
        on_lost: Called when the front has closed its end.
        on_answer: Called with each request that was answered, before its slot is given back.

    Attributes:
        listens: Whether the front accepts connections.
        seen: Number of the last snapshot that the front has in use.
        reported: Number of the last report that was asked for and has arrived.
        in_flight: Calls in the front, as of its last report.
        waiting: Calls in the front's transport, as of its last report.
        used_bytes: Bytes of its arena in use, as of its last report.
        heard: Whether a packet has arrived since this was last set to False.
    """

    def __init__(
        self,
        connected: socket.socket,
        arena: int,
        metrics: Metrics,
        drift: Drift | None,
        on_lost: Callable[[], None],
        on_answer: OnAnswer,
    ) -> None:
        self._on_answer = on_answer
        self._arena = map_arena(arena)
        self._memory = memoryview(self._arena)
        self._size = len(self._memory)
        self._metrics = metrics
        self._drift = drift
        self._on_lost = on_lost
        self._models: dict[int, ServedModel] = {}  # held until the front releases them
        self._inputs: dict[int, _Input] = {}
        self._open: dict[int, _Request] = {}
        self._packets = Packets(
            connected,
            REPLY,
            DEMAND,
            on_records=self._take_all,
            on_blob=self._take_report,
            on_lost=on_lost,
        )
        self.listens = False
        self.seen = 0
        self.reported = 0
        self.in_flight = 0
        self.waiting = 0
        self.used_bytes = 0
        self.heard = False

    def send_start(self, start: Start) -> None:
        """Send what the front needs to begin."""
        self._packets.send_blob(Blob.START, start.model_dump_json().encode())

    def send_credentials(self, contents: Contents) -> None:
        """Send credentials that replace those of the start."""
        self._packets.send_blob(Blob.CREDENTIALS, contents.model_dump_json().encode())

    def send_snapshot(self, snapshot: Snapshot, served: dict[int, ServedModel]) -> None:
        """
        Send *snapshot*, and hold the models that it names until the front releases them.

        Raises:
            OSError: As `Packets.send_blob`; nothing is held then.
        """
        self._packets.send_blob(Blob.SNAPSHOT, snapshot.model_dump_json().encode())
        for number, model in served.items():
            if number not in self._models:
                model.hold()
                self._models[number] = model
                self._inputs[number] = _Input.of(model)

    def ask(self, number: int) -> None:
        """Ask for a report with this number."""
        self._packets.send(Reply(ToFront.ASK, ticket=number))

    def stop(self) -> None:
        """Ask the front to answer its calls, and to end."""
        self._packets.send(Reply(ToFront.STOP))

    def close(self) -> None:
        """Withdraw the requests of a front that has ended, and release what it held."""
        self._packets.close()
        calls: set[int] = set()
        for request in self._open.values():
            # A run may still read the slot: the memory lives until nothing refers to it.
            request.model.withdraw(request)
            self._count_lost(request, calls)
        self._open.clear()
        for model in self._models.values():
            model.release()
        self._models.clear()
        self.in_flight = 0

    def _take_all(self, records: Iterator[tuple[Any, ...]]) -> None:
        with self._hearing():
            for fields in records:
                self._take(Demand._make(fields))

    @contextmanager
    def _hearing(self) -> Iterator[None]:
        """Take what the front has sent; give it up if that is invalid."""
        self.heard = True
        try:
            yield
        # Only a front that has run wild sends nonsense: it must not reach other fronts' requests.
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            logger.exception("a front process sent an invalid record or report")
            self._packets.close()
            self._on_lost()

    def _take(self, demand: Demand) -> None:
        match demand.kind:
            case ToEngine.SUBMIT:
                request = self._request(demand)
                tensor = self._tensor(request)
                try:
                    request.model.offer(request, tensor)
                # Refused by the queue; `on_done` replies, here and below.
                except Exception as error:
                    request.fail(error)
            case ToEngine.RESERVE:
                request = self._request(demand)
                try:
                    request.model.reserve(request, demand.images)
                except Exception as error:
                    request.fail(error)
            case ToEngine.READY:
                # It has failed meanwhile if it is not there.
                if reserved := self._open.get(demand.ticket):
                    if reserved.item is not None:
                        raise ValueError(f"ready twice: {demand}")
                    reserved.model.run_reserved(reserved, self._tensor(reserved))
            case ToEngine.WITHDRAW:
                self._withdraw(demand.ticket)
            case ToEngine.ROOM:
                request = self._request(demand)
                try:
                    self._answer_room(request)
                except Exception as error:
                    request.fail(error)
            case ToEngine.RELEASE:
                del self._inputs[demand.model]
                self._models.pop(demand.model).release()
            case ToEngine.SEEN:
                self.seen = demand.ticket
            case ToEngine.HELLO:
                self.listens = True
            case _:
                raise ValueError(f"unknown kind of record: {demand.kind}")

    def _request(self, demand: Demand) -> _Request:
        request = _Request(
            deadline=demand.deadline,
            priority=demand.priority,
            on_done=self._reply,
            model=self._models[demand.model],
            demand=demand,
            received_at=time.monotonic(),
        )
        fits = TEXT_BYTES <= demand.size <= self._size - demand.offset
        if not fits or demand.method >= len(METHODS) or demand.ticket in self._open:
            raise ValueError(f"invalid slot, method or ticket: {demand}")
        self._open[demand.ticket] = request
        return request

    def _tensor(self, request: _Request) -> np.ndarray[Any, Any]:
        """Return the tensor in the slot: a view of the arena."""
        model, demand = request.model, request.demand
        dtype, item_shape, item_size = self._inputs[demand.model]
        images = demand.images
        count = images * item_size
        fits = count * dtype.itemsize <= demand.size - TEXT_BYTES
        if not fits or not 1 <= images <= model.max_batch_size:
            raise ValueError(f"invalid images: {demand}")
        return np.frombuffer(self._arena, dtype, count, demand.offset).reshape(images, *item_shape)

    def _answer_room(self, request: _Request) -> None:
        request.model.check_room_now(request.demand.images)
        del self._open[request.demand.ticket]
        self._packets.send(Reply(ToFront.ANSWER, ticket=request.demand.ticket))

    def _withdraw(self, ticket: int) -> None:
        request = self._open.get(ticket)
        # It was answered already, or its batch runs, and its answer returns the slot.
        if request is None or not request.model.waits(request):
            return
        request.model.withdraw(request)
        del self._open[ticket]
        self._packets.send(Reply(ToFront.FAILURE, ticket=ticket))

    def _reply(self, done: Request) -> None:
        """Write the outputs, or the error, into the slot, and give it back to the front."""
        assert isinstance(done, _Request)
        del self._open[done.demand.ticket]
        if error := done.error:
            done.error = None  # its traceback refers to the request: break the cycle
            self._send_error(done, error)
        else:
            on_end = partial(self._send_repeated, done)
            is_repeated = self._on_answer(done, done.model, on_end)
            try:
                self._send_outputs(done, is_repeated=is_repeated)
            # The other requests of the batch have their answers still to come.
            except OSError as error:
                text = f"the server has no room left for the answer: {error.strerror}"
                self._send_error(done, ServerBusyError(text, BUSY_RETRY_S))

    def _send_outputs(self, request: _Request, *, is_repeated: bool) -> None:
        """
        Send an answer.

        Raises:
            OSError: If its outputs are larger than the slot, as `Packets.send_blob`; nothing is
                sent then.
        """
        _, _, _, ticket, _, _, offset, size, *_ = request.demand
        data = encode_outputs(request.outputs, request.model.manifest.outputs)
        length = len(data)
        kind = ToFront.ANSWER
        if length <= size:
            self._memory[offset : offset + length] = data
        else:
            kind = ToFront.APART
            self._packets.send_blob(Blob.OUTPUTS, data)
        started = request.enqueued_at + request.queue_s
        ended = started + request.inference_s
        input_s, infer_s, output_s, _ = request.times
        self._packets.send(
            Reply(
                *(kind, 0, is_repeated, ticket, length, request.batch_size),
                *(started, ended, input_s, infer_s, output_s),
            )
        )

    def _send_repeated(self, request: _Request, repeated: Repeated | None) -> None:
        """Send the answer of a shadow to a request, if the front has to log it."""
        data = b""
        if repeated:
            encoded = encode_repeated(repeated, request.model.manifest)
            try:
                self._packets.send_blob(Blob.OUTPUTS, encoded)
                data = encoded
            # No descriptor or no memory is left: the log loses this row only.
            except OSError:
                self._metrics.prediction_dropped("internal_error", request.images)
        ticket = request.demand.ticket
        self._packets.send(Reply(ToFront.REPEATED, ticket=ticket, size=len(data)))

    def _send_error(self, request: _Request, error: Exception) -> None:
        demand = request.demand
        text = str(error).encode()[:TEXT_BYTES]
        start = demand.offset + demand.size - TEXT_BYTES
        self._memory[start : start + len(text)] = text
        retry_s = getattr(error, "retry_after_s", None)
        self._packets.send(
            Reply(
                ToFront.FAILURE,
                error=error_index(error),
                ticket=demand.ticket,
                size=len(text),
                retry_after_s=math.nan if retry_s is None else retry_s,
            )
        )
        # The model may have lost its device.
        if isinstance(error, InferenceError):
            request.model.suspect()

    def _take_report(self, _: Blob, data: bytes) -> None:
        with self._hearing():
            self._count(from_json(data))

    def _count(self, report: Report) -> None:
        add_metrics(self._metrics, report["metrics"])
        for number, counted in report["statistics"].items():
            # The front reports before it releases a model.
            add_statistics(self._models[int(number)].statistics, counted)
        for number, signals in report["signals"].items():
            assert self._drift is not None
            counts = {signal: np.array(images) for signal, images in signals.items()}
            self._drift.add(self._models[int(number)], counts)
        for reason, rows in report["predictions_dropped"].items():
            self._metrics.prediction_dropped(reason, rows)
        self.reported = report["number"]
        self.in_flight = report["in_flight"]
        self.waiting = report["waiting"]
        self.used_bytes = report["used_bytes"]

    def _count_lost(self, request: _Request, calls: set[int]) -> None:
        """
        Count a call that ended with its front, as the front can no longer do that.

        Args:
            calls: The calls of several images that are counted; a new one is added.
        """
        name, method = request.model.name, METHODS[request.demand.method]
        seconds, whole = time.monotonic() - request.received_at, request.demand.whole
        request.model.statistics.fail.add(seconds)
        if method and whole not in calls:
            self._metrics.requests.counts[name, method, LOST] += 1
            self._metrics.request_duration.labels(name).observe(seconds)
        if whole:
            calls.add(whole)
