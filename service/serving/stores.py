"""A model repository in a store that fsspec reaches: S3, GCS, Azure and others.

Names, versions and signatures come from the store. An artifact is copied to the disk before it is
read, once for each signature, and appears there whole or not at all.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convoy.artifact.errors import ArtifactError, RepositoryError
from convoy.artifact.files import ALL_FILES, Artifact
from convoy.artifact.manifest import MODEL_NAME
from convoy.artifact.repository import VERSION, ModelRepository
from convoy.service.errors import StartError
from convoy.service.serving.loader import Repository

_NAME = re.compile(MODEL_NAME)


def open_repository(location: str, model_name: str, copies: Path) -> Repository:
    """
    Open the repository in a folder, or at a URL.

    Args:
        model_name: Name of the model if *location* is an artifact itself; else empty.
        copies: Folder for copies of artifacts from a URL.

    Raises:
        StartError: If there is no such kind of store, or its package is not installed.
    """
    if "://" not in location:
        return ModelRepository(Path(location), model_name)
    try:
        return RemoteRepository(location, copies)
    except RepositoryError as error:
        raise StartError(str(error)) from error


class RemoteRepository:
    """
    A repository whose artifacts lie in `<url>/<name>/<version>/`; implements `Repository`.

    Args:
        url: Such as `s3://bucket/models`.
        copies: Folder for the copies; each repository gets a folder of its own in it.

    Raises:
        RepositoryError: If this kind of store does not exist, or its package is not installed.
    """

    def __init__(self, url: str, copies: Path) -> None:
        self._url = url
        self._copies = copies / _hash(url)
        try:
            import fsspec  # an extra

            self._store, self._path = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise RepositoryError(f"cannot reach {url}: {error}") from error

    def names(self) -> list[str]:
        names = (name for name in self._folders(self._path) if _NAME.fullmatch(name))
        return sorted(name for name in names if self.versions(name))

    def versions(self, name: str) -> list[int]:
        # A name that is no model's could climb out of the repository, as ".." does.
        if not _NAME.fullmatch(name):
            return []
        found = self._folders(f"{self._path}/{name}")
        return sorted(int(number) for number in found if VERSION.fullmatch(number))

    def signature(self, name: str, version: int) -> tuple[str, ...]:
        folder = f"{self._path}/{name}/{version}"
        with self._reading():
            self._store.invalidate_cache(folder)
            found = self._store.ls(folder, detail=True)
            return tuple(
                sorted(f"{file['name']} {self._store.ukey(file['name'])}" for file in found)
            )

    def read(self, name: str, version: int) -> Artifact:
        """
        Copy a version to the disk unless a copy of its present files lies there, and read it.

        Raises:
            ArtifactError: As `ModelRepository.read`.
            RepositoryError: If the store cannot be read or the disk cannot be written.
        """
        if version not in self.versions(name):
            raise ArtifactError(f"{self._url}: holds no version {version} of a model {name!r}")
        states = self._copies / name / str(version)
        copy = states / _hash("\n".join(self.signature(name, version)))
        if not copy.is_dir():
            self._copy(name, version, copy)
        _remove_all_but(states, {copy.name})
        _remove_all_but(states.parent, {str(number) for number in self.versions(name)})
        return ModelRepository(copy).read(name, version)

    def _copy(self, name: str, version: int, target: Path) -> None:
        source = f"{self._path}/{name}/{version}"
        with self._reading():
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".copying-") as made:
                folder = Path(made) / target.name / name / str(version)
                folder.mkdir(parents=True)
                for file in self._store.ls(source, detail=False):
                    part = _last_part(file)
                    if part in ALL_FILES:
                        self._store.get_file(file, str(folder / part))
                    else:  # a file of any size: its name is enough for the reader to refuse it
                        (folder / part).touch()
                (Path(made) / target.name).rename(target)

    def _folders(self, path: str) -> list[str]:
        with self._reading():
            self._store.invalidate_cache(path)
            try:
                found = self._store.ls(path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                # Without the repository itself nothing can be said; a model may be absent.
                if path == self._path:
                    raise
                return []
            return [_last_part(entry["name"]) for entry in found if entry["type"] == "directory"]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except RepositoryError:
            raise
        except Exception as error:  # each store raises the errors of its own library
            raise RepositoryError(f"cannot read {self._url}: {error}") from error


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _last_part(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[1]


def _remove_all_but(folder: Path, kept: set[str]) -> None:
    """Remove the copies of files, or of versions, that the store no longer has."""
    for path in folder.iterdir():
        if path.name not in kept and not path.name.startswith("."):  # hidden: being copied
            shutil.rmtree(path, ignore_errors=True)
