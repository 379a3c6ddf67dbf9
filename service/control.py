"""Which models are loaded: at the start, by looking at the repository, or by request.

A version is loaded beside the one it replaces, in a thread: read, proven, warmed. Then it takes
its place between two requests, and the old one is closed when its last request is answered. If
any of that fails, the old one goes on serving, and the reason is kept with the version's state.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

from artifact.errors import RepositoryError
from artifact.files import Artifact
from service.classifier import ServedModel
from service.errors import (
    ArtifactInvalidError,
    ModelControlError,
    ModelLoadError,
    ModelNotFoundError,
)
from service.loading import LoadedArtifact, Loader, check_budget, memory_of
from service.metrics import Metrics
from service.policy import VersionPolicy
from service.registry import ModelRegistry, State, VersionState
from service.resources import give_back_memory

logger = logging.getLogger(__name__)

Mode = Literal["none", "poll", "explicit"]

DEFAULT = "*"
"""Key of the policy of models that have none of their own."""


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


class ModelControl:
    """
    Loads and unloads models. Owned by the event loop.

    Args:
        executor: Where models are loaded; never the event loop's own thread.
        serve: Makes a loaded artifact a model that answers.
        changed: Told of each model whose readiness may have changed: its name, whether it answers.
        policies: By name of the model; `DEFAULT` for those that have none of their own.
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
        mode: Mode,
        policies: dict[str, VersionPolicy],
        memory_budget_bytes: int,
    ) -> None:
        self.mode = mode
        self._registry = registry
        self._loader = loader
        self._metrics = metrics
        self._executor = executor
        self._serve = serve
        self._changed = changed
        self._policies = policies
        self._wishes: dict[str, Wish] = {}
        self._memory_budget_bytes = memory_budget_bytes
        self._tried: dict[tuple[str, int], _Tried] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._one_load = asyncio.Lock()  # so that the memory budget counts what the last one took
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
            await self._carried(self._load(name, wish or self._usual(name), again=True))
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
        await self._carried(self._unload(name))

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
                await self._load(name, self._usual(name), again=False)
            except ModelNotFoundError as error:
                logger.error("model not loaded", extra={"model": name, "reason": str(error)})

    async def load_all(self) -> None:
        """
        Load the models of the repository: what is new, what changed; unload what is gone.

        A version that cannot be loaded is noted and keeps nothing else from being loaded.

        Raises:
            RepositoryError: If the repository cannot be read.
        """
        found = await self._in_thread(self._loader.repository.names)
        for name in found:
            try:
                await self._load(name, self._usual(name), again=False)
            except ModelNotFoundError:  # none of its versions is to serve by its policy
                await self._unload(name)
        for name in {model.name for model in self._registry.models()} - set(found):
            await self._unload(name)

    async def poll(self, interval_s: float) -> None:
        """Look at the repository for ever."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.load_all()
            except RepositoryError as error:
                logger.error("the repository cannot be read", extra={"reason": str(error)})

    async def index(self) -> list[VersionState]:
        """Every version in the repository, and those that left it and still serve."""
        known = {(state.name, state.version): state for state in self._registry.states()}
        for name, version in await self._in_thread(self._all_versions):
            known.setdefault((name, version), VersionState(name, version, None))
        return [known[key] for key in sorted(known)]

    def wish(self, name: str) -> Wish:
        """What a model is served with."""
        return self._wishes.get(name) or self._usual(name)

    def first_error(self) -> ModelLoadError | None:
        """The error of some version that could not be loaded; None if there is none."""
        return next((tried.error for tried in self._tried.values() if tried.error), None)

    def _check_explicit(self) -> None:
        if self.mode != "explicit":
            raise ModelControlError(
                "models are loaded and unloaded by request only with --model-control-mode explicit"
            )

    def _usual(self, name: str) -> Wish:
        policies = self._policies
        return Wish(policies.get(name) or policies.get(DEFAULT) or VersionPolicy(latest=1))

    async def _load(self, name: str, wish: Wish, *, again: bool) -> None:
        """Bring what serves in line with the repository and *wish*."""
        async with self._locks[name]:
            versions = await self._in_thread(self._loader.repository.versions, name)
            serving: set[int] = set()
            errors: list[ModelLoadError] = []
            for version in wish.policy.candidates(versions):
                if wish.policy.enough(len(serving)):
                    break
                error = await self._load_version(name, version, wish, again=again)
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
                self._wishes[name] = wish
                await self._keep_only(name, serving, versions)
            if errors and again:
                raise errors[0]

    async def _load_version(
        self, name: str, version: int, wish: Wish, *, again: bool
    ) -> ModelLoadError | None:
        """Load one version, unless it serves as its files are now; returns what went wrong."""
        signature = await self._in_thread(self._loader.repository.signature, name, version)
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
        artifact: Artifact = await self._in_thread(self._loader.read, name, version)
        size = wish.max_batch_size or self._loader.batch_size(artifact.manifest)
        check_budget(self._memory_budget_bytes, self._memory_used(), artifact.manifest, size)
        loaded: LoadedArtifact = await self._in_thread(self._loader.load, artifact, size)
        return loaded

    def _note_success(self, name: str, version: int, loaded: LoadedArtifact) -> None:
        self._metrics.loads.labels(name, "loaded").inc()
        logger.info(
            "model loaded",
            extra={
                "model": name,
                "version": version,
                "provider": loaded.session.provider,
                "seconds": round(loaded.load_s, 3),
            },
        )

    def _note_failure(self, name: str, version: int, error: ModelLoadError) -> None:
        serves = version in self._registry.versions(name)
        state = State.READY if serves else State.UNAVAILABLE
        self._registry.mark(name, version, state, f"{error.reason}: {error}")
        self._metrics.loads.labels(name, error.reason).inc()
        logger.error(
            "version not loaded",
            extra={"model": name, "version": version, "reason": str(error)},
        )

    async def _keep_only(self, name: str, serving: set[int], stored: list[int]) -> None:
        """Unload the versions that are not to serve; forget those that are gone."""
        for version in self._registry.versions(name).keys() - serving:
            await self._unload_version(name, version)
        for key in [key for key in self._tried if key[0] == name and key[1] not in stored]:
            del self._tried[key]
            self._registry.forget(*key)

    async def _unload(self, name: str) -> None:
        async with self._locks[name]:
            for version in self._registry.versions(name):
                await self._unload_version(name, version)
            await self._changed(name, False)

    async def _unload_version(self, name: str, version: int) -> None:
        model = self._registry.remove(name, version)
        await self._close(model)
        self._tried.pop((name, version), None)
        self._registry.mark(name, version, State.UNAVAILABLE, "unloaded")
        logger.info("model unloaded", extra={"model": name, "version": version})

    async def _close(self, model: ServedModel) -> None:
        await model.close()
        await self._in_thread(give_back_memory)

    def _memory_used(self) -> int:
        models = self._registry.models()
        return sum(memory_of(model.manifest, model.max_batch_size) or 0 for model in models)

    def _all_versions(self) -> list[tuple[str, int]]:
        repository = self._loader.repository
        try:
            names = repository.names()
            return [(name, version) for name in names for version in repository.versions(name)]
        except RepositoryError as error:
            raise ArtifactInvalidError(str(error)) from error

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)

    async def _carried(self, work: Coroutine[Any, Any, None]) -> None:
        """Await *work* and let it go on if the waiting is cancelled."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)
