"""A model repository in a store that fsspec reaches: S3, GCS, Azure and others.

Names, versions and signatures come from the store. An artifact is copied to the disk before it is
read, once for each signature, and appears there whole or not at all.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convoy.artifact.entries import is_foreign
from convoy.artifact.errors import ArtifactError, RepositoryError
from convoy.artifact.files import ALL_FILES, Artifact
from convoy.artifact.misnamed import NAME, VERSION, Listing, Misnamed, misnamed
from convoy.artifact.repository import ModelRepository
from convoy.service.errors import StartError
from convoy.service.serving.loader import Repository
from convoy.stores import is_url, open_store


def open_repository(location: str, model_name: str, copies: Path | None) -> Repository:
    """
    Open the repository in a folder, or at a URL.

    Args:
        model_name: Name of the model if *location* is an artifact itself; else empty.
        copies: Folder for copies of artifacts from a URL; None for a temporary one.

    Raises:
        StartError: If there is no such kind of store, its package is not installed, or there is no
            temporary folder.
    """
    if not is_url(location):
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
        copies: Folder for the copies; each repository gets a folder of its own in it. None for a
            temporary one.

    Raises:
        RepositoryError: If this kind of store does not exist, its package is not installed, or
            there is no temporary folder.
    """

    def __init__(self, url: str, copies: Path | None) -> None:
        self._url = url
        self._copies = (copies or self._temporary_folder()) / _hash(url)
        self._store, self._path = open_store(url)

    def _temporary_folder(self) -> Path:
        try:
            # Removed with this object, at the end of the process.
            self._temporary = tempfile.TemporaryDirectory(prefix="convoy-")
        except OSError as error:
            raise RepositoryError(
                f"there is no folder for copies of {self._url}: {error.strerror}; set "
                "--repository-cache to a folder that can be written"
            ) from error
        return Path(self._temporary.name)

    def names(self) -> list[str]:
        names = (name for name in self._folders(self._path) if NAME.fullmatch(name))
        return sorted(name for name in names if self.versions(name))

    def versions(self, name: str) -> list[int]:
        # A name that is not a model's could climb out of the repository, as ".." does.
        if not NAME.fullmatch(name):
            return []
        found = self._folders(f"{self._path}/{name}")
        return sorted(int(number) for number in found if VERSION.fullmatch(number))

    def signature(self, name: str, version: int) -> tuple[str, ...]:
        folder = f"{self._path}/{name}/{version}"
        with self._reading():
            found = self._files(folder)
            return tuple(sorted(f"{file} {self._store.ukey(file)}" for file in found))

    def misnamed(self) -> list[Misnamed]:
        return misnamed(self._url.rstrip("/"), self._list)

    def read(self, name: str, version: int) -> Artifact:
        """
        Copy a version to the disk unless a copy of its present files lies there, and read it.

        Raises:
            ArtifactError: As `ModelRepository.read`.
            RepositoryError: If the store cannot be read or the disk cannot be written.
        """
        if version not in self.versions(name):
            raise ArtifactError(f"{self._url}: has no version {version} of model {name!r}")
        states = self._copies / name / str(version)
        copy = states / _hash("\n".join(self.signature(name, version)))
        if not copy.is_dir():
            self._copy(name, version, copy)
        _remove_all_but(states, {copy.name})
        _remove_all_but(states.parent, {str(number) for number in self.versions(name)})
        return ModelRepository(copy).read(name, version)

    def _copy(self, name: str, version: int, target: Path) -> None:
        source = f"{self._path}/{name}/{version}"
        with self._reading(), self._place(target.parent) as made:
            folder = Path(made) / target.name / name / str(version)
            folder.mkdir(parents=True)
            for file in self._files(source):
                part = _last_part(file)
                if part in ALL_FILES:
                    self._store.get_file(file, str(folder / part))
                else:  # a file of any size: its name is enough for the reader to refuse it
                    (folder / part).touch()
            (Path(made) / target.name).rename(target)

    def _place(self, parent: Path) -> tempfile.TemporaryDirectory[str]:
        """Make a hidden folder in *parent* for files that are being copied."""
        try:
            parent.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryDirectory(dir=parent, prefix=".copying-")
        except OSError as error:
            raise RepositoryError(
                f"cannot write copies of {self._url} to {self._copies}: {error.strerror}; set "
                "--repository-cache to a folder that can be written"
            ) from error

    def _folders(self, path: str) -> set[str]:
        with self._reading():
            try:
                found = self._entries(path)
            except (FileNotFoundError, NotADirectoryError):
                # Without the repository itself nothing can be said; a model may be absent.
                if path == self._path:
                    raise
                return set()
            # Some list a folder twice: for its object, and for those in it.
            return {_last_part(entry["name"]) for entry in found if entry["type"] == "directory"}

    def _list(self, path: str) -> Listing:
        # The folders of models have just been listed, for their versions.
        fresh = bool(path) and not NAME.fullmatch(path)
        listing = Listing([], [])
        try:
            with self._reading():
                found = self._entries(f"{self._path}/{path}".rstrip("/"), fresh=fresh)
        except RepositoryError:
            # A folder that may not be listed, and has no model's name, is none of ours.
            if not path:
                raise
            return Listing([], [], readable=False)
        for entry in found:
            is_folder = entry["type"] == "directory"
            (listing.folders if is_folder else listing.files).append(_last_part(entry["name"]))
        return listing

    def _entries(self, path: str, *, fresh: bool = True) -> list[dict[str, Any]]:
        """Return the entries of a folder; if not *fresh*, as the store may remember them."""
        if fresh:
            self._store.invalidate_cache(path)
        found = self._store.ls(path, detail=True)
        # Some stores have an empty object in place of a folder, and list it in the folder.
        return [entry for entry in found if entry["name"].strip("/") != path.strip("/")]

    def _files(self, path: str) -> list[str]:
        """Return the paths of what is in a version, without the entries of other programs."""
        names = [entry["name"] for entry in self._entries(path)]
        return [name for name in names if not is_foreign(_last_part(name))]

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
