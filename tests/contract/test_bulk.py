"""The bulk classifier answers as the server does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convoy.bulk import Classifier
from convoy.bulk.answers import Model, columns
from convoy.commands.bulk import server_classifier
from convoy.commands.bulk.bulk_error import BulkError
from convoy.commands.bulk.server_classifier import ServerClassifier
from convoy.commands.connection import CredentialSettings
from convoy.pb.convoy.v1 import classifier_pb2 as pb
from tests.harness import tiny
from tests.harness.images import encode, png
from tests.harness.lenet import LENET
from tests.harness.server import Serve


def photographs(count: int) -> list[bytes]:
    """Images of all sizes, of two formats; every seventh is damaged."""
    random = np.random.default_rng(0)
    images = []
    for index in range(count):
        size = random.integers(8, 90, 2)
        pixels = Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8))
        data = encode(pixels, "JPEG" if index % 2 else "PNG")
        images.append(data[: len(data) // 2] if index % 7 == 3 else data)
    return images


async def test_answers_are_the_servers(serve: Serve, lenet_repository: Path) -> None:
    """
    Labels, probabilities and reasons are equal bit for bit, alone and in batches.
    """
    images = [*photographs(70), b"", b"no image"]
    found = Classifier(LENET, top_k=4)(images)
    async with serve(model_repository=lenet_repository) as running:
        request = pb.ClassifyBatchRequest(model="lenet5", top_k=4)
        outcomes: list[pb.Outcome] = []
        for start in range(0, len(images), 32):
            request.images[:] = images[start : start + 32]
            outcomes.extend((await running.classifier.ClassifyBatch(request)).outcomes)
        single = await running.classifier.Classify(
            pb.ClassifyRequest(model="lenet5", image=images[0], top_k=4)
        )
    assert found["error"] == [outcome.error.reason or None for outcome in outcomes]
    assert any(found["error"])
    for index, outcome in enumerate(outcomes):
        response = outcome.response
        expected = [(p.class_index, p.label, p.probability) for p in response.predictions]
        top_k = found["top_k"][index]
        assert [(p["class_index"], p["label"], p["probability"]) for p in top_k] == expected
    assert single.predictions[0].probability == found["probability"][0]
    assert (single.model, single.model_version, single.model_sha256) == (
        found["model"][0],
        found["version"][0],
        found["sha256"][0],
    )


class Clock:
    """The clock of the system, which a test can set forward."""

    passed_s = 0.0
    sleep = staticmethod(time.sleep)

    def monotonic(self) -> float:
        return time.monotonic() + self.passed_s


def server_of(address: str) -> ServerClassifier:
    """The tiny model of a server."""
    return ServerClassifier(
        servers=(address,),
        name="tiny",
        version=0,
        top_k=3,
        timeout_s=20,
        connection=CredentialSettings(),
    )


async def test_servers_are_asked_for_the_same_rows(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Through a server whose queue is short, no request is lost, and all rows are as without it; nor
    if the images take longer to arrive than an outage may last.
    """
    images: list[bytes | None] = [*(png(index % tiny.POISON) for index in range(100)), b"", None]
    clock = Clock()
    monkeypatch.setattr(server_classifier, "time", clock)

    def slow_source() -> Iterator[bytes | None]:
        clock.passed_s += 2 * server_classifier.OUTAGE_S
        yield from images

    # A batch waits so long that more images than the queue holds arrive on any machine.
    async with serve(max_queue_size=2, max_queue_delay_ms=50, max_images_per_call=2) as running:
        classifier = server_of(running.address)
        model, answers = await asyncio.to_thread(
            lambda: (classifier.model, list(classifier.answers(slow_source())))
        )
        assert running.sample("convoy_rejected_total", model="tiny", reason="QUEUE_FULL")
    own = Classifier(tmp_path / "tiny/1", top_k=3)
    assert columns(answers, model) == own(images)


async def test_outage(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A server that stops answering ends the job after a time, with the way to continue.
    """
    monkeypatch.setattr(server_classifier, "OUTAGE_S", 0.2)
    async with serve() as running:
        classifier = server_of(running.address)
        await asyncio.to_thread(_model, classifier)
    with pytest.raises(BulkError, match=r"127\.0\.0\.1.*; continue with --resume"):
        await asyncio.to_thread(lambda: list(classifier.answers([png(3)])))


async def test_wrong_models_of_servers(serve: Serve) -> None:
    """
    A model that a server does not have, and a server that does not answer, end the job.
    """
    async with serve() as running:
        for name, version, address, message in (
            ("absent", 0, running.address, "has no model absent; it has tiny:1"),
            ("tiny", 7, running.address, "has no model tiny:7; it has tiny:1"),
            ("tiny", 0, "localhost:1", "localhost:1: "),
        ):
            options = ServerClassifier((address,), name, version, 5, 5, CredentialSettings())
            with pytest.raises(BulkError, match=message):
                await asyncio.to_thread(_model, options)


def _model(classifier: ServerClassifier) -> Model:
    return classifier.model
