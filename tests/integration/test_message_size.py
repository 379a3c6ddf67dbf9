"""The size of a message against the largest batch of a model."""

from __future__ import annotations

import pytest

from tests.harness.calls import infer_request, logits
from tests.harness.server import Serve

BATCH = 512

NEEDED_BYTES = BATCH * 16 + 4096


async def test_a_batch_that_no_message_holds(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A model whose largest batch does not fit into a message is loaded with a warning, which names
    the limit that suffices; with that limit there is none, and the batch is answered.
    """
    limits = {"max_image_bytes": 1000, "max_batch_size": BATCH}
    async with serve(max_message_bytes=NEEDED_BYTES - 1, **limits):
        pass
    (warning,) = [r for r in caplog.records if "max-message-bytes" in r.getMessage()]
    assert warning.getMessage().endswith(f"set --max-message-bytes {NEEDED_BYTES}")
    assert (vars(warning)["model"], vars(warning)["max_batch_size"]) == ("tiny", BATCH)
    caplog.clear()
    async with serve(max_message_bytes=NEEDED_BYTES, **limits) as running:
        answer = await running.inference.ModelInfer(infer_request(*([3] * BATCH)))
        assert logits(answer).shape[0] == BATCH
    assert "max-message-bytes" not in caplog.text
