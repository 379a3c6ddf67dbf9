"""`engine.Model` in a front: a slot and a record stand for a request."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

import numpy as np

from convoy.service.call import Call, Request
from convoy.service.decoding.decoder import Decoder
from convoy.service.engine import Tensor
from convoy.service.serving.fronts.arena import Slot
from convoy.service.serving.fronts.link import Link
from convoy.service.serving.fronts.records import METHODS, ToEngine, slot_bytes
from convoy.service.serving.fronts.snapshot import ModelDescription
from convoy.service.serving.monitoring.signal_counter import SignalCounts
from convoy.service.telemetry.metrics import ModelMetrics
from convoy.service.telemetry.statistics import Statistics


class RemoteModel:
    """
    A version that the engine serves.

    Args:
        on_unused: Called with the model when no call holds it any more.

    Attributes:
        number: The engine's number for it.
        statistics: What this front has counted since its last report.
    """

    def __init__(
        self,
        description: ModelDescription,
        link: Link,
        decoder: Decoder,
        metrics: ModelMetrics,
        on_unused: Callable[[RemoteModel], None],
    ) -> None:
        self.number = description.number
        self.manifest = description.manifest
        self.name = description.manifest.name
        self.version = description.manifest.version
        self.max_batch_size = description.max_batch_size
        self.provider = description.provider
        self.precision = description.precision
        self.fallback_reason = description.fallback_reason
        self.baseline = description.baseline
        self.metrics = metrics
        self.statistics = Statistics()
        self._signals: SignalCounts = {}
        self._link = link
        self._decoder = decoder
        self._on_unused = on_unused
        self._holders = 0
        tensor = self.manifest.input
        self._image_bytes = math.prod(tensor.item_shape) * np.dtype(tensor.dtype).itemsize

    @property
    def held(self) -> bool:
        """True if a call holds the model."""
        return self._holders > 0

    def hold(self) -> None:
        """Keep the model open until `release`; any number of calls may hold it."""
        self._holders += 1

    def release(self) -> None:
        """Allow the model to close, once no other call holds it."""
        self._holders -= 1
        if not self._holders:
            self._on_unused(self)

    def count_signals(self, counts: SignalCounts) -> None:
        """Count the signals of a request, for the next report."""
        for signal, images in counts.items():
            self._signals[signal] = self._signals.get(signal, 0) + images

    def take_signals(self) -> dict[str, list[int]]:
        """Return the counts in the bins of each signal since the last report, and reset them."""
        taken, self._signals = self._signals, {}
        return {signal: images.tolist() for signal, images in taken.items()}

    def suspect(self) -> None:
        """Do nothing: the engine has seen the failure itself."""

    async def check_room(self, images: int) -> None:
        """Raise `QueueFullError` if the queue has no room for *images* more."""
        request = Request(images=images)
        ended = request.ending()
        self._submit(ToEngine.ROOM, request, self._take_slot(0))
        await self._wait(request, ended)

    async def infer(self, request: Request, batch: Tensor) -> None:
        """Run a tensor; see `engine.Model`."""
        ended = request.ending()
        self.offer(request, batch)
        await self._wait(request, ended)

    async def infer_images(self, request: Request, images: Sequence[bytes]) -> None:
        """Decode images, and run them together; see `engine.Model`."""
        request.encoded, request.images = images, len(images)
        ended = request.ending()
        slot = self._take_slot(len(images))
        # The request gets its place before any work is spent on its images.
        self._submit(ToEngine.RESERVE, request, slot)
        try:
            await request.prepare(self._decoder.decode(request, images, self.manifest), ended)
            # It was refused meanwhile, or its deadline has passed.
            if not request.done:
                self._link.write(slot, _bytes_of(request.item))
                request.enqueued_at = asyncio.get_running_loop().time()
                self._link.tell_of(request, ToEngine.READY)
        except BaseException:
            self.withdraw(request)
            raise
        await self._wait(request, ended)

    def offer(self, request: Request, batch: Tensor) -> None:
        """Run a tensor as `infer` does, without waiting; `request.on_done` is called later."""
        request.item, request.images = batch, len(batch)
        slot = self._take_slot(len(batch))
        self._link.write(slot, _bytes_of(batch))
        request.enqueued_at = asyncio.get_running_loop().time()
        self._submit(ToEngine.SUBMIT, request, slot)

    def withdraw(self, request: Request) -> None:
        """Tell the engine that the client has disconnected; the slot comes back later."""
        if not request.done:
            request.withdraw()
            self._link.tell_of(request, ToEngine.WITHDRAW)

    def _take_slot(self, images: int) -> Slot:
        manifest = self.manifest
        size = slot_bytes(self._image_bytes, manifest.outputs, len(manifest.labels), images)
        return self._link.slots.take(size)

    def _submit(self, kind: ToEngine, request: Request, slot: Slot) -> None:
        method = whole = 0
        if isinstance(request, Call):
            method, whole = METHODS.index(request.method), request.whole_id
        self._link.submit(kind, request, self, slot, method, whole)

    async def _wait(self, request: Request, ended: asyncio.Future[None]) -> None:
        """Wait until *request* is answered; a cancellation withdraws it."""
        try:
            await ended
        except BaseException:
            self.withdraw(request)
            raise
        request.raise_failure()


def _bytes_of(batch: Tensor) -> memoryview:
    return np.ascontiguousarray(batch).reshape(-1).view(np.uint8).data
