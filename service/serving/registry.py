"""The models that are served, by name and version, and the state of those that are not."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from convoy.service.errors import ModelNotFoundError, ModelNotReadyError
from convoy.service.serving.served_model import ServedModel
from convoy.service.telemetry.metrics import ModelFacts

UNLOADED = "unloaded"
"""Why a version is unavailable that was unloaded by request, or by a newer one."""


class State(enum.Enum):
    """Where a version is in its life, in the protocol's words."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class VersionState:
    """
    One version of a model.

    Attributes:
        state: None if it was never asked for.
        reason: Why it is in this state: the error that ended its last loading, or `UNLOADED`.
            A version that serves may have one, too: of a loading that was to replace it.
    """

    name: str
    version: int
    state: State | None
    reason: str = ""


class ModelRegistry:
    """
    Finds the model that a request names. Owned by the event loop.

    Attributes:
        started: Whether the models that are loaded at the start are.
        generation: Another number whenever `get` may answer otherwise than before.
    """

    def __init__(self) -> None:
        self.started = False
        self.generation = 0
        self._models: dict[str, dict[int, ServedModel]] = {}
        self._states: dict[tuple[str, int], VersionState] = {}
        self._accepting = True

    def models(self) -> list[ServedModel]:
        """The models that answer, by name and version."""
        return [
            self._models[name][version]
            for name in sorted(self._models)
            for version in sorted(self._models[name])
        ]

    def versions(self, name: str) -> dict[int, ServedModel]:
        """The versions of one model that answer."""
        return dict(self._models.get(name, {}))

    def states(self) -> list[VersionState]:
        """Every version that was asked for at some time, by name and number."""
        return [self._states[key] for key in sorted(self._states)]

    def get(self, name: str, version: str = "") -> ServedModel:
        """
        Find a model.

        Args:
            version: Decimal digits; empty for the newest that answers.

        Raises:
            ModelNotReadyError: If it is being loaded, or this version is not loaded any more.
            ModelNotFoundError: If there is none of that name and version.
        """
        versions = self._models.get(name, {})
        if not version and versions:
            return versions[max(versions)]
        for number, model in versions.items():
            if version == str(number):
                return model
        raise self._missing(name, version)

    def put(self, model: ServedModel) -> ServedModel | None:
        """Let *model* answer from now on; returns the one it takes the place of."""
        versions = self._models.setdefault(model.name, {})
        replaced = versions.get(model.version)
        versions[model.version] = model
        self.generation += 1
        self.mark(model.name, model.version, State.READY)
        return replaced

    def remove(self, name: str, version: int) -> ServedModel:
        """Let no further request find this version; those that have it may finish."""
        model = self._models[name].pop(version)
        self.generation += 1
        if not self._models[name]:
            del self._models[name]
        self.mark(name, version, State.UNLOADING)
        return model

    def mark(self, name: str, version: int, state: State, reason: str = "") -> None:
        """Note the state of a version."""
        self._states[name, version] = VersionState(name, version, state, reason)

    def forget(self, name: str, version: int) -> None:
        """Drop what is known of a version that is no longer in the repository."""
        self._states.pop((name, version), None)

    def stop(self) -> None:
        """Publish that no model takes requests any more."""
        self._accepting = False

    def facts(self) -> Iterator[ModelFacts]:
        """What the metrics tell of the models."""
        for model in self.models():
            yield ModelFacts(
                manifest=model.manifest,
                provider=model.session.provider,
                ready=self._accepting,
                nodes=model.session.nodes,
                fallback=bool(model.session.fallback_reason),
                load_s=model.load_s,
                device_bytes=model.session.device_bytes,
                queue_depth=model.queue_depth,
                queue_limit=model.policy.max_queue_size,
            )

    def not_ready(self) -> Iterator[tuple[str, int]]:
        """Name and number of each version that should answer and does not (yet)."""
        for state in self.states():
            wanted = state.state is State.LOADING or (
                state.state is State.UNAVAILABLE and state.reason != UNLOADED
            )
            if wanted and state.version not in self._models.get(state.name, {}):
                yield state.name, state.version

    def _missing(self, name: str, version: str) -> ModelNotFoundError | ModelNotReadyError:
        if not self.started:
            return ModelNotReadyError("models are being loaded")
        states = [state for state in self._states.values() if state.name == name]
        for state in states:
            if version == str(state.version) or (not version and state.state is State.LOADING):
                # The rest is for the operator: it names files of this machine.
                told = f": {state.reason.partition(':')[0]}" if state.reason else ""
                return ModelNotReadyError(
                    f"model {name} version {state.version} is not ready{told}"
                )
        if version and (numbers := sorted(self._models.get(name, ()))):
            known = ", ".join(map(str, numbers))
            return ModelNotFoundError(f"model {name} has version {known}, not {version[:20]!r}")
        if states:
            return ModelNotFoundError(f"no version of model {name} is loaded")
        return ModelNotFoundError(f"no model is named {name[:64]!r}")
