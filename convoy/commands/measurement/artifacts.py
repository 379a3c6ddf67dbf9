"""Artifacts for measurements, found in a model repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convoy.artifact.errors import RepositoryError
from convoy.artifact.files import Artifact
from convoy.artifact.misnamed import reasons
from convoy.artifact.repository import FIRST_MODEL
from convoy.artifact.stores import Repository
from convoy.suggestion import suggest


def read_newest(repository: Repository, names: Sequence[str]) -> list[Artifact]:
    """
    Read the newest version of each model in *names*, or of every model if *names* is empty.

    Raises:
        RepositoryError: If a model is missing, or the repository is empty.
        ArtifactError: If an artifact is damaged.
    """
    known = repository.names()
    if not known:
        why = reasons(repository.misnamed()) or f"; {FIRST_MODEL}"
        raise RepositoryError(f"{repository} holds no models{why}")
    for name in names:
        if name not in known:
            why = reasons(repository.misnamed(), name)
            raise RepositoryError(f"no model {name!r} in {repository}; {suggest(name, known)}{why}")
    # Versions are integers: max() is the newest one, as for the server.
    return [repository.read(name, max(repository.versions(name))) for name in names or known]


def golden_images(artifact: Artifact, size: int) -> npt.NDArray[Any]:
    """Return the golden images, repeated to a batch of *size*: `[size, ...]` of their dtype."""
    images = artifact.golden.images
    return np.resize(images, (size, *images.shape[1:]))
