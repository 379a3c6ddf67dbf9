"""A loader that makes a proven, warm session of an artifact. It blocks: call it in a thread."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from convoy.artifact.baseline import Baseline
from convoy.artifact.errors import ArtifactError, RepositoryError
from convoy.artifact.files import Artifact
from convoy.artifact.layers import Description
from convoy.artifact.manifest import Manifest
from convoy.artifact.misnamed import Misnamed
from convoy.service.errors import ArtifactInvalidError, MemoryBudgetError
from convoy.service.runtime.class_maps.maps import reason_for_none
from convoy.service.runtime.device import Device
from convoy.service.runtime.graph_cache import GraphCache
from convoy.service.runtime.session import Session

logger = logging.getLogger(__name__)

ENVELOPE_BYTES = 4096
"""Bytes of a request beside its tensor: names, shape and parameters."""


RETRY_S = 15.0
"""Time after which a repository that could not be read may be read again, in seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedArtifact:
    """
    A session that is proven and warm.

    Attributes:
        run_s: Duration of the warm-up runs in seconds, by their number of images.
        load_s: Time that opening, proving and warming took, in seconds.
        layers: The layers of the graph, if the artifact describes them.
        baseline: What its images look like, if the artifact states it.
        model_path: The file of the graph.
        no_class_maps: Reason why it has no class activation maps; empty if it has them.
    """

    manifest: Manifest
    session: Session
    run_s: Mapping[int, float]
    load_s: float
    layers: Description | None
    baseline: Baseline | None
    model_path: Path
    no_class_maps: str


class Repository(Protocol):
    """
    A source of artifacts: a folder, or a store behind a URL.

    Every method blocks, and raises `RepositoryError` if the repository cannot be read.
    """

    def names(self) -> list[str]:
        """Return the names of the models, sorted."""

    def versions(self, name: str) -> list[int]:
        """Return the versions of a model, ascending; none if there is no such model."""

    def signature(self, name: str, version: int) -> object:
        """Return a value that changes when anything does that a refusal of the version can name."""

    def misnamed(self) -> list[Misnamed]:
        """Return the folders that no model is served from, because their names break a rule."""

    def read(self, name: str, version: int) -> Artifact:
        """Read one artifact and prove that it is whole; raises `ArtifactError` if it is not."""


class Loader:
    """
    Loads versions of the models of *repository*.

    Args:
        max_message_bytes: Largest request that the server accepts.

    Attributes:
        max_batch_size: Overrides every artifact's unless it is 0.
    """

    def __init__(
        self,
        repository: Repository,
        device: Device,
        cache: GraphCache,
        *,
        max_batch_size: int,
        max_message_bytes: int,
    ) -> None:
        self.repository = repository
        self._device = device
        self._cache = cache
        self.max_batch_size = max_batch_size
        self._max_message_bytes = max_message_bytes

    def read(self, name: str, version: int) -> Artifact:
        """
        Read an artifact.

        Raises:
            ArtifactInvalidError: If it is missing, damaged or contradicts its manifest.
        """
        try:
            return self.repository.read(name, version)
        # To a client, files that cannot be read and files that are wrong are the same.
        except ArtifactError as error:
            raise ArtifactInvalidError(str(error)) from error
        # Nothing is known to be wrong with the files: a later attempt may read them.
        except RepositoryError as error:
            raise ArtifactInvalidError(str(error), RETRY_S) from error

    def load(self, artifact: Artifact, max_batch_size: int) -> LoadedArtifact:
        """
        Open an artifact, prove it, and warm it for batches of up to *max_batch_size*.

        Raises:
            ModelLoadError: If it cannot be opened, or its golden answers drift on this device.
        """
        started = time.perf_counter()
        session = Session(artifact, self._device, self._cache, max_batch_size=max_batch_size)
        run_s = session.warm()
        load_s = time.perf_counter() - started
        self._warn_of_large_requests(artifact.manifest, session.max_batch_size)
        # The page shows all accuracies that are known.
        manifest = artifact.manifest.model_copy(update={"evaluations": artifact.accuracies})
        return LoadedArtifact(
            manifest,
            session,
            run_s,
            load_s,
            artifact.layers,
            artifact.baseline,
            artifact.model_path,
            reason_for_none(artifact.model_path, manifest),
        )

    def _warn_of_large_requests(self, manifest: Manifest, max_batch_size: int) -> None:
        """Warn if a tensor of *max_batch_size* images is larger than a request may be."""
        needed = request_bytes(manifest, max_batch_size)
        # The model serves all the same: batches also grow from several requests.
        if needed > self._max_message_bytes:
            logger.warning(
                "a request of max_batch_size images is larger than --max-message-bytes; send fewer "
                "images in one, or set --max-message-bytes %d",
                needed,
                extra={
                    "model": manifest.name,
                    "version": manifest.version,
                    "max_batch_size": max_batch_size,
                },
            )


def request_bytes(manifest: Manifest, images: int) -> int:
    """Return the bytes of a request with a raw tensor of so many images, and room to spare."""
    spec = manifest.input
    item_bytes = math.prod(spec.item_shape) * np.dtype(spec.dtype).itemsize
    return images * item_bytes + ENVELOPE_BYTES


def memory_of(manifest: Manifest, max_batch_size: int) -> int | None:
    """
    Return the bytes that a model takes; None if its manifest does not state them.

    The arena grows with the batch: it is scaled up, never down, to *max_batch_size*.
    """
    if (memory := manifest.memory) is None:
        return None
    scale = max(1.0, max_batch_size / memory.batch_size)
    return memory.weights_bytes + round(memory.arena_peak_bytes * scale)


def check_budget(budget_bytes: int, used_bytes: int, manifest: Manifest, batch_size: int) -> None:
    """
    Admit a model to the memory budget beside the models that are loaded.

    Raises:
        MemoryBudgetError: If it does not fit, or its manifest does not state its memory.
    """
    # No budget is set.
    if not budget_bytes:
        return
    needed = memory_of(manifest, batch_size)
    what = f"model {manifest.name} version {manifest.version}"
    # An unknown size could exceed any budget.
    if needed is None:
        raise MemoryBudgetError(
            f"{what}: its manifest does not state its memory; export or import the model again"
        )
    # A version that replaces another one counts in addition: both are loaded during the switch.
    if used_bytes + needed > budget_bytes:
        raise MemoryBudgetError(
            f"{what} needs {needed} bytes, but {used_bytes} of the budget of {budget_bytes} bytes "
            "are in use; unload a model, or raise --memory-budget"
        )
