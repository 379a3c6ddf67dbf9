"""The slots that a front and the engine share: each reads there what the other has written."""

from __future__ import annotations

import asyncio
import os
import socket
import time

from convoy.service.call import Request
from convoy.service.errors import RequestExpiredError
from convoy.service.serving.fronts.arena import make_arena
from convoy.service.serving.fronts.front_session import Session
from convoy.service.serving.fronts.link import Link
from convoy.service.serving.fronts.records import ToEngine, slot_bytes
from convoy.service.serving.fronts.remote_model import RemoteModel
from convoy.service.telemetry.metrics import ModelMetrics
from tests.harness import tiny
from tests.harness.server import Serve


async def test_error_while_an_image_is_written(serve: Serve) -> None:
    """
    An image that a front writes while the engine refuses its request leaves the error as it is.
    """
    async with serve(front_processes=1, transport="grpcio") as running:
        server = running.server
        assert server.fronts is not None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arena = make_arena(2**20)
        session = Session(
            ours, arena, server.metrics, None, lambda: None, lambda request, model: None
        )
        link = Link(
            theirs,
            arena,
            on_blob=lambda kind, data: None,
            on_ask=lambda number: None,
            on_stop=lambda: None,
            on_lost=lambda: None,
        )
        os.close(arena)
        snapshot, served = server.fronts._state(1), server.registry.get("tiny")
        session.send_snapshot(snapshot, {snapshot.models[0].number: served})
        model = RemoteModel(
            snapshot.models[0],
            link,
            server.decoder,
            ModelMetrics(server.metrics, "tiny"),
            lambda model: None,
        )
        request = Request(images=1, deadline=time.monotonic() + 0.05)
        image = tiny.pixels(255).tobytes()
        outputs, labels = served.manifest.outputs, len(served.manifest.labels)
        slot = link.slots.take(slot_bytes(len(image), outputs, labels, images=1))
        link.submit(ToEngine.RESERVE, request, model, slot, method=0)
        # At any moment from before the engine refuses it until the front learns of it.
        while not request.done:
            link.write(slot, image)
            await asyncio.sleep(0)
        session.close()
    assert isinstance(request.error, RequestExpiredError)
    assert str(request.error) == "the deadline passed while the request was queued"
