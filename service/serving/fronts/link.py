"""A front's side of its connection to the engine: a slot and a ticket for each request."""

from __future__ import annotations

import itertools
import math
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from convoy.service.call import Request
from convoy.service.errors import ShuttingDownError
from convoy.service.serving.fronts.arena import Slot, Slots, map_arena
from convoy.service.serving.fronts.packets import Packets
from convoy.service.serving.fronts.records import (
    DEMAND,
    ERRORS,
    REPLY,
    TEXT_BYTES,
    Blob,
    Demand,
    Reply,
    ToEngine,
    ToFront,
    decode_outputs,
)
from convoy.service.serving.fronts.repeats import decode_repeated
from convoy.service.serving.monitoring.worker import Repeated

if TYPE_CHECKING:
    from convoy.service.serving.fronts.remote_model import RemoteModel


class Link:
    """
    Sends requests to the engine, and ends them when their answers come. Owned by the event loop.

    Args:
        arena: Descriptor of the shared memory.
        on_blob: Called with the start and with each snapshot.
        on_repeated: Called with a request that was answered, its model, and the answer of a shadow.
        on_ask: Called with the number of a report that the engine asks for.
        on_stop: Called when the front has to end.
        on_lost: Called when the engine has ended; every request has failed by then.
    """

    def __init__(
        self,
        connected: socket.socket,
        arena: int,
        *,
        on_blob: Callable[[Blob, bytes], None],
        on_repeated: Callable[[Request, RemoteModel, Repeated], None],
        on_ask: Callable[[int], None],
        on_stop: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._memory = memoryview(map_arena(arena))
        self.slots = Slots(len(self._memory))
        self._open: dict[int, tuple[Request, RemoteModel, Slot]] = {}
        self._ticket_of: dict[Request, int] = {}
        self._repeated: dict[int, tuple[Request, RemoteModel]] = {}  # until a shadow has ended them
        self._tickets = itertools.count(1)
        self._on_blob = on_blob
        self._on_repeated = on_repeated
        self._on_ask = on_ask
        self._on_stop = on_stop
        self._on_lost = on_lost
        self._apart = b""
        self._lost = False
        self._packets = Packets(
            connected,
            DEMAND,
            REPLY,
            on_records=self._take_all,
            on_blob=self._take_blob,
            on_lost=self._fail_all,
        )

    def submit(
        self,
        kind: ToEngine,
        request: Request,
        model: RemoteModel,
        slot: Slot,
        method: int = 0,
        whole: int = 0,
    ) -> None:
        """Hand *slot* and its request to the engine; `request.on_done` is called at its end."""
        if self._lost:
            self.slots.free(slot)
            raise ShuttingDownError("the server is shutting down")
        ticket = next(self._tickets) & 0xFFFFFFFF
        self._open[ticket] = (request, model, slot)
        self._ticket_of[request] = ticket
        self._packets.send(
            Demand(
                kind,
                request.priority,
                method,
                ticket,
                model.number,
                request.images,
                slot.offset,
                slot.size,
                request.deadline,
                whole,
            )
        )

    def tell(self, kind: ToEngine, *, number: int = 0, model: int = 0) -> None:
        """Send a record about a snapshot, about a model, or about neither."""
        self._packets.send(Demand(kind, ticket=number, model=model))

    def tell_of(self, request: Request, kind: ToEngine) -> None:
        """Send a record about a request, unless the engine has answered it."""
        if ticket := self._ticket_of.get(request):
            self._packets.send(Demand(kind, ticket=ticket))

    def write(self, slot: Slot, data: Any) -> None:
        """Write *data*, a buffer of bytes, to the start of *slot*."""
        self._memory[slot.offset : slot.offset + len(data)] = data

    def send_report(self, data: bytes) -> None:
        self._packets.send_blob(Blob.REPORT, data)

    def _take_all(self, records: Iterator[tuple[Any, ...]]) -> None:
        for fields in records:
            reply = Reply._make(fields)
            if reply.kind == ToFront.ASK:
                self._on_ask(reply.ticket)
            elif reply.kind == ToFront.STOP:
                self._on_stop()
            elif reply.kind == ToFront.REPEATED:
                self._end_repeated(reply)
            else:
                self._end(reply)

    def _end(self, reply: Reply) -> None:
        """End a request with the contents of its slot, which is free then."""
        request, model, slot = self._open.pop(reply.ticket)
        del self._ticket_of[request]
        start = slot.offset
        if reply.kind == ToFront.FAILURE:
            start += slot.size - TEXT_BYTES
        data = bytes(self._memory[start : min(start + reply.size, slot.offset + slot.size)])
        self.slots.free(slot)
        # Its client has disconnected.
        if request.done:
            return
        if reply.kind == ToFront.FAILURE:
            retry_s = None if math.isnan(reply.retry_after_s) else reply.retry_after_s
            request.fail(ERRORS[reply.error](data.decode(errors="replace"), retry_s))
            return
        if reply.kind == ToFront.APART:
            data, self._apart = self._apart, b""
        if reply.is_repeated:
            self._repeated[reply.ticket] = request, model
        # Only the answer of ROOM has no outputs.
        outputs = decode_outputs(data, model.manifest.outputs) if data else {}
        request.answer(outputs, reply.started, reply.ended, reply.batch_size, reply.times)

    def _end_repeated(self, reply: Reply) -> None:
        """Pass on the answer of a shadow, if there is one to be logged."""
        data, self._apart = self._apart, b""
        # None if its client has disconnected.
        kept = self._repeated.pop(reply.ticket, None)
        if kept and reply.size:
            request, model = kept
            self._on_repeated(request, model, decode_repeated(data, model.manifest))

    def _take_blob(self, kind: Blob, data: bytes) -> None:
        if kind is Blob.OUTPUTS:
            self._apart = data
        else:
            self._on_blob(kind, data)

    def _fail_all(self) -> None:
        self._lost = True
        for request, _, _ in list(self._open.values()):
            request.fail(ShuttingDownError("the server has stopped; try another replica"))
        self._open.clear()
        self._ticket_of.clear()
        self._repeated.clear()
        self._on_lost()
