"""Artifacts for measurements: found in a repository, or put into one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from artifact.errors import RepositoryError
from artifact.files import GOLDEN_FILE, MODEL_FILE, Artifact, read_artifact, write_manifest
from artifact.repository import ModelRepository

LENET = Path(__file__).parent.parent / "tests" / "data" / "model_repository" / "lenet5" / "1"
"""A LeNet-5 that `convoy export lenet5` made."""


def add_version(root: Path, name: str, source: Path = LENET) -> Path:
    """Write the artifact in *source* as a new version of *name*; returns its folder."""
    with ModelRepository(root).writing(name) as (folder, version):
        for file in (MODEL_FILE, GOLDEN_FILE):
            shutil.copy(source / file, folder)
        manifest = read_artifact(source).manifest
        write_manifest(folder, manifest.model_copy(update={"name": name, "version": version}))
    return root / name / str(version)


def newest(root: Path, names: Sequence[str]) -> list[Artifact]:
    """
    The newest version of each model that is asked for; of all if none is.

    Raises:
        RepositoryError: If there is no such model, or none at all.
        ArtifactError: If one is damaged.
    """
    repository = ModelRepository(root)
    known = repository.names()
    if not known:
        raise RepositoryError(f"{root} holds no models")
    for name in names:
        if name not in known:
            raise RepositoryError(f"no model {name!r} in {root}: there are {', '.join(known)}")
    return [repository.read(name, max(repository.versions(name))) for name in names or known]


def golden_images(artifact: Artifact, size: int) -> npt.NDArray[Any]:
    """*size* images: the golden ones, repeated."""
    images = artifact.golden.images
    return np.resize(images, (size, *images.shape[1:]))
