"""A front and the engine at both ends of one connection: what they share, and what they keep."""

from __future__ import annotations

import asyncio
import os
import socket
import time

import numpy as np
import pytest

from convoy.service.call import Request
from convoy.service.errors import RequestExpiredError, ServerBusyError
from convoy.service.serving.fronts import front_session
from convoy.service.serving.fronts.arena import Slot, make_arena
from convoy.service.serving.fronts.front_session import OnAnswer, Session
from convoy.service.serving.fronts.link import Link
from convoy.service.serving.fronts.records import ToEngine, encode_outputs, slot_bytes
from convoy.service.serving.fronts.remote_model import RemoteModel
from convoy.service.serving.monitoring.worker import Repeated
from convoy.service.serving.shadows.shadow import OnEnd
from convoy.service.telemetry.metrics import ModelMetrics
from tests.harness import tiny
from tests.harness.descriptors import no_blob
from tests.harness.server import Running, Serve


class Ends:
    """
    Both ends of a connection, for the tiny model of a server with fronts.

    Attributes:
        session: The end of the engine.
        link: The end of the front.
        model: The model in the front.
        logged: Number of answers of shadows that the front has to log.
    """

    def __init__(self, running: Running, on_answer: OnAnswer) -> None:
        server = running.server
        assert server.fronts is not None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arena = make_arena(2**20)
        self.logged = 0
        self.session = Session(ours, arena, server.metrics, None, lambda: None, on_answer)
        self.link = Link(
            theirs,
            arena,
            on_blob=lambda kind, data: None,
            on_repeated=self._count,
            on_ask=lambda number: None,
            on_stop=lambda: None,
            on_lost=lambda: None,
        )
        os.close(arena)
        snapshot = server.fronts._state(1)
        served = {snapshot.models[0].number: server.registry.get("tiny")}
        self.session.send_snapshot(snapshot, served)
        metrics = ModelMetrics(server.metrics, "tiny")
        self.model = RemoteModel(
            snapshot.models[0], self.link, server.decoder, metrics, lambda model: None
        )

    def take_slot(self, image: bytes) -> Slot:
        """Take a slot for an image."""
        manifest = self.model.manifest
        size = slot_bytes(len(image), manifest.outputs, len(manifest.labels), images=1)
        return self.link.slots.take(size)

    def _count(self, *_: object) -> None:
        self.logged += 1


class HeldShadow:
    """A shadow that repeats each request, and ends when the test calls one of `ended`."""

    def __init__(self) -> None:
        self.ended: list[OnEnd] = []

    def repeat(self, request: Request, model: object, on_end: OnEnd) -> bool:
        """Repeat a request."""
        self.ended.append(on_end)
        return True


def no_shadow(*_: object) -> bool:
    """Repeat no request."""
    return False


async def test_error_while_an_image_is_written(serve: Serve) -> None:
    """
    An image that a front writes while the engine refuses its request leaves the error as it is.
    """
    async with serve(front_processes=1, transport="grpcio") as running:
        ends = Ends(running, no_shadow)
        request = Request(images=1, deadline=time.monotonic() + 0.05)
        image = tiny.pixels(255).tobytes()
        slot = ends.take_slot(image)
        ends.link.submit(ToEngine.RESERVE, request, ends.model, slot)
        # At any moment from before the engine refuses it until the front learns of it.
        while not request.done:
            ends.link.write(slot, image)
            await asyncio.sleep(0)
        ends.session.close()
    assert isinstance(request.error, RequestExpiredError)
    assert str(request.error) == "the deadline passed while the request was queued"


async def test_request_that_a_shadow_drops(serve: Serve) -> None:
    """
    A front keeps a request that a shadow repeats until that has ended, and no longer.
    """
    async with serve(front_processes=1, transport="grpcio") as running:
        shadow = HeldShadow()
        ends = Ends(running, shadow.repeat)
        await ends.model.infer(Request(), tiny.pixels(3))
        assert len(ends.link._repeated) == 1
        shadow.ended[0](None)
        await running.until(lambda: not ends.link._repeated)
        assert ends.logged == 0
        ends.session.close()


async def test_answer_without_a_free_descriptor(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    An answer that is larger than its slot fails without a free descriptor, and the others of its
    batch are sent.
    """
    async with serve(front_processes=1, transport="grpcio") as running:
        ends = Ends(running, no_shadow)
        requests = [Request(), Request()]
        answers = [ends.model.infer(request, tiny.pixels(3)) for request in requests]
        larger = iter([True, False])
        no_blob(monkeypatch)
        monkeypatch.setattr(
            front_session,
            "encode_outputs",
            lambda *what: encode_outputs(*what) + bytes(2**20 if next(larger) else 0),
        )
        async with asyncio.timeout(10):
            failed, beside = await asyncio.gather(*answers, return_exceptions=True)
        assert isinstance(failed, ServerBusyError)
        assert str(failed) == "the server has no room left for the answer: Too many open files"
        assert beside is None
        assert requests[1].batch_size == 2
        ends.session.close()


async def test_row_without_a_free_descriptor(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The answer of a shadow for which no descriptor is free is counted as lost for the log.
    """
    async with serve(front_processes=1, transport="grpcio") as running:
        shadow = HeldShadow()
        ends = Ends(running, shadow.repeat)
        request = Request()
        await ends.model.infer(request, tiny.pixels(3))
        no_blob(monkeypatch)
        repeated = Request(images=1, outputs=request.outputs, batch_size=1)
        shadow.ended[0](Repeated(repeated, ends.model.manifest, np.array([True])))
        await running.until(lambda: not ends.link._repeated)
        assert ends.logged == 0
        lost = running.sample("convoy_prediction_log_dropped_total", reason="internal_error")
        assert lost == 1
        ends.session.close()
