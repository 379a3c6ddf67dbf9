"""A reconciler that makes the versions of a model that serve match its spec and the repository.

It loads a version beside the one that serves, in a thread: reads, proves and warms it. The new
model then replaces the old one between two requests, and the old one is closed when its last
request is answered. If any step fails, the old one keeps serving, and the version's entry keeps the
error.

A shadow is loaded in the same way, after the versions that serve, and replaces the previous shadow
only once it is loaded. Promotion does not load it again.

The new spec of a model depends on its loaded versions. A *plan* therefore computes it while the
model is locked, so that no request undoes the change of another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from convoy.artifact.files import Artifact
from convoy.artifact.manifest import Manifest
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

Plan = Callable[[ModelEntry], ServingSpec]
"""Computes the new spec of a model from its locked entry; raises an error to change nothing."""


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
        # The versions that a policy names and the repository lacks, by model: they are logged once.
        self._absent: dict[str, set[int]] = {}

    async def reconcile(self, name: str, spec: ServingSpec, *, again: bool) -> None:
        """
        Load the versions that *spec* selects, unload the others, and load the shadow.

        Args:
            again: Retry a load that failed even if its files are the same, and raise its error.

        Raises:
            RepositoryError: If the repository cannot be read.
            ModelNotFoundError: If the repository has no version that *spec* selects, or lacks the
                shadow; if *again*, also if it lacks one of several versions, and the others serve.
            ModelLoadError: If *again*, and a version that should serve, or the shadow, cannot be
                loaded.
        """
        async with self._registry.locked(name) as entry:
            stored = await self.in_thread(self._loader.repository.versions, name)
            _check_stored(name, spec, stored)
            # A shadow does not serve, whatever the policy.
            shadow = spec.shadow.version if spec.shadow else None
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
                await self._unload(entry, keep=serving | _suitable_shadow(entry, spec))
                # This is what serves now, even if one of several versions failed.
                if error := await self._adopt(entry, spec, again=again):
                    errors.append(error)
            _forget(entry, stored)
            absent = set(spec.policy.specific or ()) - set(stored)
            if not again:
                self._warn_of_absent(name, absent)
            elif errors:
                raise errors[0]
            elif absent:
                raise _absent_error(name, min(absent))

    async def change_shadow(self, name: str, plan: Plan) -> None:
        """
        Load, keep or unload the shadow as the spec of *plan* states; keep the versions that serve.

        A loaded shadow is not loaded again, even if its files have changed.

        Args:
            plan: Returns the spec. If it raises an error, that is raised and nothing changes.

        Raises:
            RepositoryError: If the repository cannot be read.
            ModelNotFoundError: If the repository lacks the shadow.
            ModelLoadError: If the shadow cannot be loaded; the previous one then stays.
        """
        async with self._registry.locked(name) as entry:
            spec = plan(entry)
            current = entry.shadow
            # Only its share changes, or it ends: neither needs the repository.
            if spec.shadow is None or (current and current.number == spec.shadow.version):
                self._registry.adopt(entry, spec)
                await self._unload(entry, keep=_wanted(entry))
                return
            stored = await self.in_thread(self._loader.repository.versions, name)
            _check_stored(name, spec, stored)
            error = await self._adopt(entry, spec, again=True)
            _forget(entry, stored)
            if error:
                raise error

    async def promote(self, name: str, plan: Plan) -> None:
        """
        Make the shadow the only version that serves; return when the others are unloaded.

        The model that was compared serves, even if its files have changed.

        Args:
            plan: Returns the spec. If it raises an error, that is raised and nothing changes.
        """
        async with self._registry.locked(name) as entry:
            spec, version = plan(entry), entry.shadow
            assert version is not None  # *plan* has judged it
            await self._let_serve(version)
            self._registry.adopt(entry, spec)
            await self._unload(entry, keep={version.number})

    async def unload(self, name: str, *, required: bool = False, forget: bool = False) -> None:
        """
        Unload every version of a model; return when its last request is answered.

        Args:
            required: Raise an error if no version serves.
            forget: Keep nothing of its versions: the repository no longer has them.

        Raises:
            ModelNotFoundError: If *required*, and no version serves.
        """
        # A load in progress comes first: a model would be served after its unloading otherwise.
        async with self._registry.locked(name) as entry:
            if required and not entry.models:
                raise ModelNotFoundError(f"no model named {name[:64]!r} is loaded")
            await self._unload(entry)
            if forget:
                _forget(entry)

    async def in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make a blocking call in a thread that loads models."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)

    async def _adopt(
        self, entry: ModelEntry, spec: ServingSpec, *, again: bool
    ) -> ModelLoadError | None:
        """
        Adopt *spec*, whose versions serve, and load its shadow; return the error if that fails.

        The previous shadow stays until then, and also if loading fails.
        """
        error = None
        if spec.shadow:
            number, serving = spec.shadow.version, entry.answers[""]
            error = await self._load(entry, number, spec, again=again, beside=serving)
        if error:
            before = entry.spec.shadow if entry.spec and entry.shadow else None
            spec = replace(spec, shadow=before)
        self._registry.adopt(entry, spec)
        await self._unload(entry, keep=_wanted(entry))
        return error

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
            beside: The model whose shadow the version becomes; None if the version is to serve.
        """
        signature = await self.in_thread(self._loader.repository.signature, entry.name, number)
        version = entry.versions.setdefault(number, VersionEntry(entry.name, number))
        tried = self._tried(version, spec, signature)
        if version.tried == tried:
            # These files are loaded already.
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
        """Make a version serve if it is a shadow."""
        if version.model and version.model.is_shadow:
            version.is_for_shadow = False
            version.model.set_shadow(False)
            self._registry.switch(version, version.model)
            logger.info("shadow serves", extra={"model": version.name, "version": version.number})
            await self._changed(version.name, True)

    async def _replace(
        self, version: VersionEntry, spec: ServingSpec, beside: ServedModel | None
    ) -> ModelLoadError | None:
        """Load a version beside the model that serves it, if any, and switch to the new one."""
        version.is_for_shadow = beside is not None
        if not version.model:
            version.mark(State.LOADING)
        try:
            async with self._one_load:
                loaded = await self._open(version, spec, beside)
                model = self._serve(loaded)
                if beside is not None:
                    model.set_shadow(True)
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
        # A load request overrides the server's setting, and this the artifact's value.
        size = (
            spec.max_batch_size or self._loader.max_batch_size or artifact.manifest.max_batch_size
        )
        if beside:
            _check_shadow(beside, artifact.manifest, size)
        check_budget(
            self._memory_budget_bytes, self._registry.used_bytes(), artifact.manifest, size
        )
        loaded: LoadedArtifact = await self.in_thread(self._loader.load, artifact, size)
        try:
            if beside:  # only the opened graph shows its batch size
                _check_shadow(beside, loaded.manifest, loaded.session.max_batch_size)
        except ShadowMismatchError:
            await self.in_thread(loaded.session.close)
            raise
        return loaded

    def _warn_of_absent(self, name: str, absent: set[int]) -> None:
        """Log the versions that a policy names and the repository lacks, once each."""
        for number in sorted(absent - self._absent.get(name, set())):
            reason = str(_absent_error(name, number))
            extra = {"model": name, "version": number, "reason": reason}
            logger.warning("version not loaded", extra=extra)
        self._absent[name] = absent

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
        loaded = [found for _, found in sorted(entry.versions.items()) if found.model]
        unwanted = [version for version in loaded if version.number not in keep]
        # Switch all of them first: no new request may reach one while another drains.
        models = [self._registry.switch(version, None) for version in unwanted]
        # Nor does a balancer wait for that.
        if not entry.models:
            await self._changed(entry.name, False)
        for version, model in zip(unwanted, models, strict=True):
            await self._close(model)
            version.tried = None
            version.mark(State.UNAVAILABLE)
            logger.info("model unloaded", extra={"model": entry.name, "version": version.number})

    async def _close(self, model: ServedModel | None) -> None:
        """Free a model, if there is one, when the last request that holds it is answered."""
        if model:
            await model.close()
            await self.in_thread(model.session.close)
            self._registry.freed(model)
            await self.in_thread(give_back_memory)


