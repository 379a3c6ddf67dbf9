"""The files of one artifact: `model.onnx`, `manifest.json` and `golden.npz`, and optional ones.

`layers.json` describes the graph for people; artifacts made before it was introduced lack it.
`baseline.json` describes typical images, for measuring drift. `tuning.json` is written later, for
one machine, by `convoy tune`, and `evaluation.json` by `convoy evaluate`. A folder with any other
file is refused, except for entries of other programs (`entries.py`). Reading proves that the
artifact is whole: the files are there, the manifest is valid, and the graph and the golden answers
have the hashes that it states.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from convoy.artifact.baseline import BASELINE_FILE, Baseline, read_baseline
from convoy.artifact.entries import is_foreign
from convoy.artifact.errors import ArtifactError
from convoy.artifact.evaluation import EVALUATION_FILE, DataEvaluation, read_evaluations
from convoy.artifact.golden import Golden
from convoy.artifact.layers import LAYERS_FILE, Description, read_layers
from convoy.artifact.manifest import MANIFEST_STEPS, Evaluation, Manifest
from convoy.artifact.schema import NewerSchemaError, load
from convoy.artifact.tuning import TUNING_FILE, Tuning, read_tuning

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.npz"
ARTIFACT_FILES = (MODEL_FILE, MANIFEST_FILE, GOLDEN_FILE)
"""The files that every artifact has."""

ALL_FILES = (*ARTIFACT_FILES, LAYERS_FILE, TUNING_FILE, EVALUATION_FILE, BASELINE_FILE)
"""The files that an artifact may have."""


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """
    One version of one model, proven whole.

    Attributes:
        tuning: The way it runs best, on the machine that it names; None if it was not tuned.
        layers: The layers of the graph; None if they were never described.
        evaluations: Measurements on images that were made after it was published.
        baseline: What images and answers look like; None if that was never measured.
    """

    manifest: Manifest
    golden: Golden
    model_path: Path
    tuning: Tuning | None = None
    layers: Description | None = None
    evaluations: tuple[DataEvaluation, ...] = ()
    baseline: Baseline | None = None

    @property
    def accuracies(self) -> tuple[Evaluation, ...]:
        """All known accuracies: those of the manifest, and those on other images."""
        known = {one.data_sha256 for one in self.manifest.evaluations} - {None}
        added = (one for one in self.evaluations if one.data_sha256 not in known)
        return (*self.manifest.evaluations, *(one.accuracy() for one in added))


def read_artifact(folder: Path) -> Artifact:
    """
    Read the artifact in *folder* and prove that it is whole.

    Raises:
        ArtifactError: If a file is missing, damaged, unexpected or not as the manifest states.
            The message names the file and the field.
    """
    _check_files(folder)
    manifest = read_manifest(folder)
    model_path, golden_path = folder / MODEL_FILE, folder / GOLDEN_FILE
    _check_sha256(model_path, "model_sha256", manifest.model_sha256)
    _check_sha256(golden_path, "golden_sha256", manifest.golden_sha256)
    golden = _read_golden(golden_path, manifest)
    layers = read_layers(folder, manifest.model_sha256)
    evaluations = read_evaluations(folder, manifest.model_sha256)
    baseline = read_baseline(folder, manifest)
    tuning = read_tuning(folder)
    return Artifact(manifest, golden, model_path, tuning, layers, evaluations, baseline)


def files_state(folder: Path) -> tuple[object, ...]:
    """
    Return a value that changes whenever something does that an error of `read_artifact` can name.

    These are the names in *folder*, what each is, its content as far as size, time and inode tell,
    where links lead, and whether it may be read. No file is read.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if not is_foreign(name))
    except OSError as error:
        return (error.errno,)
    return tuple((name, *_file_state(folder / name)) for name in names)


