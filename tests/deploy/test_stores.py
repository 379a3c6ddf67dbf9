"""Model repositories in S3, Azure Blob Storage and Google Cloud Storage, by their emulators."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from convoy import Client
from convoy.artifact.files import MODEL_FILE
from tests.deploy.emulators import BUCKET, BUILD, EMULATORS, Emulator, Store
from tests.deploy.slow_link import SlowLink
from tests.harness.images import png
from tests.harness.lenet import LENET, add_version
from tests.harness.process import free_ports
from tests.harness.server_process import ServerProcess

PYTHON = BUILD / "python/bin/python"
POLL_S = "1"
PATIENCE_S = 180.0
"""Longer than the libraries of the stores retry by themselves: Azure's takes more than a minute."""

UPLOAD = """
import sys, fsspec
source, target = sys.argv[1:]
store, path = fsspec.core.url_to_fs(target)
bucket = path.split("/")[0]
if not store.exists(bucket):
    store.mkdir(bucket)
store.put(f"{source}/", f"{path}/", recursive=True)
"""

SECOND_WRITER = """
import shutil, sys
from pathlib import Path
from convoy.artifact.errors import RepositoryError
from convoy.artifact.stores import open_repository
url, source = sys.argv[1:]
first, second = (open_repository(url).writing("lenet5") for _ in range(2))
for writer in (first, second):
    folder, number = writer.__enter__()
    shutil.copytree(source, folder, dirs_exist_ok=True)
first.__exit__(None, None, None)
try:
    second.__exit__(None, None, None)
except RepositoryError as error:
    print(error)
"""

STORE_LIBRARIES = ("azure", "gcsfs", "aiobotocore", "botocore")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=EMULATORS)
def emulator(request: pytest.FixtureRequest) -> Emulator:
    """A kind of store."""
    return EMULATORS[request.param]


@pytest.fixture
def store(emulator: Emulator, tmp_path: Path) -> Iterator[Store]:
    """A store that holds version 1 of LeNet-5."""
    with emulator.started(tmp_path / "data") as started:
        upload(LENET, started, 1)
        yield started


def variables(store: Store) -> Mapping[str, str]:
    """The variables of a process that uses a store."""
    return {**os.environ, **store.environment}  # noqa: TID251


def upload(artifact: Path, store: Store, version: int) -> None:
    """Copy an artifact into a store."""
    target = f"{store.url}/lenet5/{version}"
    command = [str(PYTHON), "-c", UPLOAD, str(artifact), target]
    subprocess.run(command, env=variables(store), check=True, capture_output=True, timeout=60)


def second_version(folder: Path) -> Path:
    """An artifact of version 2."""
    shutil.copytree(LENET, folder / "lenet5/1")
    return add_version(folder, "lenet5")


def serve(store: Store, folder: Path) -> ServerProcess:
    """A server that follows a store."""
    poll = ["--model-control-mode", "poll", "--repository-poll-s", POLL_S]
    cache = ["--repository-cache", str(folder / "cache")]
    return ServerProcess(store.url, *poll, *cache, environment=variables(store), python=PYTHON)


