"""Model control: decides which models are loaded at startup, by polling and by request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from convoy.artifact.errors import RepositoryError
from convoy.artifact.misnamed import Misnamed
from convoy.service.errors import (
    ArtifactInvalidError,
    InvalidArgumentError,
    ModelControlError,
    ModelLoadError,
    ModelNotFoundError,
    NoShadowError,
    PromotionRefusedError,
)
from convoy.service.serving.loader import Repository
from convoy.service.serving.policy import VersionPolicy
from convoy.service.serving.reconciler import Reconciler
from convoy.service.serving.registry import (
    ModelEntry,
    ModelRegistry,
    ServingSpec,
    ShadowSpec,
    VersionEntry,
)
from convoy.service.serving.shadows.bounds import Bounds
from convoy.service.serving.shadows.shadow import Shadow
from convoy.service.serving.shadows.shadows import Shadows
from convoy.suggestion import suggest

logger = logging.getLogger(__name__)

Mode = Literal["none", "poll", "explicit"]

DEFAULT = "*"
"""Key of the policy of models that have none of their own."""


class ModelControl:
    """
    Decides what is loaded, by the mode of the server. Owned by the event loop.

    Args:
        policies: By name of the model; `DEFAULT` for those that have none of their own.
        shadows: Compares the shadows of the registry.

    Attributes:
        misnamed: Folders of the repository that no model is served from, as of the last poll.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        repository: Repository,
        reconciler: Reconciler,
        *,
        mode: Mode,
        policies: dict[str, VersionPolicy],
        shadows: Shadows,
    ) -> None:
        self.mode = mode
        self._registry = registry
        self._repository = repository
        self._reconciler = reconciler
        self._policies = policies
        self._shadows = shadows
        self.misnamed: list[Misnamed] = []
        self._unserved: dict[str, str] = {}  # the reason why a model is not served, by its name
        self._tasks: set[asyncio.Task[Any]] = set()

    async def load(self, name: str, spec: ServingSpec | None = None) -> None:
        """
        Load a model by request: versions that are new, have changed or failed before.

        The load is completed even if the caller disconnects.

        Args:
            spec: Replaces the server's settings until the model is loaded again.

        Raises:
            ModelControlError: If the mode is not `explicit`.
            ModelNotFoundError: If the repository has no such model.
            ModelLoadError: If a version that should serve cannot be loaded.
        """
        self._check_explicit()
        spec = spec or self._default_spec(name)
        await self._change(self._reconciler.reconcile(name, spec, again=True))

    async def start_shadow(self, name: str, shadow: ShadowSpec) -> None:
        """
        Load a version that runs on a share of the requests but answers no clients.

        If it is the shadow already, only its share changes. The versions that serve do not change,
        even if the repository has new ones.

        Raises:
            ModelControlError, ModelLoadError: As `load`.
            ModelNotFoundError: If no model of that name is loaded, or the repository has no such
                version.
            InvalidArgumentError: If the version serves.
            ShuttingDownError: If the server is shutting down.
        """
        self._check_explicit()
        # Check before waiting for a load in progress, and again afterwards.
        self._shadows.check_open()

        def plan(entry: ModelEntry) -> ServingSpec:
            self._shadows.check_open()
            serving = [model.version for model in entry.models]
            if not serving:
                raise ModelNotFoundError(f"no model named {name[:64]!r} is loaded")
            if shadow.version in serving:
                raise InvalidArgumentError(
                    f"model {name} version {shadow.version} serves; a shadow must be another "
                    "version"
                )
            return self._beside(entry, shadow)

        await self._change(self._reconciler.change_shadow(name, plan))

    async def stop_shadow(self, name: str) -> None:
        """
        Unload the shadow of a model.

        Raises:
            ModelControlError: As `load`.
            NoShadowError: If it has none.
        """
        self._check_explicit()

        def plan(entry: ModelEntry) -> ServingSpec:
            self._shadows.find(name)
            return self._beside(entry, None)

        await self._change(self._reconciler.change_shadow(name, plan))

    async def promote(self, name: str, version: int, bounds: Bounds) -> Shadow:
        """
        Make a shadow the only version that serves if it meets *bounds*.

        Returns:
            The shadow as it was judged.

        Raises:
            ModelControlError: As `load`.
            NoShadowError: If the version is no shadow.
            PromotionRefusedError: If a bound is not met.
        """
        self._check_explicit()
        judged: list[Shadow] = []

        # Judge after a load in progress, which may end the shadow or replace the serving version.
        def plan(entry: ModelEntry) -> ServingSpec:
            judged.append(self._judge(name, version, bounds))
            policy = VersionPolicy(specific=(version,))
            return replace(self.spec(name), policy=policy, shadow=None)

        await self._change(self._reconciler.promote(name, plan))
        return judged[0]

    async def unload(self, name: str) -> None:
        """
        Unload a model by request; return when its last request is answered.

        Raises:
            ModelControlError: If the mode is not `explicit`.
            ModelNotFoundError: If no model of that name is loaded, once other requests to load or
                unload it are done.
        """
        self._check_explicit()
        await self._complete(self._reconciler.unload(name, required=True))

    async def start(self, names: list[str]) -> None:
        """
        Load the models to serve from the start: all, or in mode `explicit` only *names*.

        Raises:
            RepositoryError: If the repository cannot be read.
        """
        # Only mode explicit serves a part of the repository; the others ignore *names*.
        if self.mode != "explicit" or DEFAULT in names:
            await self.load_all()
            return
        with suppress(RepositoryError):  # a request may load a model once it can be read
            await self._note_misnamed()
        for name in names:
            try:
                await self._reconciler.reconcile(name, self._default_spec(name), again=False)
            except ModelNotFoundError as error:  # start without it: a request may load it later
                reason = await self._explained(error, name)
                logger.error("model not loaded", extra={"model": name, "reason": reason})

    async def _explained(self, error: ModelNotFoundError, name: str) -> str:
        """Return the text of *error*, with the closest model if there is none named *name*."""
        known: list[str] = []
        with suppress(RepositoryError):
            known = await self.names()
        return f"{error}; {suggest(name, known)}" if known and name not in known else str(error)

    async def load_all(self) -> None:
        """
        Load new and changed models of the repository; unload those that it no longer has.

        The error of a version that cannot be loaded is kept in its entry; the others are loaded.

        Raises:
            RepositoryError: If the repository cannot be read.
        """
        found = await self.names()
        await self._note_misnamed()
        unserved: dict[str, str] = {}
        for name in found:
            try:
                await self._reconciler.reconcile(name, self._default_spec(name), again=False)
            except ModelNotFoundError as error:  # its policy selects none of its versions
                unserved[name] = str(error)
                await self._reconciler.unload(name)
        for name in unserved.keys() - self._unserved.keys():
            logger.error("model not loaded", extra={"model": name, "reason": unserved[name]})
        self._unserved = unserved
        # The repository no longer has these models.
        for name in {version.name for version in self._registry.entries()} - set(found):
            await self._reconciler.unload(name, forget=True)

    async def poll(self, interval_s: float) -> None:
        """Follow the repository until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.load_all()
            except RepositoryError as error:
                logger.error("cannot read the repository", extra={"reason": str(error)})
            except Exception as error:  # a fault must not end polling
                logger.error("internal error", exc_info=error)

    async def index(self) -> tuple[list[VersionEntry], list[Misnamed]]:
        """
        List every version in the repository, and those that left it and still serve.

        The second list has the folders that no model is served from.

        Raises:
            ArtifactInvalidError: If the repository cannot be read.
        """
        stored, misnamed = await self._reconciler.in_thread(self._stored)
        known = {(version.name, version.number): version for version in self._registry.entries()}
        for key in stored:
            known.setdefault(key, VersionEntry(*key))
        return [known[key] for key in sorted(known)], misnamed

    async def names(self) -> list[str]:
        """
        Return the names of the models in the repository.

        Raises:
            RepositoryError: If it cannot be read.
        """
        found: list[str] = await self._reconciler.in_thread(self._repository.names)
        return found

    def spec(self, name: str) -> ServingSpec:
        """Return the spec that a model is served with, or would be."""
        return self._registry.spec(name) or self._default_spec(name)

    def _beside(self, entry: ModelEntry, shadow: ShadowSpec | None) -> ServingSpec:
        """Return a spec that keeps the versions that serve now, and has *shadow*."""
        policy = VersionPolicy(specific=tuple(model.version for model in entry.models))
        return replace(self.spec(entry.name), policy=policy, shadow=shadow)

    def _judge(self, name: str, version: int, bounds: Bounds) -> Shadow:
        """Return the shadow of a model; raise if it is another version or misses a bound."""
        shadow = self._shadows.find(name)
        if shadow.model.version != version:
            raise NoShadowError(
                f"version {version} is not the shadow of model {name}; "
                f"version {shadow.model.version} is"
            )
        if unmet := bounds.unmet(shadow.comparison):
            raise PromotionRefusedError(
                f"model {name} version {version} is not promoted: {'; '.join(unmet)}"
            )
        return shadow

    async def _change(self, work: Coroutine[Any, Any, None]) -> None:
        """Complete *work* on the versions of a model, even if the caller disconnects."""
        try:
            await self._complete(work)
        except RepositoryError as error:
            raise ModelLoadError(str(error)) from error

    def _check_explicit(self) -> None:
        if self.mode != "explicit":
            raise ModelControlError(
                "models are loaded and unloaded by request only with --model-control-mode explicit"
            )

    def _default_spec(self, name: str) -> ServingSpec:
        policies = self._policies
        return ServingSpec(policies.get(name) or policies.get(DEFAULT) or VersionPolicy(latest=1))

    async def _note_misnamed(self) -> None:
        """Warn of folders that no model is served from, once each."""
        before = set(self.misnamed)
        self.misnamed = await self._reconciler.in_thread(self._repository.misnamed)
        for one in self.misnamed:
            if one not in before:
                logger.warning("folder not served", extra={"reason": one.reason})

    def _stored(self) -> tuple[list[tuple[str, int]], list[Misnamed]]:
        repository = self._repository
        try:
            names = repository.names()
            stored = [(name, version) for name in names for version in repository.versions(name)]
            return stored, repository.misnamed()
        except RepositoryError as error:
            raise ArtifactInvalidError(str(error)) from error

    async def _complete(self, work: Coroutine[Any, Any, None]) -> None:
        """Await *work*, which continues even if the caller is cancelled."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._completed)
        await asyncio.shield(task)

    def _completed(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # Retrieve the error, or asyncio logs it: the log and the index have it already.
        if not task.cancelled():
            task.exception()
