"""From a folder of the repository to a session that is proven and warm. Blocks: for a thread."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from convoy.artifact.errors import ArtifactError, RepositoryError
from convoy.artifact.files import Artifact
from convoy.artifact.layers import Description
from convoy.artifact.manifest import Manifest
from convoy.service.errors import ArtifactInvalidError, MemoryBudgetError
from convoy.service.runtime.device import Device
from convoy.service.runtime.graph_cache import GraphCache
from convoy.service.runtime.session import Session


@dataclass(frozen=True, slots=True, eq=False)
class LoadedArtifact:
    """
    A session that is proven and warm.

    Attributes:
        run_s: Time that runs took while it was warmed, in seconds, by their images.
        load_s: Time that opening, proving and warming took, in seconds.
        layers: Those of the graph, if the artifact tells them.
    """

    manifest: Manifest
    session: Session
    run_s: Mapping[int, float]
    load_s: float
    layers: Description | None


class Repository(Protocol):
    """A source of artifacts; `convoy.artifact.repository.ModelRepository` documents each method."""

    def names(self) -> list[str]:
        """Names of the models, sorted."""

    def versions(self, name: str) -> list[int]:
        """Versions of a model, ascending."""

    def signature(self, name: str, version: int) -> object:
        """Something that changes when a file of the version does."""

    def read(self, name: str, version: int) -> Artifact:
        """Read one artifact and prove that it is whole."""


class Loader:
    """
    Loads versions of the models of *repository*.

    Args:
        max_batch_size: Overrules every artifact's if it is not 0.
    """

    def __init__(
        self,
        repository: Repository,
        device: Device,
        cache: GraphCache,
        *,
        max_batch_size: int,
    ) -> None:
        self.repository = repository
        self._device = device
        self._cache = cache
        self._max_batch_size = max_batch_size

    def read(self, name: str, version: int) -> Artifact:
        """
        Read an artifact.

        Raises:
            ArtifactInvalidError: If it is missing, damaged or not what its manifest says.
        """
        try:
            return self.repository.read(name, version)
        except (ArtifactError, RepositoryError) as error:
            raise ArtifactInvalidError(str(error)) from error

    def load(self, artifact: Artifact, max_batch_size: int) -> LoadedArtifact:
        """
        Open an artifact, prove it, and warm it for batches of up to *max_batch_size*.

        Raises:
            ModelLoadError: If it cannot be opened, or does not answer as it did where it was made.
        """
        started = time.perf_counter()
        session = Session(artifact, self._device, self._cache, max_batch_size=max_batch_size)
        run_s = session.warm()
        load_s = time.perf_counter() - started
        return LoadedArtifact(artifact.manifest, session, run_s, load_s, artifact.layers)

    def batch_size(self, manifest: Manifest) -> int:
        """Most images in a batch, unless a request to load says otherwise."""
        return self._max_batch_size or manifest.max_batch_size


def memory_of(manifest: Manifest, max_batch_size: int) -> int | None:
    """
    Bytes that a model takes, from what was measured when it was made; None if it was not.

    The arena grows with the batch: it is scaled up, never down, to *max_batch_size*.
    """
    if (memory := manifest.memory) is None:
        return None
    scale = max(1.0, max_batch_size / memory.batch_size)
    return memory.weights_bytes + round(memory.arena_peak_bytes * scale)


def check_budget(budget_bytes: int, used_bytes: int, manifest: Manifest, batch_size: int) -> None:
    """
    Raise if a model does not fit beside those that are loaded; a budget of 0 is none.

    Raises:
        MemoryBudgetError: If it does not, or its manifest does not state what it takes.
    """
    if not budget_bytes:
        return
    wanted = memory_of(manifest, batch_size)
    what = f"model {manifest.name} version {manifest.version}"
    if wanted is None:
        raise MemoryBudgetError(f"{what}: its manifest does not state what memory it takes")
    if used_bytes + wanted > budget_bytes:
        raise MemoryBudgetError(
            f"{what} takes {wanted} bytes, {used_bytes} are taken, and the budget is {budget_bytes}"
        )