def served_version(server: ServerProcess) -> int:
    """The version that answers."""
    with Client(server.address) as client:
        return client.classify(png(3), model="lenet5").model_version


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for *condition*."""
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.2)


def test_a_new_version_is_served(store: Store, tmp_path: Path) -> None:
    """
    A server loads what a store holds, follows it, and its log is not the store's.
    """
    with serve(store, tmp_path) as server:
        assert served_version(server) == 1
        upload(second_version(tmp_path / "new"), store, 2)
        wait_until(lambda: served_version(server) == 2)
        time.sleep(5 * float(POLL_S))
        told = [line for line in server.log if str(line.get("logger")).startswith(STORE_LIBRARIES)]
        assert len(told) <= 1, told


def import_into(store: Store, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `convoy import`, which writes the next version of LeNet-5 into a store."""
    folder.mkdir(exist_ok=True)
    graph = shutil.copy(LENET / MODEL_FILE, folder)  # without the labels beside it
    options = ["--name", "lenet5", "--model-repository", store.url]
    return subprocess.run(
        [PYTHON, "-m", "convoy", "import", graph, *options],
        env=variables(store),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_a_version_that_a_command_writes(store: Store, tmp_path: Path) -> None:
    """
    A command writes the next version into a store; a server that polls never tries half of it.
    """
    with serve(store, tmp_path) as server:
        done = import_into(store, tmp_path / "graph")
        assert done.returncode == 0, done.stderr
        assert f"artifact        {store.url}/lenet5/2" in done.stdout
        assert len(done.stderr.splitlines()) <= 1, done.stderr  # one library warns
        wait_until(lambda: served_version(server) == 2)
        assert not server.find("version not loaded")
        assert import_into(store, tmp_path / "graph").returncode == 0
        wait_until(lambda: served_version(server) == 3)


def test_a_version_that_another_writer_took(store: Store) -> None:
    """
    A store refuses the first file of a version that another writer has begun.
    """
    command = [str(PYTHON), "-c", SECOND_WRITER, store.url, str(LENET)]
    done = subprocess.run(command, env=variables(store), capture_output=True, text=True, timeout=90)
    assert done.stdout == (
        f"cannot write {store.url}/lenet5/2: another writer has taken this version; try again\n"
    ), done.stderr


def refusal(store: Store, folder: Path) -> str:
    """The line with which a command refuses to write into a store, before it begins its work."""
    done = import_into(store, folder / "graph")
    assert (done.returncode, done.stdout) == (1, "")
    *warnings, line = done.stderr.splitlines()
    assert len(warnings) <= 2, done.stderr  # one library warns
    assert line.startswith(f"convoy import: cannot write {store.url}/lenet5: ")
    return line


def test_writing_to_a_bucket_that_does_not_exist(emulator: Emulator, tmp_path: Path) -> None:
    """
    A command creates no bucket, and names the remedy.
    """
    with emulator.started(tmp_path / "data") as store:
        absent = replace(store, url=store.url.replace(BUCKET, "absent"))
        line = refusal(absent, tmp_path)
    assert (
        "there is no such bucket or folder; create it" in line or "container does not exist" in line
    )


def test_writing_to_a_store_that_is_down(emulator: Emulator, tmp_path: Path) -> None:
    """
    A command that cannot reach the store says so, and where to look.
    """
    (port,) = free_ports(1)
    absent = Store(emulator.url, emulator.environment(port))
    line = refusal(absent, tmp_path)
    assert "the store cannot be reached (" in line
    assert "check the network" in line


def test_writing_with_wrong_credentials(tmp_path: Path) -> None:
    """
    A command whose key the store refuses says so, and where to look.
    """
    azure = EMULATORS["azure"]
    with azure.started(tmp_path / "data") as store:
        upload(LENET, store, 1)
        line = refusal(with_wrong_key(store), tmp_path)
    assert "authenticat" in line.lower()
    assert line.endswith("check the credentials and their rights")


def test_truncated_object(store: Store, tmp_path: Path) -> None:
    """
    A version with a file that is not whole is refused; the one before it serves on.
    """
    version = second_version(tmp_path / "new")
    model = version / MODEL_FILE
    model.write_bytes(model.read_bytes()[:1000])
    with serve(store, tmp_path) as server:
        upload(version, store, 2)
        wait_until(lambda: bool(server.find("version not loaded")))
        assert "model.onnx" in str(server.find("version not loaded")[0])
        assert served_version(server) == 1


def test_store_that_goes_and_returns(emulator: Emulator, tmp_path: Path) -> None:
    """
    Without its store a server serves what it has; when the store is back, it follows it again.
    """
    (port,) = free_ports(1)
    data = tmp_path / "data"
    with emulator.started(data, port) as store:
        upload(LENET, store, 1)
        server = serve(store, tmp_path).__enter__()
    try:
        wait_until(lambda: any("cannot read" in str(line) for line in server.log))
        assert served_version(server) == 1
        with emulator.started(data, port) as store:
            upload(LENET, store, 1)  # one of the emulators forgets
            upload(second_version(tmp_path / "new"), store, 2)
            wait_until(lambda: served_version(server) == 2)
    finally:
        assert server.stop() == 0


def test_store_that_is_down_at_the_start(emulator: Emulator, tmp_path: Path) -> None:
    """
    A server that cannot read its repository ends with 1 and a line that says so.
    """
    (port,) = free_ports(1)
    absent = Store(emulator.url, emulator.environment(port))
    server = serve(absent, tmp_path)
    assert server.wait() == 1
    (error,) = [line for line in server.log if "cannot start" in str(line["message"])]
    assert emulator.url in str(error["message"])
    assert "traceback" not in error


def with_wrong_key(store: Store) -> Store:
    """The store of Azurite, for a client with a wrong key."""
    name, text = next(iter(store.environment.items()))
    return replace(store, environment={name: text.replace("Key=Eby8", "Key=AAAA")})


def test_wrong_credentials(tmp_path: Path) -> None:
    """
    A server whose key the store refuses ends with 1 and a line that says so.
    """
    azure = EMULATORS["azure"]
    with azure.started(tmp_path / "data") as store:
        upload(LENET, store, 1)
        server = serve(with_wrong_key(store), tmp_path)
        assert server.wait() == 1
        (error,) = [line for line in server.log if "cannot start" in str(line["message"])]
        assert "authenticate" in str(error["message"]).lower()


def test_slow_store(emulator: Emulator, tmp_path: Path) -> None:
    """
    While a version arrives slowly, the one before it answers.
    """
    (port,) = free_ports(1)
    with (
        emulator.started(tmp_path / "data", port) as store,
        SlowLink(port, bytes_per_s=20_000) as link,
    ):
        upload(LENET, store, 1)
        slow = Store(store.url, emulator.environment(link.port))
        with serve(slow, tmp_path) as server:
            upload(second_version(tmp_path / "new"), store, 2)
            versions: list[int] = []
            while not versions or versions[-1] == 1:
                versions.append(served_version(server))
                time.sleep(0.1)
        assert versions[-1] == 2
        assert len(versions) > 20
