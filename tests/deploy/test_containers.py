"""The images and the Compose file, run by podman and dockerd, with each Compose. Needs root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from convoy import Client, ConvoyError
from tests.deploy import engines
from tests.deploy.emulators import TOOLS
from tests.deploy.engines import PODMAN, ROOT, Engine, wait_until
from tests.deploy.images import (
    EXPORT,
    NEEDS_PODMAN,
    PROMETHEUS,
    SERVER,
    build,
    build_prometheus,
)
from tests.harness.images import png
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.process import free_ports

PROJECT = "convoy-test"
USER = 10001
MEMORY_BYTES = 4 * 2**30
POLL_S = 5.0
"""The interval of the polls in the Compose file."""
LOAD_S = 10.0
"""Time to open, check and warm up LeNet-5, on a machine that does other work."""

pytestmark = [pytest.mark.timeout(1800), NEEDS_PODMAN]


@dataclass(frozen=True)
class Variant:
    """
    An engine and a program that reads Compose files.

    Attributes:
        engine: Its fixture.
        separator: Separates the parts of a container's name.
        waits: `up --wait` waits until the services are healthy.
    """

    engine: str
    compose: Path
    separator: str
    waits: bool


VARIANTS = {
    "podman-v2": Variant("podman", TOOLS / "docker-compose", "-", True),
    "podman-compose": Variant("podman", TOOLS / "podman-compose", "_", False),
    "dockerd-v2": Variant("dockerd", TOOLS / "docker-compose", "-", True),
    "dockerd-v1": Variant("dockerd", Path("/usr/bin/docker-compose"), "_", False),
}


@pytest.fixture(scope="module")
def images() -> None:
    """The server's image, and one of Debian's Prometheus under the name in the Compose file."""
    build(SERVER)
    build_prometheus()


def get(url: str) -> Any:
    """The JSON of an answer."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


