"""The model repository: `<root>/<name>/<version>/{model.onnx, manifest.json, golden.npz}`.

Reading proves that an artifact is whole: its files are there, its manifest is valid and agrees
with its folder, its model has the hash that the manifest states. Writing is atomic: a version is
a folder that was complete before it got its name.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from artifact.errors import ArtifactError, RepositoryError
from artifact.manifest import MODEL_NAME, Manifest

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.npz"

_NAME = re.compile(MODEL_NAME)
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_WRITING = ".writing-"


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """
    Answers that a runtime must give before it may serve.

    Attributes:
        images: A batch of the graph's input.
        logits: What the reference answered: float32 `[N, classes]`; probabilities where the
            graph has no logits.
    """

    images: npt.NDArray[Any]
    logits: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """One version of one model, proven whole."""

    manifest: Manifest
    golden: Golden
    model_path: Path


class ModelRepository:
    """A folder of artifacts. Holds no state: every call looks at the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """
        Names of the models, sorted; folders whose name is no model's are passed over.

        Raises:
            RepositoryError: If the folder cannot be read.
        """
        return sorted(
            entry.name
            for entry in self._entries(self.root)
            if entry.is_dir() and _NAME.fullmatch(entry.name) and self.versions(entry.name)
        )

    def versions(self, name: str) -> list[int]:
        """Versions of the model *name*, ascending; empty if there is no such model."""
        folder = self.root / name
        if not _NAME.fullmatch(name) or not folder.is_dir():
            return []
        return sorted(
            int(entry.name)
            for entry in self._entries(folder)
            if entry.is_dir() and _VERSION.fullmatch(entry.name)
        )

    def read(self, name: str, version: int) -> Artifact:
        """
        Read one artifact and prove that it is whole.

        Raises:
            ArtifactError: If there is no such version, or a file is missing, damaged, unexpected
                or not what the manifest says. The message names the file and the field.
        """
        if version not in self.versions(name):
            raise ArtifactError(f"{self.root}: holds no version {version} of a model {name!r}")
        folder = self.root / name / str(version)
        _check_files(folder)
        manifest = _read_manifest(folder / MANIFEST_FILE)
        if (manifest.name, manifest.version) != (name, version):
            raise ArtifactError(
                f"{folder / MANIFEST_FILE}: says {manifest.name} version {manifest.version}, "
                f"but lies in the folder of {name} version {version}"
            )
        model_path, golden_path = folder / MODEL_FILE, folder / GOLDEN_FILE
        _check_sha256(model_path, "model_sha256", manifest.model_sha256)
        _check_sha256(golden_path, "golden_sha256", manifest.golden_sha256)
        return Artifact(manifest, _read_golden(golden_path, manifest), model_path)

    def check_writable(self, name: str) -> None:
        """
        Prove that versions of *name* can be written; makes its folder if it is not there.

        Raises:
            RepositoryError: If they cannot.
        """
        folder = self.root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise RepositoryError(
                f"cannot write to the model repository {folder}: {error.strerror}"
            ) from error

    @contextmanager
    def writing(self, name: str) -> Iterator[tuple[Path, int]]:
        """
        Give a folder to write a new version of *name* into, and the number it will get.

        The version appears when the block ends, whole, or not at all if it raises (Ctrl-C
        included). What a writer left behind that was killed is removed by the next one.

        Raises:
            RepositoryError: If the folder cannot be written, or another writer took the number.
        """
        self.check_writable(name)
        parent = self.root / name
        version = max(self.versions(name), default=0) + 1
        _remove_abandoned(parent)
        folder = Path(tempfile.mkdtemp(prefix=_WRITING, dir=parent))
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder, version
            folder.chmod(0o755)
            for path in (*folder.iterdir(), folder):
                _flush_to_disk(path)
            folder.rename(parent / str(version))
            _flush_to_disk(parent)
        except OSError as error:
            raise RepositoryError(f"cannot write {parent / str(version)}: {error}") from error
        finally:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _entries(folder: Path) -> list[Path]:
        try:
            return list(folder.iterdir())
        except OSError as error:
            raise RepositoryError(
                f"cannot read the model repository {folder}: {error.strerror}"
            ) from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write *manifest* into *folder* as indented JSON."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def write_golden(folder: Path, golden: Golden) -> None:
    """Write *golden* into *folder*."""
    np.savez_compressed(folder / GOLDEN_FILE, images=golden.images, logits=golden.logits)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders of writers that were killed: nobody holds their lock any more."""
    for folder in parent.glob(f"{_WRITING}*"):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # its writer is still at work
        finally:
            os.close(lock)


def _check_sha256(path: Path, field: str, expected: str) -> None:
    if (sha256 := file_sha256(path)) != expected:
        raise ArtifactError(
            f"{path}: SHA-256 is {sha256}, but {field} in the manifest is {expected}"
        )


def _check_files(folder: Path) -> None:
    """An artifact is exactly its three files; weights in further files are refused so."""
    expected = {MODEL_FILE, MANIFEST_FILE, GOLDEN_FILE}
    try:
        found = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise ArtifactError(f"{folder}: {error.strerror}") from error
    if missing := expected - found:
        raise ArtifactError(f"{folder}: {', '.join(sorted(missing))} is missing")
    if unexpected := found - expected:
        raise ArtifactError(f"{folder}: {', '.join(sorted(unexpected))} does not belong here")


def _read_manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, problem['loc'])) or 'document'}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise ArtifactError(f"{path}: {'; '.join(problems)}") from error
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error


def _read_golden(path: Path, manifest: Manifest) -> Golden:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            golden = Golden(arrays["images"], arrays["logits"])
    except Exception as error:  # numpy, zipfile and zlib share no base class for a bad file
        raise ArtifactError(f"{path}: damaged: {error}") from error
    count = len(golden.images)
    if golden.images.shape != (count, *manifest.input.item_shape) or not count:
        raise ArtifactError(f"{path}: images have shape {list(golden.images.shape)}")
    if golden.images.dtype != manifest.input.dtype:
        raise ArtifactError(f"{path}: images are {golden.images.dtype}")
    if golden.logits.shape != (count, len(manifest.labels)):
        raise ArtifactError(f"{path}: logits have shape {list(golden.logits.shape)}")
    if golden.logits.dtype != np.float32 or not np.isfinite(golden.logits).all():
        raise ArtifactError(f"{path}: logits are not finite float32")
    return golden


def _flush_to_disk(path: Path) -> None:
    """Make sure that a crash after the rename finds the content, too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
