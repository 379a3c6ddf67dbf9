"""The models that are served, by name."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from artifact.errors import ArtifactError, RepositoryError
from artifact.files import Artifact
from artifact.repository import ModelRepository
from service.batcher import Batcher
from service.classifier import ServedModel
from service.decoding import Decoder
from service.errors import ModelNotFoundError, ModelNotReadyError, StartError
from service.metrics import Metrics, ModelMetrics
from service.runtime import Device, Outputs, Session
from service.scheduler import BatchPolicy

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedArtifact:
    """An artifact with its session, and how long loading took, in seconds."""

    artifact: Artifact
    session: Session
    load_s: float


def load_newest(repository: ModelRepository, device: Device) -> list[LoadedArtifact]:
    """
    Load the newest version of every model; blocks, so call it in a thread.

    Raises:
        StartError: If there is no model, or one of them is damaged or cannot be opened.
    """
    try:
        names = repository.names()
        if not names:
            raise StartError(
                f"no models in {repository.root}: make one with `convoy export lenet5`"
            )
        return [_load(repository, name, device) for name in names]
    except (ArtifactError, RepositoryError) as error:
        raise StartError(str(error)) from error


def _load(repository: ModelRepository, name: str, device: Device) -> LoadedArtifact:
    started = time.perf_counter()
    artifact = repository.read(name, repository.versions(name)[-1])
    session = Session(artifact, device)
    loaded = LoadedArtifact(artifact, session, time.perf_counter() - started)
    logger.info(
        "model loaded",
        extra={
            "model": name,
            "version": artifact.manifest.version,
            "provider": session.provider,
            "seconds": round(loaded.load_s, 3),
        },
    )
    return loaded


class ModelRegistry:
    """
    Finds the model that a request names. Owned by the event loop.

    Args:
        batcher: Runs the batches of all models.
        decoder: Decodes the images of all models.
        max_batch_size: Overrules every artifact's if it is not 0.
    """

    def __init__(
        self,
        *,
        batcher: Batcher[npt.NDArray[Any], Outputs],
        decoder: Decoder,
        metrics: Metrics,
        max_batch_size: int,
        max_queue_delay_s: float,
        max_queue_size: int,
    ) -> None:
        self._batcher = batcher
        self._decoder = decoder
        self._metrics = metrics
        self._max_batch_size = max_batch_size
        self._max_queue_delay_s = max_queue_delay_s
        self._max_queue_size = max_queue_size
        self._models: dict[str, ServedModel] | None = None

    def serve(self, loaded: list[LoadedArtifact]) -> None:
        """Answer requests for *loaded* from now on."""
        self._models = {item.artifact.manifest.name: self._serve(item) for item in loaded}

    def models(self) -> list[ServedModel]:
        """The models, by name."""
        return list((self._models or {}).values())

    def get(self, name: str, version: str = "") -> ServedModel:
        """
        Find a model.

        Args:
            version: Decimal digits; empty for the newest.

        Raises:
            ModelNotReadyError: If models are still being loaded.
            ModelNotFoundError: If there is none of that name and version.
        """
        if self._models is None:
            raise ModelNotReadyError("models are being loaded")
        model = self._models.get(name)
        if model is None:
            raise ModelNotFoundError(f"no model is named {name[:64]!r}")
        if version not in ("", str(model.manifest.version)):
            raise ModelNotFoundError(
                f"model {name} has version {model.manifest.version}, not {version[:20]!r}"
            )
        return model

    def stop(self) -> None:
        """Publish that no model takes requests any more."""
        for model in self.models():
            self._metrics.model_stopped(model.manifest)

    def _serve(self, loaded: LoadedArtifact) -> ServedModel:
        manifest, session = loaded.artifact.manifest, loaded.session
        max_batch_size = self._max_batch_size or manifest.max_batch_size
        policy = BatchPolicy(
            max_batch_size=max_batch_size,
            max_queue_delay_s=self._max_queue_delay_s,
            max_queue_size=max(self._max_queue_size, max_batch_size),
        )
        model = ServedModel(
            manifest,
            session,
            policy=policy,
            batcher=self._batcher,
            decoder=self._decoder,
            metrics=ModelMetrics(self._metrics, manifest.name),
        )
        self._metrics.model_loaded(
            manifest,
            provider=session.provider,
            nodes=session.nodes,
            fallback=bool(session.fallback_reason),
            load_s=loaded.load_s,
            queue_depth=lambda: model.queue_depth,
        )
        return model
