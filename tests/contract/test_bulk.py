"""The bulk classifier answers as the server does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from convoy.bulk import Classifier
from convoy.pb.convoy.v1 import classifier_pb2 as pb
from tests.harness.images import encode
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