def _check_shadow(serving: ServedModel, manifest: Manifest, max_batch_size: int) -> None:
    """Raise `ShadowMismatchError` if a version cannot be a shadow of *serving*."""
    if reason := mismatch(serving, manifest, max_batch_size):
        raise ShadowMismatchError(
            f"model {manifest.name} version {manifest.version} cannot be a shadow of version "
            f"{serving.version}: {reason}"
        )


def _check_stored(name: str, spec: ServingSpec, stored: Collection[int]) -> None:
    """Raise `ModelNotFoundError` if the repository lacks the shadow of *spec*."""
    if spec.shadow and spec.shadow.version not in stored:
        raise _absent_error(name, spec.shadow.version)


def _absent_error(name: str, version: int) -> ModelNotFoundError:
    return ModelNotFoundError(f"the repository has no version {version} of model {name[:64]!r}")


def _suitable_shadow(entry: ModelEntry, spec: ServingSpec) -> set[int]:
    """Return the number of the shadow if *spec* has one and it suits the version that serves."""
    version = entry.shadow
    if not spec.shadow or not version or not version.model:
        return set()
    shadow = version.model
    # Another version may have begun to serve meanwhile.
    unfit = mismatch(entry.answers[""], shadow.manifest, shadow.max_batch_size)
    return set() if unfit else {version.number}


def _wanted(entry: ModelEntry) -> set[int]:
    """Return the numbers of the versions that serve, and of the shadow that the spec names."""
    shadow = entry.shadow
    serving = {model.version for model in entry.models}
    return serving | {shadow.number} if shadow else serving


def _forget(entry: ModelEntry, stored: Collection[int] = ()) -> None:
    """Drop the versions that neither serve nor are *stored* in the repository."""
    for number, version in list(entry.versions.items()):
        if number not in stored and not version.model:
            del entry.versions[number]
