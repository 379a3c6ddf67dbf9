"""Class activation maps of served models, computed for one image at a time beside requests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from convoy.service.engine import Tensor
from convoy.service.runtime.class_maps.maps import ClassMaps, find_class_maps, no_class_maps
from convoy.service.serving.loader import check_budget, memory_of
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.served_model import ServedModel


class ClassMapFinder:
    """
    Finds class activation maps in a thread of its own. Owned by the event loop.

    The graph is opened again for each image: explanations are rare, and no memory stays in use.

    Args:
        memory_budget_bytes: Limit on the memory of all models, including the graph that is opened;
            0 disables it.
    """

    def __init__(self, registry: ModelRegistry, memory_budget_bytes: int) -> None:
        self._registry = registry
        self._memory_budget_bytes = memory_budget_bytes
        # One thread: further requests wait, however many there are.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="class-maps")
        self._one = asyncio.Lock()

    def check(self, model: ServedModel) -> None:
        """Raise `UnsupportedError` with the reason if the graph of *model* has no such maps."""
        if model.no_class_maps:
            raise no_class_maps(model.manifest, model.no_class_maps)

    async def find(self, model: ServedModel, image: Tensor, classes: Sequence[int]) -> ClassMaps:
        """
        Find the maps of *classes* for one image, `[1, ...]`.

        Raises:
            MemoryBudgetError: If the graph does not fit into the memory budget a second time.
            UnsupportedError, ArtifactInvalidError, ModelLoadError: As in `find_class_maps`.
        """
        await self._one.acquire()
        try:
            job = self._start(model, image, classes)
        except BaseException:
            self._one.release()
            raise
        return await asyncio.wrap_future(job)

    def close(self) -> None:
        """Start no further jobs, and do not wait for the current one."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _start(
        self, model: ServedModel, image: Tensor, classes: Sequence[int]
    ) -> Future[ClassMaps]:
        """Start a job that holds its memory and the lock until it ends."""
        used = self._registry.used_bytes()
        # The memory of a batch also covers the file, which is read into memory.
        size = model.max_batch_size
        check_budget(self._memory_budget_bytes, used, model.manifest, size)
        job = self._thread.submit(find_class_maps, model.model_path, model.manifest, image, classes)
        needed = memory_of(model.manifest, size) or 0
        self._registry.borrowed_bytes += needed
        loop = asyncio.get_running_loop()

        def end(job: Future[ClassMaps]) -> None:
            with suppress(RuntimeError):  # the server has stopped meanwhile
                loop.call_soon_threadsafe(self._give_back, needed)

        # The thread continues even if the client disconnects.
        job.add_done_callback(end)
        return job

    def _give_back(self, needed: int) -> None:
        self._registry.borrowed_bytes -= needed
        self._one.release()