class Stack:
    """
    The services server and prometheus of docker-compose.yml, on free ports if others listen there.

    Attributes:
        server: The container of the server.
        address: The published port of gRPC.
    """

    def __init__(self, engine: Engine, variant: Variant, folder: Path) -> None:
        self.engine = engine
        self._variant = variant
        self.server = variant.separator.join((PROJECT, "server", "1"))
        self._files = [ROOT / "docker-compose.yml"]
        grpc_port, http_port, prometheus_port = 8001, 8000, 9090
        if not engine.has_own_ports:
            grpc_port, http_port, prometheus_port = free_ports(3)
            ports = folder / "ports.yml"
            ports.write_text(
                "services:\n"
                f'  server: {{ports: !override ["{grpc_port}:8001", "{http_port}:8000"]}}\n'
                f'  prometheus: {{ports: !override ["{prometheus_port}:9090"]}}\n'
            )
            self._files.append(ports)
        self.address = f"{engine.host}:{grpc_port}"
        self._prometheus = f"http://{engine.host}:{prometheus_port}"

    def up(self) -> None:
        """Start what does not run; wait until it is healthy."""
        wait = ["--wait"] if self._variant.waits else []
        self.compose("up", "--detach", *wait, "server", "prometheus")
        wait_until(self.is_healthy)

    def add_model(self) -> None:
        """Put LeNet-5 into the volume; wait until it is served."""
        volume = self.engine.run(
            "volume", "inspect", f"{PROJECT}_models", "--format", "{{.Mountpoint}}"
        )
        shutil.copytree(LENET_REPOSITORY, volume, dirs_exist_ok=True)
        wait_until(self.answers)

    def compose(self, *arguments: str, override: Path | None = None) -> None:
        """Run the program for Compose files."""
        options = [
            part
            for file in (*self._files, *([override] if override else []))
            for part in ("--file", str(file))
        ]
        done = subprocess.run(
            [self._variant.compose, "--project-name", PROJECT, *options, *arguments],
            env={**os.environ, **self.engine.environment},  # noqa: TID251
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    def state(self, path: str) -> str:
        """A field of the server's container."""
        return self.engine.run("inspect", self.server, "--format", f"{{{{{path}}}}}")

    def is_healthy(self) -> bool:
        """True if the engine says so of the server."""
        return self.state(".State.Health.Status") == "healthy"

    def process(self) -> psutil.Process:
        """The server's process."""
        return psutil.Process(int(self.state(".State.Pid")))

    def query(self, expression: str) -> list[Any]:
        """Prometheus' answer to an expression."""
        query = urllib.parse.urlencode({"query": expression})
        with suppress(OSError):  # it has just been started
            found: list[Any] = get(f"{self._prometheus}/api/v1/query?{query}")["data"]["result"]
            return found
        return []

    def answers(self, model: str = "lenet5") -> bool:
        """True if the server classifies a photo."""
        with Client(self.address, timeout_s=5) as client, suppress(ConvoyError):
            return bool(client.classify(png(3), model=model).predictions)
        return False


@pytest.fixture(scope="module")
def podman(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """podman, with its socket."""
    with engines.podman(tmp_path_factory.mktemp("podman")) as engine:
        yield engine


@pytest.fixture(scope="module")
def dockerd(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """dockerd, with the images."""
    if not shutil.which("dockerd"):
        pytest.skip("needs dockerd: make deploy-tools")
    folder = tmp_path_factory.mktemp("dockerd")
    with engines.dockerd(folder) as engine:
        archive = folder / "images.tar"
        PODMAN.run("save", "--multi-image-archive", "--output", archive, SERVER, PROMETHEUS)
        engine.run("load", "--input", archive)
        archive.unlink()
        yield engine


@pytest.fixture(scope="module", params=VARIANTS)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The stack, healthy, with a model. Each test leaves it so."""
    variant = VARIANTS[request.param]
    if not shutil.which(variant.compose):
        pytest.skip(f"needs {variant.compose}: make deploy-tools")
    engine = request.getfixturevalue(variant.engine)
    stack = Stack(engine, variant, tmp_path_factory.mktemp("stack"))
    try:
        stack.up()
        stack.add_model()
        yield stack
    finally:
        stack.compose("down", "--volumes")


def test_healthy_scraped_and_locked_down(stack: Stack) -> None:
    """
    The server becomes healthy, Prometheus scrapes it, and it has no rights and limited memory.
    """
    wait_until(lambda: stack.query('up{job="convoy"} == 1'))
    process = stack.process()
    status = Path(f"/proc/{process.pid}/status").read_text().split("\n")
    values = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    assert set(process.uids()) == {USER}
    assert int(values["CapEff"], 16) == 0
    assert values["NoNewPrivs"] == "1"
    assert values["Seccomp"] == "2"
    assert stack.state(".HostConfig.ReadonlyRootfs") == "true"
    assert stack.state(".HostConfig.Memory") == str(MEMORY_BYTES)


def test_terminated(stack: Stack) -> None:
    """
    SIGTERM makes it drain, and end with 0.
    """
    stack.engine.run("stop", stack.server)
    assert stack.state(".State.ExitCode") == "0"
    log = subprocess.run(
        [stack.engine.program, "logs", stack.server],
        env={**os.environ, **stack.engine.environment},  # noqa: TID251
        capture_output=True,
        text=True,
    )
    assert '"not ready, still serving"' in log.stderr
    stack.engine.run("start", stack.server)
    wait_until(stack.answers)


def test_killed(stack: Stack) -> None:
    """
    A server that is killed is started again, and serves.
    """
    first = stack.process()
    first.kill()
    first.wait(60)
    wait_until(stack.answers)
    assert stack.process().pid != first.pid


# The alert waits for two minutes: one variant of each engine is enough.
@pytest.mark.parametrize("stack", ["podman-v2", "dockerd-v2"], indirect=True)
def test_out_of_memory(stack: Stack, tmp_path: Path) -> None:
    """
    A server with too little memory is killed again and again, and an alert fires.
    """
    limit = tmp_path / "memory.yml"
    limit.write_text("services: {server: {deploy: {resources: {limits: {memory: 48M}}}}}\n")
    stack.compose("up", "--detach", "--no-deps", "server", override=limit)
    wait_until(lambda: int(stack.state(".RestartCount")) > 1)
    wait_until(lambda: stack.query('ALERTS{alertname="ConvoyDown"}'))
    wait_until(lambda: stack.query('ALERTS{alertname="ConvoyDown", alertstate="firing"}'))
    stack.up()
    wait_until(stack.answers)


@pytest.mark.parametrize("stack", ["podman-v2"], indirect=True)
def test_exported_model(stack: Stack) -> None:
    """
    The service `export` trains a network into the volume, and the server serves it by itself.
    """
    build(EXPORT)
    stack.compose("run", "--rm", "export", "lenet5", "--epochs", "1", "--name", "exported")
    exported = time.monotonic()
    wait_until(lambda: stack.answers("exported"))
    assert time.monotonic() - exported < POLL_S + LOAD_S
