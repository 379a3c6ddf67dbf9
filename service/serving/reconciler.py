"""A reconciler that makes the versions of a model that serve match its spec and the repository.

It loads a version beside the one that serves, in a thread: reads, proves and warms it. The new
model then replaces the old one between two requests, and the old one is closed when its last
request is answered. If any step fails, the old one keeps serving, and the version's entry keeps the
error.

A shadow is loaded in the same way, after the versions that serve. It is not loaded again when it is
to serve.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import Executor
from typing import Any

from convoy.artifact.files import Artifact
from convoy.artifact.misnamed import reasons
from convoy.service.errors import (
    MemoryBudgetError,
    ModelLoadError,
    ModelNotFoundError,
    ShadowMismatchError,
)
from convoy.service.machine.resources import give_back_memory
from convoy.service.serving.loader import LoadedArtifact, Loader, check_budget
from convoy.service.serving.registry import (
    ModelEntry,
    ModelRegistry,
    ServingSpec,
    State,
    VersionEntry,
)
from convoy.service.serving.served_model import ServedModel
from convoy.service.serving.shadows.shadow import mismatch
from convoy.service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


class Reconciler:
    """
    Loads and unloads versions of models. Owned by the event loop.

    Args:
        executor: Threads that load models; the event loop's own thread never does.
        serve: Makes a model that answers requests of a loaded artifact.
        changed: Called with the name of each model that became ready (True) or not (False).
        memory_budget_bytes: Limit on the memory of all models together; 0 disables it.
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
        self._one_load = asyncio.Lock()  # so that the memory budget counts what the last one took

    async def reconcile(self, name: str, spec: ServingSpec, *, again: bool) -> None:
        """
        Load the versions that *spec* selects, unload the others, and load the shadow.

        Args:
            again: Retry a load that failed even if its files are the same, and raise its error.

        Raises:
            RepositoryError: If the repository cannot be read.
            ModelNotFoundError: If the repository has no version that *spec* selects; if *again*,
                also if it lacks the shadow.
            ModelLoadError: If *again*, and a version that should serve, or the shadow, cannot be
                loaded.
        """
        async with self._registry.locked(name) as entry:
            stored = await self.in_thread(self._loader.repository.versions, name)
            shadow = spec.shadow.version if spec.shadow else None
            if again and shadow is not None and shadow not in stored:
                raise ModelNotFoundError(
                    f"the repository has no version {shadow} of model {name[:64]!r}"
                )
            # A shadow does not serve, whatever the policy.
            candidates = spec.policy.candidates([one for one in stored if one != shadow])
            if not candidates:
                misnamed = await self.in_thread(self._loader.repository.misnamed)
                selected = f" that its version policy ({spec.policy}) selects" if stored else ""
                raise ModelNotFoundError(
                    f"the repository has no version of model {name[:64]!r}{selected}"
                    f"{reasons(misnamed, name)}"
                )
            serving: set[int] = set()
            errors: list[ModelLoadError] = []
            for number in candidates:
                # Newest first: an older version is loaded only in place of one that failed.
                if spec.policy.enough(len(serving)):
                    break
                if error := await self._load(entry, number, spec, again=again):
                    errors.append(error)
                else:
                    serving.add(number)
            # If every candidate failed, keep what serves: an old version is better than none.
            if serving:
                await self._unload(entry, keep=serving | _kept_shadow(entry, shadow, stored))
                # This is what serves now, even if one of several versions failed.
                self._registry.adopt(entry, spec)
                if shadow in stored and (
                    error := await self._load_shadow(entry, spec, again=again)
                ):
                    errors.append(error)
            _forget(entry, stored)
            if errors and again:
                raise errors[0]

    async def unload(self, name: str, *, forget: bool = False) -> None:
        """
        Unload every version of a model; return when its last request is answered.

        Args:
            forget: Keep nothing of its versions: the repository no longer has them.
        """
        async with self._registry.locked(name) as entry:
            await self._unload(entry)
            await self._changed(name, False)
            if forget:
                _forget(entry)

    async def in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make a blocking call in a thread that loads models."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)

    async def _load_shadow(
        self, entry: ModelEntry, spec: ServingSpec, *, again: bool
    ) -> ModelLoadError | None:
        """Load the shadow unless it is loaded; return the error if it cannot be one."""
        assert spec.shadow is not None
        number, serving = spec.shadow.version, entry.answers[""]
        version = entry.versions.get(number)
        # Another version may have begun to serve meanwhile.
        if version and version.model and mismatch(serving.manifest, version.model.manifest):
            await self._unload(entry, keep=entry.versions.keys() - {number})
        return await self._load(entry, number, spec, again=again, beside=serving)

    async def _load(
        self,
        entry: ModelEntry,
        number: int,
        spec: ServingSpec,
        *,
        again: bool,
        beside: ServedModel | None = None,
    ) -> ModelLoadError | None:
        """
        Load one version unless its last load is still valid; return the error if it failed.

        Args:
            beside: The model that serves, for a shadow of it; None if the version is to serve.
        """
        signature = await self.in_thread(self._loader.repository.signature, entry.name, number)
        version = entry.versions.setdefault(number, VersionEntry(entry.name, number))
        tried = self._tried(version, spec, signature)
        if version.tried == tried:
            # It has loaded these files already.
            if version.error is None:
                if beside is None:
                    await self._let_serve(version)
                return None
            # These files failed. Only a request tries them again; polling waits for new ones.
            if not again:
                return version.error
        # The version is new, was unloaded, or its files or its batch size have changed.
        error = await self._replace(version, spec, beside)
        # An error that may pass by itself does not wait for other files.
        passes = error is not None and error.retry_after_s is not None
        version.tried = None if passes else self._tried(version, spec, signature)
        return error

    def _tried(
        self, version: VersionEntry, spec: ServingSpec, signature: object
    ) -> tuple[object, ...]:
        """Return the circumstances of a load; it is not tried again while they are the same."""
        # The budget refused it for the memory of the other models.
        used = self._registry.used_bytes() if isinstance(version.error, MemoryBudgetError) else 0
        return signature, spec.max_batch_size, used

    async def _let_serve(self, version: VersionEntry) -> None:
        """Let a version serve, if it is a shadow."""
        if version.model and version.model.is_shadow:
            version.model.set_shadow(False)
            self._registry.switch(version, version.model)
            logger.info("shadow serves", extra={"model": version.name, "version": version.number})
            await self._changed(version.name, True)

    async def _replace(
        self, version: VersionEntry, spec: ServingSpec, beside: ServedModel | None
    ) -> ModelLoadError | None:
        """Load a version beside the model that serves it, if any, and switch to the new one."""
        if not version.model:
            version.mark(State.LOADING)
        try:
            async with self._one_load:
                loaded = await self._open(version, spec, beside)
                model = self._serve(loaded)
                model.set_shadow(beside is not None)
                replaced = self._registry.switch(version, model)
        except Exception as error:
            return self._note_failure(version, error)
        self._note_success(version, loaded)
        if not beside:
            await self._changed(version.name, True)
        await self._close(replaced)
        return None

    async def _open(
        self, version: VersionEntry, spec: ServingSpec, beside: ServedModel | None
    ) -> LoadedArtifact:
        artifact: Artifact = await self.in_thread(self._loader.read, version.name, version.number)
        if beside and (reason := mismatch(beside.manifest, artifact.manifest)):
            raise ShadowMismatchError(
                f"model {version.name} version {version.number} cannot be a shadow of version "
                f"{beside.version}: {reason}"
            )
        # A load request overrides the server's setting, and this the artifact's value.
        size = (
            spec.max_batch_size or self._loader.max_batch_size or artifact.manifest.max_batch_size
        )
        check_budget(
            self._memory_budget_bytes, self._registry.used_bytes(), artifact.manifest, size
        )
        loaded: LoadedArtifact = await self.in_thread(self._loader.load, artifact, size)
        return loaded

    def _note_success(self, version: VersionEntry, loaded: LoadedArtifact) -> None:
        self._metrics.loads.labels(version.name, "loaded").inc()
        logger.info(
            "model loaded",
            extra={
                "model": version.name,
                "version": version.number,
                "provider": loaded.session.provider,
                "precision": loaded.session.precision,
                "threads_per_run": loaded.session.cores,
                "tuned": loaded.session.tuned is not None,
                "seconds": round(loaded.load_s, 3),
            },
        )

    def _note_failure(self, version: VersionEntry, error: Exception) -> ModelLoadError:
        # A new error: the traceback of *error* would keep what was being loaded in memory.
        if isinstance(error, ModelLoadError):
            failure = type(error)(str(error), error.retry_after_s)
        else:
            logger.error("internal error", exc_info=error)
            failure = ModelLoadError("internal error")
        version.settle(failure)
        self._metrics.loads.labels(version.name, failure.reason).inc()
        # A warning, not an error: the models that serve are not affected.
        logger.warning(
            "version not loaded",
            extra={"model": version.name, "version": version.number, "reason": str(failure)},
        )
        return failure

    async def _unload(self, entry: ModelEntry, keep: Collection[int] = ()) -> None:
        for number, version in sorted(entry.versions.items()):
            if version.model and number not in keep:
                await self._close(self._registry.switch(version, None))
                version.tried = None
                version.mark(State.UNAVAILABLE)
                logger.info("model unloaded", extra={"model": entry.name, "version": number})

    async def _close(self, model: ServedModel | None) -> None:
        """Free a model, if there is one, when the last request that holds it is answered."""
        if model:
            await model.close()
            await self.in_thread(model.session.close)
            await self.in_thread(give_back_memory)


def _kept_shadow(entry: ModelEntry, number: int | None, stored: Collection[int]) -> set[int]:
    """Return the number of the shadow if it is loaded, and to be one still."""
    is_kept = entry.shadow and entry.shadow.number == number and number in stored
    return {number} if is_kept and number is not None else set()


def _forget(entry: ModelEntry, stored: Collection[int] = ()) -> None:
    """Drop the versions that neither serve nor are *stored* in the repository."""
    for number, version in list(entry.versions.items()):
        if number not in stored and not version.model:
            del entry.versions[number]
