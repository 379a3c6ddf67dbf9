"""The models of the server: one entry per name, which holds all that is known of its versions.

Requests only look up; the reconciler is the only writer. Both run on the event loop, so that a
version is replaced between two requests, by one assignment.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from convoy.service.call import Call
from convoy.service.errors import ModelLoadError, ModelNotFoundError, ModelNotReadyError
from convoy.service.serving.loader import memory_of
from convoy.service.serving.missing import VersionStatus, missing
from convoy.service.serving.policy import VersionPolicy
from convoy.service.serving.served_model import ServedModel
from convoy.service.telemetry.metrics import UNKNOWN_MODEL, ModelFacts

UNLOADED = "unloaded"
"""Reason of a version that was unloaded by a request or in favour of another version."""

SHADOW = "shadow"
"""Reason of a version that is loaded but answers no clients."""


class State(enum.Enum):
    """The state of a version, in the protocol's words."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class ShadowSpec:
    """
    The desired shadow of a model.

    Attributes:
        version: The version that is to be compared with the one that serves.
        share: The share of requests that it gets, in `(0, 1]`.
    """

    version: int
    share: float


class ShadowPair(NamedTuple):
    """A version that serves, its shadow, and the share of requests that the shadow gets."""

    serving: ServedModel
    shadow: ServedModel
    share: float


@dataclass(frozen=True, slots=True)
class ServingSpec:
    """
    The desired state of a model.

    Attributes:
        policy: Selects the versions to serve.
        max_batch_size: Overrides the server's and the artifact's unless it is 0.
        shadow: The shadow beside them, which the policy does not affect; None if there is none.
    """

    policy: VersionPolicy
    max_batch_size: int = 0
    shadow: ShadowSpec | None = None


@dataclass(slots=True, eq=False)
class VersionEntry:
    """
    One version of a model.

    Attributes:
        state: None if no load was ever tried.
        error: Error that ended the last load. A version that serves has one if it was to be
            replaced and its replacement failed.
        model: The loaded model; None while there is none.
        tried: Circumstances of the last load, such as the signature of the files; None after
            unloading.
        is_for_shadow: Whether the last load was to make it a shadow.
    """

    name: str
    number: int
    state: State | None = None
    error: ModelLoadError | None = None
    model: ServedModel | None = None
    tried: tuple[object, ...] | None = None
    is_for_shadow: bool = False

    def mark(self, state: State, error: ModelLoadError | None = None) -> None:
        self.state, self.error = state, error

    def settle(self, error: ModelLoadError | None = None) -> None:
        """Set the state that follows from the model, with an error if its load failed."""
        self.mark(State.READY if self.serves else State.UNAVAILABLE, error)

    @property
    def serves(self) -> bool:
        """True if a model answers requests to this version."""
        return self.model is not None and not self.model.is_shadow

    @property
    def reason(self) -> str:
        """Stable reason of the error, or of the state; empty if nothing explains the state."""
        if self.error:
            return self.error.reason
        if self.state is State.UNAVAILABLE:
            return SHADOW if self.model else UNLOADED
        return ""

    @property
    def status(self) -> VersionStatus:
        """The state, for clients."""
        return VersionStatus(self.number, self.serves, self.state is State.LOADING, self.reason)

    @property
    def message(self) -> str:
        """Text of the error, for the operator: it may name files of this machine."""
        return str(self.error or "")


@dataclass(slots=True, eq=False)
class ModelEntry:
    """
    One model: the desired state, and the versions that were ever loaded.

    Attributes:
        spec: The last one that was reconciled; None before.
        answers: The served model by version as a request writes it, the newest also by "".
            Replaced whole, never changed.
        lock: Held while versions are loaded and unloaded.
        holders: Tasks that hold the lock or wait for it.
    """

    name: str
    spec: ServingSpec | None = None
    versions: dict[int, VersionEntry] = field(default_factory=dict)
    answers: dict[str, ServedModel] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    holders: int = 0

    @property
    def models(self) -> list[ServedModel]:
        """The served models, in ascending order of their versions."""
        versions = [version for _, version in sorted(self.versions.items())]
        return [version.model for version in versions if version.model and version.serves]

    @property
    def shadow(self) -> VersionEntry | None:
        """The shadow that the spec names; None unless it is loaded."""
        desired = self.spec.shadow if self.spec else None
        version = self.versions.get(desired.version) if desired else None
        return version if version and version.model and version.model.is_shadow else None


