"""The server without what a login has: a home, a name, a disk that can be written."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

from convoy.pb.convoy.v1 import classifier_pb2, classifier_pb2_grpc
from convoy.service.http import probe
from tests.harness.images import png
from tests.harness.process import free_ports
from tests.harness.server_process import ServerProcess

NAMELESS = ("unshare", "--user", "--map-user=12345")
"""Begins a command whose user has no entry in /etc/passwd."""

READ_ONLY = ("unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro / && exec "$@"', "sh")
"""Begins a command whose file system cannot be written."""

HOME = {"PATH": os.defpath}
"""An environment without HOME."""


def need(command: tuple[str, ...]) -> None:
    """Skip the test if this machine has no right to run *command*."""
    tool = shutil.which(command[0])
    if not tool or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip(f"no right to use {' '.join(command[:2])}")


def served(command: tuple[str, ...], repository: str, *options: str) -> list[dict[str, object]]:
    """Serve with *command* before Python and without HOME, classify, and return the log."""
    need(command)
    first, *others = command
    with ServerProcess(
        repository,
        *options,
        environment=HOME,
        python=shutil.which(first) or first,
        program=(*others, sys.executable, "-m", "convoy"),
    ) as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = classifier_pb2_grpc.ClassifierServiceStub(channel)
            request = classifier_pb2.ClassifyRequest(model="lenet5", image=png(0))
            assert stub.Classify(request, timeout=10).model_version == 1
        assert "convoy_model_ready" in server.get("/metrics")
        assert server.stop() == 0
    return server.log


@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(lenet_repository: Path, tmp_path: Path, closed: str) -> None:
    """
    A server serves and ends in order without standard streams, as some supervisors start it.
    """
    grpc_port, http_port = free_ports(2)
    ports = ["--grpc-port", str(grpc_port), "--http-port", str(http_port)]
    options = ["--host", "127.0.0.1", *ports, "--model-repository", str(lenet_repository)]
    serve = [sys.executable, "-m", "convoy", "serve", *options]
    with (tmp_path / "errors").open("w") as errors:
        command = ["sh", "-c", f'exec "$@" {closed}', "sh", *serve]
        process = subprocess.Popen(command, stderr=errors)
    with process:
        ends = time.monotonic() + 30
        while probe.main([str(http_port)]) and time.monotonic() < ends:
            time.sleep(0.1)
        assert probe.main([str(http_port)]) == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert "Traceback" not in (tmp_path / "errors").read_text()


CACHE = ("--graph-cache", "~/.cache/convoy/graphs")


def test_without_a_home(lenet_repository: Path) -> None:
    """
    Without HOME and without an entry in /etc/passwd, the server serves, and says what it lacks.
    """
    log = served(NAMELESS, str(lenet_repository), *CACHE)
    (warning,) = (line for line in log if "no home folder" in str(line["message"]))
    assert "--graph-cache" in str(warning["message"])


def test_store_without_a_home(lenet_repository: Path) -> None:
    """
    Copies of a store's artifacts lie in a temporary folder where there is no home.
    """
    served(NAMELESS, f"file://{lenet_repository}")


def test_read_only(lenet_repository: Path) -> None:
    """
    A server that cannot write a single file serves.
    """
    log = served(READ_ONLY, str(lenet_repository), *CACHE)
    assert not [line for line in log if line.get("level") == "error"]


def test_read_only_without_a_home(lenet_repository: Path) -> None:
    """
    A server serves without a home on a disk that it cannot write.
    """
    served((*READ_ONLY, *NAMELESS), str(lenet_repository), *CACHE)


@pytest.mark.parametrize("options", [(), ("--repository-cache", "/var/cache/convoy")])
def test_store_on_a_read_only_disk(lenet_repository: Path, options: tuple[str, ...]) -> None:
    """
    Copies of a store's artifacts that cannot be written are one line that names the setting.
    """
    need(READ_ONLY)
    prefix = READ_ONLY if options else (*READ_ONLY, *NAMELESS)
    serve = [sys.executable, "-m", "convoy", "serve", "--host", "127.0.0.1", *options]
    ports = ["--grpc-port", "0", "--http-port", "0"]
    done = subprocess.run(
        [*prefix, *serve, *ports, "--model-repository", f"file://{lenet_repository}"],
        capture_output=True,
        text=True,
        timeout=60,
        env=HOME,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "cannot start" in last
    setting = "--repository-cache" if options else "--repository-cache of convoy serve,"
    assert f"{setting} to a folder that can be written" in last


def test_permission_that_is_given_later(lenet_repository: Path, tmp_path: Path) -> None:
    """
    In mode poll a model whose files may not be read is loaded once they may be, and entries that
    may not be looked at do not keep the others from it.
    """
    need(NAMELESS)
    repository = tmp_path / "models"
    shutil.copytree(lenet_repository, repository)
    model = repository / "lenet5/1/model.onnx"
    model.chmod(0)
    closed = tmp_path / "closed"
    closed.mkdir()
    (repository / "Strange").symlink_to(closed / "inside")
    (repository / "lenet5/strange").symlink_to(closed / "inside")
    closed.chmod(0)
    first, *others = NAMELESS
    with ServerProcess(
        repository,
        *("--model-control-mode", "poll", "--repository-poll-s", "0.1"),
        python=shutil.which(first) or first,
        program=(*others, sys.executable, "-m", "convoy"),
    ) as server:
        (refusal,) = server.find("version not loaded")
        assert f"{model}: Permission denied" in str(refusal["reason"])
        model.chmod(0o644)
        ends = time.monotonic() + 20
        while not server.find("model loaded") and time.monotonic() < ends:
            time.sleep(0.05)
        assert server.find("model loaded")
    closed.chmod(0o755)
