"""The model repository: every folder `<root>/<name>/<version>/` is an artifact.

Writing is atomic: a version is complete before its folder gets its name, and never changes then.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convoy.artifact.errors import ArtifactError, RepositoryError
from convoy.artifact.files import (
    ALL_FILES,
    MANIFEST_FILE,
    Artifact,
    files_state,
    read_artifact,
    read_manifest,
)
from convoy.artifact.manifest import Manifest
from convoy.artifact.misnamed import NAME, VERSION, Listing, Misnamed, misnamed

_WRITING = ".writing-"

_TAKEN = "another writer has taken this version; try again"

FIRST_MODEL = (
    "create a model with `convoy export lenet5` or `convoy import FILE.onnx`, or choose another "
    "folder with --model-repository"
)
"""The remedy for a repository that has no model."""


class ModelRepository:
    """
    A folder of artifacts, without state: every call reads the disk.

    A folder that is an artifact itself, such as KServe mounts at `/mnt/models`, is a repository of
    that one model.

    Args:
        flat_name: Name of the model in that case; if empty, the manifest's.
    """

    def __init__(self, root: Path, flat_name: str = "") -> None:
        self.root = root
        self._flat_name = flat_name

    def __str__(self) -> str:
        return str(self.root)

    def location(self, name: str, version: int) -> str:
        """Return the folder of a version."""
        return str(self.root / name / str(version))

    def names(self) -> list[str]:
        """
        Return the names of the models, sorted; `misnamed` returns the folders with other names.

        Raises:
            RepositoryError: If the folder cannot be read.
        """
        if flat := self._flat():
            return [flat.name]
        try:
            names = _folders(self.root, NAME)
        except OSError as error:
            raise _unreadable(self.root, error) from error
        return sorted(name for name in names if self.versions(name))

    def versions(self, name: str) -> list[int]:
        """
        Return the versions of the model *name*, ascending; empty if there is no such model.

        Raises:
            RepositoryError: If its folder cannot be read.
        """
        if flat := self._flat():
            return [flat.version] if name == flat.name else []
        if not NAME.fullmatch(name):
            return []
        try:
            return sorted(map(int, _folders(self.root / name, VERSION)))
        # A name without a folder is not an error: clients ask for models that do not exist.
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _unreadable(self.root / name, error) from error

    def read(self, name: str, version: int) -> Artifact:
        """
        Read one artifact and prove that it is whole.

        Raises:
            ArtifactError: If there is no such version, or a file is missing, damaged, unexpected
                or not as the manifest states. The message names the file and the field.
        """
        # Asking for the versions also keeps names such as `..` from leading out of the folder.
        if version not in self.versions(name):
            raise ArtifactError(f"{self.root}: has no version {version} of model {name!r}")
        if self._flat():
            # A mounted artifact has the name that the server was given, not the manifest's.
            artifact = read_artifact(self.root)
            return dataclasses.replace(artifact, manifest=self._renamed(artifact.manifest))
        folder = self.root / name / str(version)
        self._check_inside(folder)
        artifact = read_artifact(folder)
        manifest = artifact.manifest
        # A copied folder would be served under a name that its metrics and answers contradict.
        if (manifest.name, manifest.version) != (name, version):
            raise ArtifactError(
                f"{folder}: the manifest states {manifest.name} version {manifest.version}, but "
                f"this is the folder of {name} version {version}; rename the folder, or make the "
                "artifact again under this name"
            )
        return artifact

    def signature(self, name: str, version: int) -> tuple[object, ...]:
        """
        Return a value that changes when anything does that a refusal of the version can name.

        No file is read.
        """
        return files_state(self.root if self._flat() else self.root / name / str(version))

    def misnamed(self) -> list[Misnamed]:
        """
        Return the folders that no model is served from, because their names break a rule.

        Raises:
            RepositoryError: If the repository cannot be read.
        """
        return [] if self._flat() else misnamed(str(self.root), self._list)

    def check_writable(self, name: str) -> None:
        """
        Prove that versions of *name* can be written; create no folder of the model.

        Raises:
            RepositoryError: If they cannot.
        """
        if self._flat():
            raise RepositoryError(f"{self.root} is an artifact, not a folder of models")
        folder = self.root / name
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # Creating and removing the model's folder here would break checks that run elsewhere.
            with tempfile.TemporaryFile(dir=folder if os.path.lexists(folder) else self.root):
                pass
        except OSError as error:
            raise RepositoryError(
                f"cannot write to the model repository {folder}: {error.strerror}"
            ) from error

    @contextmanager
    def writing(self, name: str) -> Iterator[tuple[Path, int]]:
        """
        Yield a folder to write a new version of *name* into, and the number of the version.

        The version appears when the block ends. If the block raises (Ctrl-C included), nothing
        appears. The next writer removes the folder of a writer that was killed.

        Raises:
            RepositoryError: If the folder cannot be written, or another writer took the number.
        """
        self.check_writable(name)
        parent = self.root / name
        version = max(self.versions(name), default=0) + 1
        try:
            parent.mkdir(exist_ok=True)
            _remove_abandoned(parent)
            with _locked_folder(parent) as folder:
                yield folder, version
                _publish(folder, parent / str(version))
        except OSError as error:
            taken = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
            reason = _TAKEN if taken else error.strerror or error
            raise RepositoryError(f"cannot write {parent / str(version)}: {reason}") from error
        finally:
            _remove_if_empty(parent)

    def _flat(self) -> Manifest | None:
        """Return the manifest, with the served name, if the folder is an artifact itself."""
        if not (self.root / MANIFEST_FILE).is_file():
            return None
        try:
            return self._renamed(read_manifest(self.root))
        except ArtifactError as error:
            raise RepositoryError(str(error)) from error

    def _list(self, path: str) -> Listing:
        listing = Listing([], [])
        try:
            for entry in (self.root / path).iterdir():
                is_folder = os.path.isdir(entry)  # False if it cannot be looked at
                (listing.folders if is_folder else listing.files).append(entry.name)
        except OSError as error:
            # A folder that may not be read, and has no model's name, is none of ours.
            if not path:
                raise _unreadable(self.root, error) from error
            return Listing([], [], readable=False)
        return listing

    def _renamed(self, manifest: Manifest) -> Manifest:
        return manifest.model_copy(update={"name": self._flat_name or manifest.name})

    def _check_inside(self, folder: Path) -> None:
        """Refuse symbolic links to files outside of the repository."""
        root = self.root.resolve()
        for path in (folder, *(folder / file for file in ALL_FILES)):
            if not path.resolve().is_relative_to(root):
                raise ArtifactError(
                    f"{path}: a symbolic link leads out of the repository; copy the target of the "
                    "link into the repository"
                )


def _folders(folder: Path, rule: re.Pattern[str]) -> list[str]:
    # Only entries whose names follow the rule matter: some others cannot even be looked at.
    paths = (path for path in folder.iterdir() if rule.fullmatch(path.name))
    return [path.name for path in paths if path.is_dir()]


def _unreadable(folder: Path, error: OSError) -> RepositoryError:
    missing = isinstance(error, FileNotFoundError)
    remedy = f"; {FIRST_MODEL}" if missing else ""
    return RepositoryError(f"cannot read the model repository {folder}: {error.strerror}{remedy}")


@contextmanager
def _locked_folder(parent: Path) -> Iterator[Path]:
    """Yield a hidden folder in *parent* that is locked, as a sign of a live writer, and removed."""
    folder = Path(tempfile.mkdtemp(prefix=_WRITING, dir=parent))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, target: Path) -> None:
    """Rename *folder* after its content is on the disk: a crash leaves no partial version."""
    folder.chmod(0o755)  # mkdtemp made it readable for its owner only
    for path in (*folder.iterdir(), folder):
        _flush_to_disk(path)
    folder.rename(target)
    _flush_to_disk(target.parent)


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders of writers that were killed, which nobody locks any more."""
    for folder in parent.glob(f"{_WRITING}*"):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # its writer is still running
        finally:
            os.close(lock)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # it is not empty
        folder.rmdir()


def _flush_to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's names, would survive a crash."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
