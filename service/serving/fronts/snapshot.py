"""The facts that a front needs of the engine's models, as the engine broadcasts them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from convoy.artifact.baseline import Baseline
from convoy.artifact.manifest import Manifest
from convoy.service.lifecycle import Phase
from convoy.service.serving.missing import VersionStatus


class ModelDescription(BaseModel):
    """
    A version that serves.

    Attributes:
        number: The engine's number for it, which no other model ever gets.
        baseline: None if drift is not measured, or the version has none.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    number: int
    manifest: Manifest
    max_batch_size: int
    provider: str
    precision: str
    fallback_reason: str
    baseline: Baseline | None


class Snapshot(BaseModel):
    """
    The state of the engine.

    Attributes:
        number: Ascending; the front repeats it once the snapshot is in use.
        started: Whether the models to serve from the start are loaded.
        log_level: Level of the root logger.
        models: Every version that serves.
        versions: The state of every version that was ever loaded, by the name of its model.
    """

    number: int
    started: bool
    phase: Phase
    log_level: int
    models: list[ModelDescription]
    versions: dict[str, list[VersionStatus]]