class ModelRegistry:
    """
    Finds the model that a request names. Owned by the event loop.

    Args:
        lost: Models that can no longer run; their owner changes it.

    Attributes:
        started: True once the models to serve from the start are loaded.
        generation: Changes whenever `get` may give another answer than before.
        switched: Called after the model of a version has changed, and after a spec is adopted.
        borrowed_bytes: Memory in temporary use beside the models.
    """

    def __init__(
        self, switched: Callable[[], None] = lambda: None, lost: Collection[object] = ()
    ) -> None:
        self.started = False
        self.generation = 0
        self.borrowed_bytes = 0
        self.switched = switched
        self._entries: dict[str, ModelEntry] = {}
        # Models that no new request reaches; they are in memory until their last one is answered.
        self._leaving: set[ServedModel] = set()
        self._lost = lost
        self._accepting = True

    def get(self, name: str, version: str = "") -> ServedModel:
        """
        Find a model.

        Args:
            version: Decimal digits; empty for the newest version that serves.

        Raises:
            ModelNotReadyError: If it is being loaded, failed to load or was unloaded.
            ModelNotFoundError: If there is no model of that name and version.
        """
        if (entry := self._entries.get(name)) and (model := entry.answers.get(version)):
            return model
        raise self._missing(name, version)

    def models(self) -> list[ServedModel]:
        """Return every model that serves, by name and version."""
        return [found.model for found in self.entries() if found.model and found.serves]

    def shadows(self) -> Iterator[ShadowPair]:
        """Yield each shadow of a model that serves."""
        for entry in self._entries.values():
            serving, version = entry.answers.get(""), entry.shadow
            desired = entry.spec.shadow if entry.spec else None
            if serving and version and version.model and desired:
                yield ShadowPair(serving, version.model, desired.share)

    def versions(self, name: str) -> dict[int, ServedModel]:
        """Return the versions of one model that serve, in ascending order."""
        entry = self._entries.get(name)
        return {model.version: model for model in entry.models} if entry else {}

    def entries(self) -> list[VersionEntry]:
        """Return every version that was ever loaded, by name and version."""
        found = (found for entry in self._entries.values() for found in entry.versions.values())
        return sorted(found, key=lambda version: (version.name, version.number))

    def spec(self, name: str) -> ServingSpec | None:
        """Return the spec that was last reconciled for a model; None if there is none."""
        entry = self._entries.get(name)
        return entry.spec if entry else None

    @asynccontextmanager
    async def locked(self, name: str) -> AsyncIterator[ModelEntry]:
        """
        Lend the entry of *name* to one task at a time, to load and unload its versions.

        Clients may ask for any name: an entry that is left without versions is removed with the
        last task that holds it or waits for it.
        """
        entry = self._entries.setdefault(name, ModelEntry(name))
        entry.holders += 1
        try:
            async with entry.lock:
                yield entry
        finally:
            entry.holders -= 1
            if not entry.holders and not entry.versions:
                del self._entries[name]

    def find(self, call: Call, name: str, version: str = "") -> ServedModel:
        """Find the model that *call* asks for, and let the call hold it; raises as `get`."""
        call.label_unknown()
        model = self.get(name, version)
        call.use(model)
        return model

    def used_bytes(self) -> int:
        """Return the bytes that count against the memory budget, as the manifests state them."""
        loaded = [version.model for version in self.entries() if version.model]
        in_memory = [*loaded, *self._leaving]
        needed = (memory_of(model.manifest, model.max_batch_size) or 0 for model in in_memory)
        return sum(needed) + self.borrowed_bytes

    def label(self, name: str) -> str:
        """Return the label of calls for *name* in metrics: itself only if it serves."""
        return name if not name or self.versions(name) else UNKNOWN_MODEL

    def switch(self, version: VersionEntry, model: ServedModel | None) -> ServedModel | None:
        """
        Let requests find *model* from now on, or no model of this version; never a shadow.

        Returns:
            The model that answered before; the requests that hold it may finish. Its memory counts
            until `freed` is called.
        """
        replaced, version.model = version.model, model
        if replaced and replaced is not model:
            self._leaving.add(replaced)
        # A version without a model is not unloaded before its last request is answered.
        if model:
            version.settle()
        else:
            version.mark(State.UNLOADING)
        entry = self._entries[version.name]
        models = entry.models
        answers = {str(model.version): model for model in models}
        if models:  # a request that names no version gets the newest
            answers[""] = models[-1]
        entry.answers = answers
        self.generation += 1
        self.switched()
        return replaced

    def freed(self, model: ServedModel) -> None:
        """Count the memory of *model*, which another one has replaced, no longer."""
        self._leaving.discard(model)

    def adopt(self, entry: ModelEntry, spec: ServingSpec) -> None:
        """Record the spec that the versions of a model now match."""
        entry.spec = spec
        self.switched()

    def stop(self) -> None:
        """Report every model as not ready: the server accepts no more requests."""
        self._accepting = False

    def first_error(self) -> ModelLoadError | None:
        """Return the error of some version that could not be loaded; None if there is none."""
        return next((version.error for version in self.entries() if version.error), None)

    def facts(self) -> Iterator[ModelFacts]:
        """Describe the models that serve, for the metrics."""
        for model in self.models():
            yield ModelFacts(
                manifest=model.manifest,
                provider=model.session.provider,
                precision=model.session.precision,
                ready=self._accepting and model not in self._lost,
                nodes=model.session.nodes,
                fallback=bool(model.session.fallback_reason),
                load_s=model.load_s,
                device_bytes=model.session.device_bytes,
                queue_depth=model.queue_depth,
                queue_limit=model.policy.max_queue_size,
            )

    def not_ready(self) -> Iterator[tuple[str, int]]:
        """Yield name and number of each version that should serve and does not, or not yet."""
        for version in self.entries():
            # A shadow serves no clients, so the server is ready without it.
            if version.is_for_shadow:
                continue
            # A failed replacement leaves its predecessor serving; an unloaded version has no error.
            if not version.model and (version.error or version.state is State.LOADING):
                yield version.name, version.number

    def _missing(self, name: str, version: str) -> ModelNotFoundError | ModelNotReadyError:
        entry = self._entries.get(name)
        versions = [found.status for found in entry.versions.values()] if entry else []
        return missing(name, version, versions, started=self.started)
