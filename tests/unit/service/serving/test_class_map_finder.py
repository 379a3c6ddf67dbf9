"""The turn and the memory of class activation maps, of which a client may await no end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from convoy.artifact.files import MODEL_FILE
from convoy.artifact.manifest import Manifest
from convoy.service.serving.class_map_finder import ClassMapFinder
from convoy.service.serving.loader import memory_of
from convoy.service.serving.registry import ModelRegistry
from tests.harness import averaging


def served(manifest: Manifest, path: Path) -> Any:
    """The part of a served model that the finder reads."""
    return SimpleNamespace(manifest=manifest, model_path=path, max_batch_size=1)


async def test_disconnected_client_keeps_its_turn(tmp_path: Path) -> None:
    """
    The next request waits until the thread is done with the last one: one copy counts, not two.
    """
    manifest = averaging.write(tmp_path)
    path = tmp_path / "averaging" / "1" / MODEL_FILE
    slow = tmp_path / "slow.onnx"
    os.mkfifo(slow)  # its reader waits for its writer
    copy_bytes = memory_of(manifest, 1)
    assert copy_bytes
    registry = ModelRegistry()
    finder = ClassMapFinder(registry, memory_budget_bytes=copy_bytes)
    image = averaging.images(1)
    first = asyncio.create_task(finder.find(served(manifest, slow), image, [0]))
    with await asyncio.to_thread(slow.open, "wb") as file:
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(finder.find(served(manifest, path), image, [0]))
        await asyncio.sleep(0.1)
        assert (second.done(), registry.borrowed_bytes) == (False, copy_bytes)
        file.write(path.read_bytes())
    async with asyncio.timeout(60):
        assert np.isfinite((await second).maps).all()
    assert registry.borrowed_bytes == 0
    finder.close()


async def test_nothing_is_borrowed_without_a_thread(tmp_path: Path) -> None:
    """
    A finder that is closed takes no memory for a request, and holds up none.
    """
    manifest = averaging.write(tmp_path)
    registry = ModelRegistry()
    finder = ClassMapFinder(registry, memory_budget_bytes=0)
    finder.close()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            async with asyncio.timeout(10):
                await finder.find(served(manifest, tmp_path), averaging.images(1), [0])
    assert registry.borrowed_bytes == 0
