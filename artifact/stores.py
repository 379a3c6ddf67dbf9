"""A model repository in a store that fsspec reaches: S3, GCS, Azure and others.

Names, versions and signatures come from the store. An artifact is copied to the disk before it is
read, once for each signature, and appears there whole or not at all. A store cannot rename folders,
so a new version is complete when its manifest is there, which is written last.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from convoy.artifact.entries import is_foreign
from convoy.artifact.errors import ArtifactError, RepositoryError
from convoy.artifact.files import ALL_FILES, GOLDEN_FILE, MANIFEST_FILE, Artifact
from convoy.artifact.misnamed import NAME, VERSION, Listing, Misnamed, misnamed
from convoy.artifact.repository import ModelRepository
from convoy.stores import explain_store, is_url, open_store

_UNFINISHED_RULE = (
    "manifest.json is missing; if the version is not being uploaded now, upload all of its files "
    "again, manifest.json last, or remove the folder"
)

_PROBE = ".writing"
"""Name of the object that proves the right to write. Readers skip hidden ones."""


def open_repository(
    location: str,
    model_name: str = "",
    copies: Path | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Repository:
    """
    Open the repository in a folder, or at a URL.

    Args:
        model_name: Name of the model if *location* is an artifact itself; else empty.
        copies: Folder for copies of artifacts from a URL; None for a temporary one, which is
            removed with the repository.
        report: Receives a line before a version is uploaded to a URL.

    Raises:
        RepositoryError: If there is no such kind of store, its package is not installed, or there
            is no temporary folder.
    """
    if is_url(location):
        return RemoteRepository(location, copies, report)
    return ModelRepository(Path(location), model_name)


def check_newest(repository: Repository, name: str, expected: int) -> None:
    """
    Refuse to write a version of *name* if another one was published or removed during the work.

    A server that polls would leave a version that was just published for one made of an older one.

    Args:
        expected: The newest version when the work began; 0 if there was none.

    Raises:
        RepositoryError: If the newest version is another one.
    """
    newest = max(repository.versions(name), default=0)
    if newest == expected:
        return
    if newest > expected:
        change = f"version {newest} of {name} appeared in {repository}"
    else:
        change = f"version {expected} of {name} was removed from {repository}"
    raise RepositoryError(f"{change} meanwhile; nothing was written: run the command again")


class RemoteRepository:
    """
    A repository whose artifacts lie in `<url>/<name>/<version>/`.

    Args:
        url: Such as `s3://bucket/models`.
        copies: Folder for the copies; each repository gets a folder of its own in it. None for a
            temporary one, which is removed with this object.
        report: Receives a line before a version is uploaded.

    Raises:
        RepositoryError: If this kind of store does not exist, its package is not installed, or
            there is no temporary folder.
    """

    def __init__(
        self, url: str, copies: Path | None, report: Callable[[str], None] = lambda _: None
    ) -> None:
        self._url = url.rstrip("/")
        self._report = report
        self._newest: dict[str, int] = {}
        self._unfinished: dict[str, list[int]] = {}
        self._copies = (copies or self._temporary_folder()) / _hash(url)
        self._store, self._path = open_store(url)

    def __str__(self) -> str:
        return self._url

    def _temporary_folder(self) -> Path:
        try:
            made = tempfile.mkdtemp(prefix="convoy-")
        except OSError as error:
            raise RepositoryError(
                f"there is no folder for copies of {self._url}: {error.strerror}; set "
                "TMPDIR, or --repository-cache of convoy serve, to a folder that can be written"
            ) from error
        weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
        return Path(made)

    def names(self) -> list[str]:
        names = (name for name in self._folders(self._path) if NAME.fullmatch(name))
        return sorted(name for name in names if self.versions(name))

    def versions(self, name: str) -> list[int]:
        # A name that is not a model's could climb out of the repository, as ".." does.
        if not NAME.fullmatch(name):
            return []
        stored = self._stored(name)
        finished = self._finished(name, stored)
        self._unfinished[name] = stored[len(finished) :]
        return finished

    def signature(self, name: str, version: int) -> tuple[str, ...]:
        folder = f"{self._path}/{name}/{version}"
        with self._reading():
            found = self._files(folder)
            return tuple(sorted(f"{file} {self._store.ukey(file)}" for file in found))

    def misnamed(self) -> list[Misnamed]:
        """
        Return the folders that no model is served from, for their names or a missing manifest.

        Manifests were missing when `versions` was called last.

        Raises:
            RepositoryError: If the store cannot be read.
        """
        unfinished = (
            Misnamed(name, str(number), f"{self.location(name, number)}: {_UNFINISHED_RULE}")
            for name, numbers in sorted(self._unfinished.items())
            for number in numbers
        )
        return [*misnamed(self._url, self._list), *unfinished]

    def location(self, name: str, version: int) -> str:
        """Return the URL of a version."""
        return f"{self._url}/{name}/{version}"

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

    def check_writable(self, name: str) -> None:
        """
        Prove that versions of *name* can be written: write a hidden object, and remove it.

        Raises:
            RepositoryError: If they cannot.
        """
        probe = f"{self._path}/{name}/{_PROBE}"
        with self._writing_to(f"{self._url}/{name}"):
            self._store.pipe_file(probe, b"")
            # The right to remove is not needed, and another writer may have been faster.
            with suppress(PermissionError, FileNotFoundError):
                self._store.rm_file(probe)

    @contextmanager
    def writing(self, name: str) -> Iterator[tuple[Path, int]]:
        """
        Yield a folder to write a new version of *name* into, and the number of the version.

        The version is uploaded when the block ends, and appears when it is complete. If the block
        or the upload fails (Ctrl-C included), nothing appears.

        Raises:
            RepositoryError: If it cannot be written, or another writer took the number.
        """
        self.check_writable(name)
        version = max(self._stored(name), default=0) + 1
        try:
            with tempfile.TemporaryDirectory(prefix="convoy-") as made:
                yield Path(made), version
                self._upload(Path(made), name, version)
        except OSError as error:
            raise RepositoryError(
                f"cannot write {self.location(name, version)}: {error.strerror or error} on this "
                f"machine at {error.filename or tempfile.gettempdir()}; make room, or set TMPDIR "
                "to another disk"
            ) from error

    def _upload(self, folder: Path, name: str, version: int) -> None:
        location, target = self.location(name, version), f"{self._path}/{name}/{version}"
        files = {path.name: path for path in sorted(folder.iterdir())}
        golden, manifest = files.pop(GOLDEN_FILE), files.pop(MANIFEST_FILE)
        size = sum(path.stat().st_size for path in folder.iterdir())
        self._report(f"uploading {size / 1e6:.2f} MB to {location}")
        with self._writing_to(location):
            # This small file claims the number: of two writers, the store refuses one. Some stores
            # ignore the condition; there, only writers at the same moment get past the look.
            if self._store.exists(f"{target}/{GOLDEN_FILE}"):
                raise FileExistsError
            self._store.pipe_file(f"{target}/{GOLDEN_FILE}", golden.read_bytes(), mode="create")
            try:
                for path in (*files.values(), manifest):
                    self._store.put_file(str(path), f"{target}/{path.name}")
            except BaseException:
                # The store may be down. What stays there has no manifest, so that nobody reads it.
                with suppress(Exception):
                    self._store.rm(target, recursive=True)
                raise

    def _stored(self, name: str) -> list[int]:
        """Return the versions of *name* that have a folder, ascending."""
        found = self._folders(f"{self._path}/{name}")
        return sorted(int(number) for number in found if VERSION.fullmatch(number))

    def _finished(self, name: str, stored: list[int]) -> list[int]:
        """
        Leave out the newest versions if they have no manifest: they are being uploaded.

        An older version without one is refused when it is read.
        """
        finished = list(stored)
        while finished and finished[-1] != self._newest.get(name):
            with self._reading():
                files = self._files(f"{self._path}/{name}/{finished[-1]}")
            if MANIFEST_FILE in map(_last_part, files):
                self._newest[name] = finished[-1]
            else:
                finished.pop()
        return finished

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
            reason = explain_store(error, self._url)
            raise RepositoryError(f"cannot read {self._url}: {reason}") from error

    @contextmanager
    def _writing_to(self, location: str) -> Iterator[None]:
        try:
            yield
        except FileExistsError as error:
            raise RepositoryError(
                f"cannot write {location}: another writer has taken this version; try again"
            ) from error
        except Exception as error:  # each store raises the errors of its own library
            reason = explain_store(error, self._url)
            raise RepositoryError(f"cannot write {location}: {reason}") from error


Repository: TypeAlias = ModelRepository | RemoteRepository
"""A repository in a folder, or in a store."""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _last_part(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[1]


def _remove_all_but(folder: Path, kept: set[str]) -> None:
    """Remove the copies of files, or of versions, that the store no longer has."""
    for path in folder.iterdir():
        if path.name not in kept and not path.name.startswith("."):  # hidden: being copied
            shutil.rmtree(path, ignore_errors=True)