def _file_state(path: Path) -> tuple[object, ...]:
    target = os.path.realpath(path)
    try:
        status = path.stat()
    except OSError as error:  # a link that leads nowhere
        return target, error.errno
    kind, may_read = stat.S_IFMT(status.st_mode), os.access(path, os.R_OK)
    return target, kind, may_read, status.st_mtime_ns, status.st_ino, status.st_size


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write *manifest* into *folder* as indented JSON."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def write_golden(folder: Path, golden: Golden) -> None:
    """Write *golden* into *folder*."""
    np.savez_compressed(folder / GOLDEN_FILE, images=golden.images, logits=golden.logits)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_sha256(path: Path, field: str, expected: str) -> None:
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    if sha256 != expected:
        raise ArtifactError(
            f"{path}: SHA-256 is {sha256}, but {field} in the manifest is {expected}; copy the "
            "artifact again"
        )


def _check_files(folder: Path) -> None:
    """Refuse missing and unexpected files; among these are weights outside of the graph."""
    try:
        paths = [path for path in folder.iterdir() if not is_foreign(path.name)]
        found = {path.name: path.is_file() for path in paths}
    except OSError as error:
        raise ArtifactError(f"{folder}: {error.strerror}") from error
    # Missing files first: a folder that is not an artifact must not be reported by other files.
    if missing := set(ARTIFACT_FILES) - found.keys():
        raise ArtifactError(
            f"{folder}: {', '.join(sorted(missing))} is missing; copy the whole artifact, or make "
            "it again"
        )
    if unexpected := found.keys() - set(ALL_FILES):
        raise ArtifactError(
            f"{folder}: {', '.join(sorted(unexpected))} does not belong here; remove it (weights "
            "outside of model.onnx: `convoy import` puts them into it)"
        )
    for name, is_file in found.items():
        # Reading a pipe would never end; a broken link or a folder would fail later, unnamed.
        if not is_file:
            raise ArtifactError(f"{folder / name}: not a file; copy the file itself")


def read_manifest(folder: Path) -> Manifest:
    """
    Read the manifest in *folder*, and no other file.

    Manifests of older schema versions are upgraded.

    Raises:
        ArtifactError: If it is missing, damaged, or of a newer schema version.
    """
    path = folder / MANIFEST_FILE
    try:
        return Manifest.model_validate(load(path.read_bytes(), MANIFEST_STEPS))
    # Some fields are wrong: name each of them.
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, problem['loc'])) or 'document'}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise ArtifactError(f"{path}: {'; '.join(problems)}") from error
    except NewerSchemaError as error:
        raise ArtifactError(
            f"{path}: {error}; update convoy, or make the artifact again with this one"
        ) from error
    except ValueError as error:  # it is not JSON, or cannot be upgraded
        raise ArtifactError(f"{path}: {error}") from error
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error


def _read_golden(path: Path, manifest: Manifest) -> Golden:
    try:
        golden = _load_golden(path)
    except Exception as error:  # numpy, zipfile and zlib share no base class for a bad file
        raise ArtifactError(f"{path}: damaged: {error}") from error
    # The hash proves the bytes, not that export and manifest agree on them.
    count = len(golden.images)
    if golden.images.shape != (count, *manifest.input.item_shape) or not count:
        raise ArtifactError(
            f"{path}: images have shape {list(golden.images.shape)}, not "
            f"{['N', *manifest.input.item_shape]}"
        )
    if golden.images.dtype != manifest.input.dtype:
        raise ArtifactError(f"{path}: images are {golden.images.dtype}, not {manifest.input.dtype}")
    if golden.logits.shape != (count, len(manifest.labels)):
        raise ArtifactError(
            f"{path}: logits have shape {list(golden.logits.shape)}, not "
            f"{[count, len(manifest.labels)]}"
        )
    if golden.logits.dtype != np.float32 or not np.isfinite(golden.logits).all():
        raise ArtifactError(f"{path}: logits must be finite float32 numbers")
    return golden


def _load_golden(path: Path) -> Golden:
    try:
        return _load_arrays(path)
    except SystemError:
        # The file is not at fault. numpy parses its headers with `ast.literal_eval`. In CPython
        # 3.11 that fails ("AST constructor recursion depth mismatch") if a garbage collection
        # during the parsing lets another thread parse something, such as a line for a traceback.
        return _load_arrays(path)


def _load_arrays(path: Path) -> Golden:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Golden(arrays["images"], arrays["logits"])
