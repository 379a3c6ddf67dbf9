"""The versions of a model that serve, brought in line with the repository while it serves.

A version is loaded beside the one it replaces, in a thread: read, proven, warmed. Then it takes
its place between two requests, and the old one is closed when its last request is answered. If
any of that fails, the old one goes on serving, and the reason is kept with the version's state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from convoy.artifact.files import Artifact
from convoy.service.errors import ModelLoadError, ModelNotFoundError
from convoy.service.policy import VersionPolicy
from convoy.service.resources import give_back_memory
from convoy.service.serving.loader import LoadedArtifact, Loader, check_budget, memory_of
from convoy.service.serving.registry import UNLOADED, ModelRegistry, State, VersionState
from convoy.service.serving.served_model import ServedModel
from convoy.service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """
    What a model is to be served with.

    Attributes:
        max_batch_size: Overrules the server's and the artifact's if it is not 0.
    """

    policy: VersionPolicy
    max_batch_size: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    """The files of a version when it was last loaded, and what came of it."""

    signature: object
    max_batch_size: int
    error: ModelLoadError | None = None


class ModelVersions:
    """
    Loads and unloads versions of models. Owned by the event loop.

    Args:
        executor: Where models are loaded; never the event loop's own thread.
        serve: Makes a loaded artifact a model that answers.
        changed: Told of each model whose readiness may have changed: its name, whether it answers.
        memory_budget_bytes: Most that all models may take together; 0 is no limit.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        loader: Loader,
        metrics: Metrics,
        executor: Executor,
        *,
        serve: Callable[[LoadedArtifact], ServedModel],
        changed: Callable[[str, bool], Awaitable[None]],
        memory_budget_bytes: int,
    ) -> None:
        self._registry = registry
        self._loader = loader
        self._metrics = metrics
        self._executor = executor
        self._serve = serve
        self._changed = changed
        self._memory_budget_bytes = memory_budget_bytes
        self._tried: dict[tuple[str, int], _Tried] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._one_load = asyncio.Lock()  # so that the memory budget counts what the last one took

    async def align(self, name: str, wish: Wish, *, again: bool) -> None:
        """
        Bring what serves of a model in line with the repository and *wish*.

        Versions that are to serve no more are unloaded once one of the others serves.

        Args:
            again: Try what failed before, even if its files are the same, and raise its error.

        Raises:
            RepositoryError: If the repository cannot be read.
            ModelNotFoundError: If it has no version to serve.
            ModelLoadError: If *again*, and a version that should serve cannot.
        """
        async with self._lock(name):
            stored = await self.in_thread(self._loader.repository.versions, name)
            serving: set[int] = set()
            errors: list[ModelLoadError] = []
            for version in wish.policy.candidates(stored):
                if wish.policy.enough(len(serving)):
                    break
                error = await self._load(name, version, wish, again=again)
                if error is None:
                    serving.add(version)
                else:
                    errors.append(error)
            if not serving and not errors:
                raise ModelNotFoundError(
                    f"the repository has no version of a model {name[:64]!r} to serve by its "
                    f"policy {wish.policy}"
                )
            if serving:
                await self._unload(name, self._registry.versions(name).keys() - serving)
            self._forget(name, stored)
            if errors and again:
                raise errors[0]

    async def unload(self, name: str) -> None:
        """Unload every version of a model; returns when its last request is answered."""
        async with self._lock(name):
            await self._unload(name, self._registry.versions(name).keys())
            await self._changed(name, False)

    async def drop(self, name: str) -> None:
        """Unload a model that the repository no longer has, and forget it."""
        await self.unload(name)
        self._forget(name, [])

    def first_error(self) -> ModelLoadError | None:
        """The error of some version that could not be loaded; None if there is none."""
        return next((tried.error for tried in self._tried.values() if tried.error), None)

    async def in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make a blocking call where models are loaded."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)

    def _lock(self, name: str) -> asyncio.Lock:
        """The lock of a name; gone when nobody is at work on it: clients may ask for any name."""
        return self._locks.setdefault(name, asyncio.Lock())

    async def _load(
        self, name: str, version: int, wish: Wish, *, again: bool
    ) -> ModelLoadError | None:
        """Load one version, unless it serves as its files are now; returns what went wrong."""
        signature = await self.in_thread(self._loader.repository.signature, name, version)
        before = self._tried.get((name, version))
        if before and (before.signature, before.max_batch_size) == (signature, wish.max_batch_size):
            serves = version in self._registry.versions(name)
            if serves if before.error is None else not again:
                return before.error
        error = await self._replace(name, version, wish)
        self._tried[name, version] = _Tried(signature, wish.max_batch_size, error)
        return error

    async def _replace(self, name: str, version: int, wish: Wish) -> ModelLoadError | None:
        """Load a version beside what serves, then let it take its place."""
        if version not in self._registry.versions(name):
            self._registry.mark(name, version, State.LOADING)
        try:
            async with self._one_load:
                loaded = await self._open(name, version, wish)
                replaced = self._registry.put(self._serve(loaded))
        except Exception as error:
            # A new one: the traceback of the first would keep what it failed to load in memory.
            failure = ModelLoadError("internal error")
            if isinstance(error, ModelLoadError):
                failure = type(error)(str(error))
            else:
                logger.error("internal error", exc_info=error)
            self._note_failure(name, version, failure)
            return failure
        self._note_success(name, version, loaded)
        await self._changed(name, True)
        if replaced:
            await self._close(replaced)
        return None

    async def _open(self, name: str, version: int, wish: Wish) -> LoadedArtifact:
        artifact: Artifact = await self.in_thread(self._loader.read, name, version)
        size = wish.max_batch_size or self._loader.batch_size(artifact.manifest)
        check_budget(self._memory_budget_bytes, self._memory_used(), artifact.manifest, size)
        loaded: LoadedArtifact = await self.in_thread(self._loader.load, artifact, size)
        return loaded

    def _note_success(self, name: str, version: int, loaded: LoadedArtifact) -> None:
        self._metrics.loads.labels(name, "loaded").inc()
        logger.info(
            "model loaded",
            extra={
                "model": name,
                "version": version,
                "provider": loaded.session.provider,
                "cores": loaded.session.cores,
                "tuned": loaded.session.tuned is not None,
                "seconds": round(loaded.load_s, 3),
            },
        )

    def _note_failure(self, name: str, version: int, error: ModelLoadError) -> None:
        serves = version in self._registry.versions(name)
        state = State.READY if serves else State.UNAVAILABLE
        self._registry.mark(name, version, state, f"{error.reason}: {error}")
        self._metrics.loads.labels(name, error.reason).inc()
        # A warning: what served before goes on, and whoever cannot do without says so himself.
        logger.warning(
            "version not loaded",
            extra={"model": name, "version": version, "reason": str(error)},
        )

    async def _unload(self, name: str, versions: Iterable[int]) -> None:
        for version in sorted(versions):
            model = self._registry.remove(name, version)
            await self._close(model)
            self._tried.pop((name, version), None)
            self._registry.mark(name, version, State.UNAVAILABLE, UNLOADED)
            logger.info("model unloaded", extra={"model": name, "version": version})

    async def _close(self, model: ServedModel) -> None:
        await model.close()
        await self.in_thread(model.session.close)
        await self.in_thread(give_back_memory)

    def _forget(self, name: str, stored: list[int]) -> None:
        """Drop what is known of versions that the repository no longer has."""
        for known in self._registry.states():
            if known.name == name and known.version not in stored and not self._serves(known):
                self._registry.forget(name, known.version)
                self._tried.pop((name, known.version), None)

    def _serves(self, known: VersionState) -> bool:
        return known.version in self._registry.versions(known.name)

    def _memory_used(self) -> int:
        models = self._registry.models()
        return sum(memory_of(model.manifest, model.max_batch_size) or 0 for model in models)
