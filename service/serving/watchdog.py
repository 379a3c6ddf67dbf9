"""A watchdog that finds out whether a model that failed can still run.

A model can fail because of a client's input and be healthy. Therefore the watchdog runs a black
image, which succeeded when the model was warmed. If that fails too, the device is lost or memory is
exhausted, and no request can be answered. The server reports this until the image runs again.
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
"""Time between two checks of a model that cannot run, in seconds."""


class Watchdog:
    """
    Checks models that failed and publishes those that cannot run. Owned by the event loop.

    Args:
        executor: The threads that run models.
        lifecycle: Its `lost` holds the models that cannot run; only the watchdog changes it.
        changed: Called with each model that enters or leaves `lost`.

    Attributes:
        checks: The check in progress of each model.
        retry_s: Time between two runs of a check, in seconds.
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
        self.checks: dict[ServedModel, asyncio.Task[None]] = {}
        self.retry_s = RETRY_S

    def check(self, model: ServedModel) -> None:
        """Start to check *model*, on which a request failed, unless a check is in progress."""
        if model not in self.checks:
            self.checks[model] = asyncio.create_task(self._check(model))

    def close(self) -> None:
        """Cancel every check."""
        for task in self.checks.values():
            task.cancel()

    async def _check(self, model: ServedModel) -> None:
        lost, extra = self._lifecycle.lost, {"model": model.name, "version": model.version}
        try:
            # A model that no request reaches any more needs no check.
            while self._serves(model) and not await self._runs(model):
                if model not in lost:
                    logger.error("the model can no longer run", extra=extra)
                    lost.add(model)
                    await self._changed(model)
                await asyncio.sleep(self.retry_s)
            # An unloaded model leaves as well: the server is ready again for the other models.
            if model in lost:
                logger.info("the model runs again, or was unloaded", extra=extra)
                lost.remove(model)
                await self._changed(model)
        finally:
            del self.checks[model]

    def _serves(self, model: ServedModel) -> bool:
        return self._registry.versions(model.name).get(model.version) is model

    async def _runs(self, model: ServedModel) -> bool:
        model.hold()  # prevents its session from being closed during the run
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, model.session.can_run)
        finally:
            model.release()
