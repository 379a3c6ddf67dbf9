"""Whether models that failed can still run at all.

A model may fail on what a client sent, and nothing is wrong with it. So a black image is run, which
went well when the model was warmed: if that fails, too, the device is lost or the memory used up,
and no request can be answered. The server says so until the image runs again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor

from convoy.service.lifecycle import Lifecycle
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.served_model import ServedModel

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""Time between two tries of a model that cannot run."""


class Soundness:
    """
    Owned by the event loop.

    Args:
        executor: Where models run.
        lifecycle: Is told which models cannot run.
        changed: Is called when there is one more of them, or one less, with it.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        executor: Executor,
        lifecycle: Lifecycle,
        changed: Callable[[ServedModel], Awaitable[None]],
    ) -> None:
        self._registry = registry
        self._executor = executor
        self._lifecycle = lifecycle
        self._changed = changed
        self._watching: dict[ServedModel, asyncio.Task[None]] = {}

    def doubt(self, model: ServedModel) -> None:
        """Find out whether *model*, on which a request failed, can still run."""
        if model not in self._watching:
            self._watching[model] = asyncio.create_task(self._watch(model))

    def close(self) -> None:
        """Watch no more."""
        for task in self._watching.values():
            task.cancel()

    async def _watch(self, model: ServedModel) -> None:
        lost, extra = self._lifecycle.lost, {"model": model.name, "version": model.version}
        try:
            while self._serves(model) and not await self._runs(model):
                if model not in lost:
                    logger.error("the model cannot run any more", extra=extra)
                    lost.add(model)
                    await self._changed(model)
                await asyncio.sleep(RETRY_S)
            if model in lost:
                logger.info("the model runs again, or was unloaded", extra=extra)
                lost.remove(model)
                await self._changed(model)
        finally:
            del self._watching[model]

    def _serves(self, model: ServedModel) -> bool:
        return model in self._registry.models()

    async def _runs(self, model: ServedModel) -> bool:
        with model:  # so that it is not closed meanwhile
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, model.session.can_run)
