"""A LeNet-5 that `convoy export lenet5` made, and copies of it as new versions."""

from __future__ import annotations

import shutil
from pathlib import Path

from convoy.artifact.files import GOLDEN_FILE, MODEL_FILE, read_artifact, write_manifest
from convoy.artifact.repository import ModelRepository

LENET_REPOSITORY = Path(__file__).parents[1] / "data" / "model_repository"
LENET = LENET_REPOSITORY / "lenet5" / "1"


def add_version(root: Path, name: str, source: Path = LENET) -> Path:
    """Write the artifact in *source* as a new version of *name* and return its folder."""
    with ModelRepository(root).writing(name) as (folder, version):
        for file in (MODEL_FILE, GOLDEN_FILE):
            shutil.copy(source / file, folder)
        manifest = read_artifact(source).manifest
        write_manifest(folder, manifest.model_copy(update={"name": name, "version": version}))
    return root / name / str(version)
