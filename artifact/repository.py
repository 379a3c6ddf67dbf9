"""The model repository: `<root>/<name>/<version>/`, each such folder an artifact.

Writing is atomic: a version is a folder that was complete before it got its name.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convoy.artifact.errors import ArtifactError, RepositoryError
from convoy.artifact.files import ALL_FILES, MANIFEST_FILE, Artifact, read_artifact, read_manifest
from convoy.artifact.manifest import MODEL_NAME, Manifest

_NAME = re.compile(MODEL_NAME)
VERSION = re.compile(r"[1-9][0-9]{0,17}")
_WRITING = ".writing-"


class ModelRepository:
    """
    A folder of artifacts. Holds no state: every call looks at the disk.

    A folder that is an artifact itself, as KServe mounts at `/mnt/models`, is a repository of
    that one model.

    Args:
        flat_name: Name of the model in that case; its manifest's if it is empty.
    """

    def __init__(self, root: Path, flat_name: str = "") -> None:
        self.root = root
        self._flat_name = flat_name

    def names(self) -> list[str]:
        """
        Names of the models, sorted; folders whose name is no model's are passed over.

        Raises:
            RepositoryError: If the folder cannot be read.
        """
        if flat := self._flat():
            return [flat.name]
        try:
            folders = _folders(self.root)
        except OSError as error:
            raise _unreadable(self.root, error) from error
        names = (path.name for path in folders if _NAME.fullmatch(path.name))
        return sorted(name for name in names if self.versions(name))

    def versions(self, name: str) -> list[int]:
        """
        Versions of the model *name*, ascending; empty if there is no such model.

        Raises:
            RepositoryError: If its folder cannot be read.
        """
        if flat := self._flat():
            return [flat.version] if name == flat.name else []
        if not _NAME.fullmatch(name):
            return []
        try:
            folders = _folders(self.root / name)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _unreadable(self.root / name, error) from error
        return sorted(int(path.name) for path in folders if VERSION.fullmatch(path.name))

    def read(self, name: str, version: int) -> Artifact:
        """
        Read one artifact and prove that it is whole.

        Raises:
            ArtifactError: If there is no such version, or a file is missing, damaged, unexpected
                or not what the manifest says. The message names the file and the field.
        """
        if version not in self.versions(name):
            raise ArtifactError(f"{self.root}: holds no version {version} of a model {name!r}")
        if self._flat():
            artifact = read_artifact(self.root)
            return dataclasses.replace(artifact, manifest=self._renamed(artifact.manifest))
        folder = self.root / name / str(version)
        self._check_inside(folder)
        artifact = read_artifact(folder)
        manifest = artifact.manifest
        if (manifest.name, manifest.version) != (name, version):
            raise ArtifactError(
                f"{folder}: the manifest says {manifest.name} version {manifest.version}, "
                f"but it lies in the folder of {name} version {version}"
            )
        return artifact

    def signature(self, name: str, version: int) -> tuple[tuple[int, int, int], ...]:
        """Something that changes when a file of the version does; looks at no content."""
        found: list[tuple[int, int, int]] = []
        folder = self.root if self._flat() else self.root / name / str(version)
        for file in ALL_FILES:
            with suppress(OSError):
                status = (folder / file).stat()
                found.append((status.st_mtime_ns, status.st_ino, status.st_size))
        return tuple(found)

    def check_writable(self, name: str) -> None:
        """
        Prove that versions of *name* can be written; leaves no folder that was not there.

        Raises:
            RepositoryError: If they cannot.
        """
        if self._flat():
            raise RepositoryError(f"{self.root} is an artifact itself, no folder of models")
        folder = self.root / name
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # Made and removed here, the folder would be pulled from under others who look, too.
            with tempfile.TemporaryFile(dir=folder if os.path.lexists(folder) else self.root):
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
        try:
            parent.mkdir(exist_ok=True)
            _remove_abandoned(parent)
            with _locked_folder(parent) as folder:
                yield folder, version
                _publish(folder, parent / str(version))
        except OSError as error:
            raise RepositoryError(f"cannot write {parent / str(version)}: {error}") from error
        finally:
            _remove_if_empty(parent)

    def _flat(self) -> Manifest | None:
        """The manifest, under the name that is served, if the folder is an artifact itself."""
        if not (self.root / MANIFEST_FILE).is_file():
            return None
        try:
            return self._renamed(read_manifest(self.root))
        except ArtifactError as error:
            raise RepositoryError(str(error)) from error

    def _renamed(self, manifest: Manifest) -> Manifest:
        return manifest.model_copy(update={"name": self._flat_name or manifest.name})

    def _check_inside(self, folder: Path) -> None:
        """Refuse what a symbolic link brings in from elsewhere."""
        root = self.root.resolve()
        for path in (folder, *(folder / file for file in ALL_FILES)):
            if not path.resolve().is_relative_to(root):
                raise ArtifactError(f"{path}: a symbolic link leads out of the repository")


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()]


def _unreadable(folder: Path, error: OSError) -> RepositoryError:
    return RepositoryError(f"cannot read the model repository {folder}: {error.strerror}")


@contextmanager
def _locked_folder(parent: Path) -> Iterator[Path]:
    """A hidden folder in *parent* while the block runs; its lock tells that somebody writes."""
    folder = Path(tempfile.mkdtemp(prefix=_WRITING, dir=parent))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, target: Path) -> None:
    """Rename *folder* once its content is on the disk, so that a crash never shows a part."""
    folder.chmod(0o755)
    for path in (*folder.iterdir(), folder):
        _flush_to_disk(path)
    folder.rename(target)
    _flush_to_disk(target.parent)


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


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # it is not
        folder.rmdir()


def _flush_to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's names, would survive a crash."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
