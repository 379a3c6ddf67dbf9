"""Repositories in stores that fsspec reaches: here a file system and one in memory."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from convoy.artifact.errors import ArtifactError, RepositoryError
from convoy.artifact.files import ARTIFACT_FILES, MANIFEST_FILE, MODEL_FILE
from convoy.artifact.stores import RemoteRepository
from convoy.stores import reaching
from tests.harness import tiny
from tests.harness.full_disk import limited_files


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder in place of a store."""
    tiny.write(tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def remote(store: Path, tmp_path: Path) -> RemoteRepository:
    return RemoteRepository(f"file://{store}", tmp_path / "copies")


def copies(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "copies").rglob(MODEL_FILE))


def test_read(store: Path, remote: RemoteRepository, tmp_path: Path) -> None:
    """
    An artifact of the store is found, copied once, and read from its copy.
    """
    assert (remote.names(), remote.versions("tiny"), remote.versions("other")) == (
        ["tiny"],
        [1],
        [],
    )
    first = remote.read("tiny", 1)
    inode = first.model_path.stat().st_ino
    assert remote.read("tiny", 1).model_path.stat().st_ino == inode
    assert first.manifest.name == "tiny"
    assert copies(tmp_path) == [first.model_path]
    assert not first.model_path.is_relative_to(store)


def test_changed_files_are_copied_again(
    store: Path, remote: RemoteRepository, tmp_path: Path
) -> None:
    """
    A version whose files changed has another signature and a new copy; the old copy is removed.
    """
    remote.read("tiny", 1)
    before = remote.signature("tiny", 1)
    model = store / "tiny" / "1" / MODEL_FILE
    model.write_bytes(model.read_bytes() + b"x")
    assert remote.signature("tiny", 1) != before
    with pytest.raises(ArtifactError, match="SHA-256"):
        remote.read("tiny", 1)
    assert len(copies(tmp_path)) == 1


def test_copies_of_removed_versions_are_removed(
    store: Path, remote: RemoteRepository, tmp_path: Path
) -> None:
    """
    The disk does not fill up with versions that the store no longer has.
    """
    remote.read("tiny", 1)
    tiny.write(store)
    (store / "tiny" / "1").rename(store / "away")
    remote.read("tiny", 2)
    assert len(copies(tmp_path)) == 1


