"""The device chooses threads by the size of a network, or by none if its size is not known."""

from __future__ import annotations

from pathlib import Path

import pytest

from convoy.artifact.repository import ModelRepository
from convoy.service.runtime.device import INLINE_MACS, SMALL_MACS, Device
from tests.harness import tiny


@pytest.mark.parametrize(
    ("macs", "threads", "inline"),
    [
        (INLINE_MACS // 4, 1, 4),
        (SMALL_MACS - 1, 1, 0),
        (SMALL_MACS, 8, 0),
        (None, 8, 0),
    ],
)
def test_size_of_a_network(tmp_path: Path, macs: int | None, threads: int, inline: int) -> None:
    """
    A small network runs on one core, and a tiny one on the event loop; one whose operations are
    not counted may be large.
    """
    tiny.write(tmp_path, macs=macs)
    artifact = ModelRepository(tmp_path).read("tiny", 1)
    device = Device(policy="cpu", cores=8)
    assert (device.threads(artifact), device.inline_size(artifact)) == (threads, inline)
