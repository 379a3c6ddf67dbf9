"""Which models are loaded: at the start, by looking at the repository, or by request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Literal

from convoy.artifact.errors import RepositoryError
from convoy.service.errors import (
    ArtifactInvalidError,
    ModelControlError,
    ModelLoadError,
    ModelNotFoundError,
)
from convoy.service.policy import VersionPolicy
from convoy.service.serving.loader import Repository
from convoy.service.serving.registry import ModelRegistry, VersionState
from convoy.service.serving.versions import ModelVersions, Wish

logger = logging.getLogger(__name__)

Mode = Literal["none", "poll", "explicit"]

DEFAULT = "*"
"""Key of the policy of models that have none of their own."""


class ModelControl:
    """
    Decides what is loaded, by the mode of the server. Owned by the event loop.

    Args:
        policies: By name of the model; `DEFAULT` for those that have none of their own.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        repository: Repository,
        versions: ModelVersions,
        *,
        mode: Mode,
        policies: dict[str, VersionPolicy],
    ) -> None:
        self.mode = mode
        self._registry = registry
        self._repository = repository
        self._versions = versions
        self._policies = policies
        self._wishes: dict[str, Wish] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def load(self, name: str, wish: Wish | None = None) -> None:
        """
        Load a model by request: what is new, what changed, what failed before.

        Carried to its end even if the caller leaves.

        Args:
            wish: In place of the server's settings, until the model is loaded again.

        Raises:
            ModelControlError: If the mode is not `explicit`.
            ModelNotFoundError: If the repository has no such model.
            ModelLoadError: If a version that should serve cannot.
        """
        self._check_explicit()
        try:
            await self._carried(self._align(name, wish or self._usual(name)))
        except RepositoryError as error:
            raise ModelLoadError(str(error)) from error

    async def unload(self, name: str) -> None:
        """
        Unload a model by request; returns when its last request is answered.

        Raises:
            ModelControlError: If the mode is not `explicit`.
            ModelNotFoundError: If no model of that name is loaded.
        """
        self._check_explicit()
        if not self._registry.versions(name):
            raise ModelNotFoundError(f"no model is loaded as {name[:64]!r}")
        await self._carried(self._versions.unload(name))

    async def start(self, names: list[str]) -> None:
        """
        Load what is to be there from the start: everything, or in mode `explicit` *names*.

        Raises:
            RepositoryError: If the repository cannot be read.
        """
        if self.mode != "explicit" or DEFAULT in names:
            await self.load_all()
            return
        for name in names:
            try:
                await self._versions.align(name, self._usual(name), again=False)
            except ModelNotFoundError as error:
                logger.error("model not loaded", extra={"model": name, "reason": str(error)})

    async def load_all(self) -> None:
        """
        Load the models of the repository: what is new, what changed; unload what is gone.

        A version that cannot be loaded is noted and keeps nothing else from being loaded.

        Raises:
            RepositoryError: If the repository cannot be read.
        """
        found = await self._versions.in_thread(self._repository.names)
        for name in found:
            try:
                await self._versions.align(name, self._usual(name), again=False)
            except ModelNotFoundError:  # none of its versions is to serve by its policy
                await self._versions.unload(name)
        for name in {state.name for state in self._registry.states()} - set(found):
            await self._versions.drop(name)

    async def poll(self, interval_s: float) -> None:
        """Look at the repository for ever."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.load_all()
            except RepositoryError as error:
                logger.error("the repository cannot be read", extra={"reason": str(error)})
            except Exception as error:  # whatever it is, the next look may go well
                logger.error("internal error", exc_info=error)

    async def index(self) -> list[VersionState]:
        """Every version in the repository, and those that left it and still serve."""
        known = {(state.name, state.version): state for state in self._registry.states()}
        for name, version in await self._versions.in_thread(self._all_versions):
            known.setdefault((name, version), VersionState(name, version, None))
        return [known[key] for key in sorted(known)]

    def wish(self, name: str) -> Wish:
        """What a model is served with."""
        return self._wishes.get(name) or self._usual(name)

    def first_error(self) -> ModelLoadError | None:
        """The error of some version that could not be loaded; None if there is none."""
        return self._versions.first_error()

    def _check_explicit(self) -> None:
        if self.mode != "explicit":
            raise ModelControlError(
                "models are loaded and unloaded by request only with --model-control-mode explicit"
            )

    async def _align(self, name: str, wish: Wish) -> None:
        await self._versions.align(name, wish, again=True)
        self._wishes[name] = wish

    def _usual(self, name: str) -> Wish:
        policies = self._policies
        return Wish(policies.get(name) or policies.get(DEFAULT) or VersionPolicy(latest=1))

    def _all_versions(self) -> list[tuple[str, int]]:
        repository = self._repository
        try:
            names = repository.names()
            return [(name, version) for name in names for version in repository.versions(name)]
        except RepositoryError as error:
            raise ArtifactInvalidError(str(error)) from error

    async def _carried(self, work: Coroutine[Any, Any, None]) -> None:
        """Await *work* and let it go on if the waiting is cancelled."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, even if the caller left: it is in the log and the index