def test_interrupted_copy_is_removed(
    remote: RemoteRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A copy that fails is reported and leaves nothing that would be read as a whole one.
    """

    def fail(*_: object) -> None:
        raise ConnectionError("the network is gone")

    with monkeypatch.context() as patch:
        patch.setattr(remote._store, "get_file", fail)
        with pytest.raises(RepositoryError, match="the network is gone"):
            remote.read("tiny", 1)
    assert copies(tmp_path) == []
    remote.read("tiny", 1)


@pytest.mark.parametrize("name", ["", "..", "../store", "/etc", "a/b"])
def test_invalid_names(remote: RemoteRepository, name: str) -> None:
    """
    No name leads out of the repository.
    """
    assert remote.versions(name) == []
    with pytest.raises(ArtifactError, match="has no version"):
        remote.read(name, 1)


def test_file_that_does_not_belong_there(store: Path, remote: RemoteRepository) -> None:
    """
    An artifact is exactly its files in a store, too.
    """
    (store / "tiny" / "1" / "weights.bin").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"weights\.bin does not belong here"):
        remote.read("tiny", 1)


@pytest.mark.parametrize(
    "name", [".DS_Store", "lost+found", "1_$folder$", "..data", "model.onnx~", ".gitkeep"]
)
@pytest.mark.parametrize("place", ["", "tiny", "tiny/1"])
def test_entries_of_other_programs(
    store: Path, remote: RemoteRepository, place: str, name: str
) -> None:
    """
    Entries of other programs are skipped in a store, too, and do not cause another copy.
    """
    before = remote.signature("tiny", 1)
    (store / place / name).touch()
    assert (remote.names(), remote.versions("tiny"), remote.misnamed()) == (["tiny"], [1], [])
    assert remote.read("tiny", 1).manifest.name == "tiny"
    assert remote.signature("tiny", 1) == before


def test_markers_of_folders(
    remote: RemoteRepository, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A store may list a folder in itself, as an empty object that stands for it, and twice.
    """
    listed = remote._store.ls

    def ls(path: str, detail: bool) -> list[dict[str, Any]]:
        marker = {"name": f"{path}/", "size": 0, "type": path.endswith("1") and "file"}
        found = listed(path, detail=detail)
        twice = [entry for entry in found if entry["type"] == "directory"]
        return [{**marker, "type": marker["type"] or "directory"}, *found, *twice]

    monkeypatch.setattr(remote._store, "ls", ls)
    assert (remote.names(), remote.versions("tiny"), remote.misnamed()) == (["tiny"], [1], [])
    assert remote.read("tiny", 1).manifest.name == "tiny"


def test_misnamed_folders(store: Path, remote: RemoteRepository) -> None:
    """
    Folders of a store whose names break a rule are reported with their URL.
    """
    tiny.write(store)
    (store / "tiny" / "2").rename(store / "tiny" / "002")
    tiny.write(store)
    (store / "tiny").rename(store / "Tiny")
    tiny.write(store)
    (store / "Tiny" / "002").rename(store / "tiny" / "002")
    found = {(one.model, one.version): one.reason for one in remote.misnamed()}
    assert found.keys() == {("Tiny", ""), ("tiny", "002")}
    assert found["Tiny", ""].startswith(f"file://{store}/Tiny: a model's name")
    assert found["tiny", "002"].endswith("rename the folder to 2")


def test_folder_that_may_not_be_listed(
    store: Path, remote: RemoteRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A folder that the store does not list is nobody's model; the repository itself must be listed.
    """
    (store / "private" / "1").mkdir(parents=True)
    listed = remote._store.ls

    def ls(path: str, detail: bool) -> Any:
        if path.endswith(closed):
            raise PermissionError(path)
        return listed(path, detail=detail)

    monkeypatch.setattr(remote._store, "ls", ls)
    closed = "private"
    assert remote.misnamed() == []
    closed = "store"
    with pytest.raises(RepositoryError, match="store"):
        remote.misnamed()


def test_store_in_memory(tmp_path: Path) -> None:
    """
    A store in memory works as one on a file system does.
    """
    tiny.write(tmp_path / "made")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "made"), "/bucket", recursive=True)
    remote = RemoteRepository("memory://bucket", tmp_path / "copies")
    assert remote.names() == ["tiny"]
    assert remote.read("tiny", 1).golden.images.shape == (4, 4, 4, 1)


@pytest.fixture
def writable(tmp_path: Path) -> Iterator[RemoteRepository]:
    """A store in memory that holds nothing."""
    memory = fsspec.filesystem("memory")
    memory.mkdirs("/writable/models")
    yield RemoteRepository("memory://writable/models", tmp_path / "copies")
    memory.rm("/writable", recursive=True)


def test_write(writable: RemoteRepository) -> None:
    """
    A version that is written is read whole, and the next one has the next number.
    """
    assert [tiny.write(writable).version for _ in range(2)] == [1, 2]
    assert (writable.names(), writable.versions("tiny")) == (["tiny"], [1, 2])
    assert writable.read("tiny", 2).manifest.version == 2
    assert writable.misnamed() == []
    assert writable._store.find("/writable/models/tiny/2") == [
        f"/writable/models/tiny/2/{name}" for name in sorted(ARTIFACT_FILES)
    ]


def test_version_appears_with_its_manifest(
    writable: RemoteRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A version that is being uploaded is not there for a reader, and is no fault of an older one.
    """
    tiny.write(writable)
    put = writable._store.put_file
    seen = []

    def look(source: str, target: str) -> None:
        put(source, target)
        reader = RemoteRepository(str(writable), tmp_path / "other")
        seen.append((target.rsplit("/", 1)[1], reader.versions("tiny"), reader.misnamed()))

    monkeypatch.setattr(writable._store, "put_file", look)
    tiny.write(writable)
    (model, before, reported), (manifest, after, nothing) = seen
    assert (model, before) == (MODEL_FILE, [1])
    assert [(one.model, one.version) for one in reported] == [("tiny", "2")]
    assert reported[0].reason.startswith(
        "memory://writable/models/tiny/2: manifest.json is missing"
    )
    assert (manifest, after, nothing) == (MANIFEST_FILE, [1, 2], [])


@pytest.mark.parametrize("error", [ConnectionError("the network is gone"), KeyboardInterrupt()])
def test_interrupted_upload(
    writable: RemoteRepository, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """
    An upload that fails or is interrupted leaves nothing.
    """

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(writable._store, "put_file", fail)
        with pytest.raises((RepositoryError, KeyboardInterrupt)) as raised:
            tiny.write(writable)
    assert raised.type is KeyboardInterrupt or "tiny/1: the store cannot be reached" in str(
        raised.value
    )
    assert writable._store.find("/writable") == []
    assert tiny.write(writable).version == 1


def test_abandoned_upload(writable: RemoteRepository) -> None:
    """
    A version that was never completed is not overwritten, and does not hide the others.
    """
    writable._store.pipe_file("/writable/models/tiny/1/golden.npz", b"")
    assert (writable.names(), tiny.write(writable).version) == ([], 2)
    assert writable.versions("tiny") == [1, 2]
    with pytest.raises(ArtifactError, match=r"manifest\.json, model\.onnx is missing"):
        writable.read("tiny", 1)
    assert writable._store.cat("/writable/models/tiny/1/golden.npz") == b""


def test_full_disk_while_a_version_is_made(writable: RemoteRepository) -> None:
    """
    The disk of the temporary folder is full, and the store is not blamed.
    """
    message = r"cannot write .*/tiny/1: File too large on this machine at .*; make room, or set TMP"
    with (
        pytest.raises(RepositoryError, match=message),
        limited_files(1000),
        writable.writing("tiny") as (folder, _),
    ):
        (folder / "model.onnx").write_bytes(bytes(2000))
    assert writable.versions("tiny") == []


def test_two_writers(writable: RemoteRepository) -> None:
    """
    The later of two writers of one version is refused, and changes nothing.
    """
    later = writable.writing("tiny")
    folder, number = later.__enter__()
    assert tiny.write(writable).version == number == 1
    first = writable.read("tiny", 1)
    shutil.copytree(first.model_path.parent, folder, dirs_exist_ok=True)
    (folder / MODEL_FILE).write_bytes(b"another graph")
    with pytest.raises(RepositoryError, match="tiny/1: another writer has taken this version"):
        later.__exit__(None, None, None)
    assert writable.read("tiny", 1).manifest == first.manifest


def test_store_that_cannot_be_written(
    writable: RemoteRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A store that cannot be written is found out before the work, with the remedy in one line.
    """

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(writable._store, "pipe_file", refuse)
    error: Exception = PermissionError("Access Denied.\nRequestId: 12345")
    with pytest.raises(RepositoryError) as raised:
        writable.check_writable("tiny")
    assert str(raised.value) == (
        "cannot write memory://writable/models/tiny: the store refuses access (Access Denied); "
        "check the credentials and their rights"
    )
    error = FileNotFoundError("no such bucket")
    with pytest.raises(RepositoryError, match="there is no such bucket or folder; create it"):
        writable.check_writable("tiny")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "No space left on device on this machine; make room, or set TMPDIR to another disk",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/root/.aws/config"),
            "Permission denied on this machine at /root/.aws/config",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "bucket/labels"),
            "the store refuses access ([Errno 13] Permission denied: 'bucket/labels'); check the "
            "credentials and their rights",
        ),
    ],
)
def test_fault_of_this_machine(error: OSError, message: str) -> None:
    """
    A full disk, or a file that cannot be read here, is not blamed on the store.
    """
    with pytest.raises(RepositoryError) as raised, reaching("s3://bucket/labels"):
        raise error
    assert str(raised.value) == f"cannot read s3://bucket/labels: {message}"


@pytest.mark.parametrize(
    ("scheme", "package", "extra"),
    [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs"), ("az", "adlfs", "azure")],
)
def test_extra_of_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, package: str, extra: str
) -> None:
    """
    The error of a store whose package is missing names the extra that installs it.
    """
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RepositoryError, match=f"{scheme}://bucket: install the extra {extra}$"):
        RemoteRepository(f"{scheme}://bucket", tmp_path / "copies")


@pytest.mark.parametrize("url", ["nosuch://bucket/models", "file:///no/such/folder"])
def test_store_that_cannot_be_reached(tmp_path: Path, url: str) -> None:
    """
    The error of a store that cannot be reached names its URL.
    """
    with pytest.raises(RepositoryError, match=url):
        RemoteRepository(url, tmp_path / "copies").names()
