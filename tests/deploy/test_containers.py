"""The images and the Compose file, run by podman and dockerd, with each Compose. Needs root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
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
from tests.deploy.emulators import BUILD, TOOLS
from tests.deploy.engines import PODMAN, ROOT, Engine, wait_until
from tests.harness.images import png
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.process import free_ports

FOLDER = Path(__file__).parent
BASE = "localhost/python-base:bookworm"
SERVER = "docker.io/library/convoy:server"
PROMETHEUS = "docker.io/prom/prometheus:v2.53.0"
PROJECT = "convoy-test"
USER = 10001
MEMORY_BYTES = 4 * 2**30

NEEDED = ("podman", "runc", "debootstrap", "npm")

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, NEEDED)),
        reason=f"needs root and {', '.join(NEEDED)}: make tools",
    ),
]


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


def build(tag: str, *options: str) -> None:
    """Build an image on Debian's Python, with the host's certificates."""
    certificates = "--volume=/etc/ssl/certs:/etc/ssl/certs:ro"
    bases = [f"--build-arg={name}_IMAGE={BASE}" for name in ("BASE", "NODE")]
    usual = ["--format=docker", "--pull=never", "--network=host", certificates, *bases]
    PODMAN.run("build", *usual, "--tag", tag, *options)


def make_base() -> None:
    """Make the base of all images, if it is not there: no registry of images is needed."""
    if not PODMAN.fails("image", "exists", BASE):
        return
    root = BUILD / "base"
    packages = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", packages, "bookworm", root], check=True)
    archive = BUILD / "base.tar"
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    PODMAN.run("import", archive, BASE)
    archive.unlink()
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def images() -> None:
    """The server's image, and one of Debian's Prometheus under the name in the Compose file."""
    make_base()
    subprocess.run(["make", "page"], cwd=ROOT, check=True)
    build(SERVER, "--target=server", ".")
    build(PROMETHEUS, f"--file={FOLDER / 'prometheus.Dockerfile'}", ".")


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

    def answers(self) -> bool:
        """True if the server classifies a photo."""
        with Client(self.address, timeout_s=5) as client, suppress(ConvoyError):
            return bool(client.classify(png(3), model="lenet5").predictions)
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
        pytest.skip("needs dockerd: make tools")
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
        pytest.skip(f"needs {variant.compose}: make tools")
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


def test_any_user(images: None) -> None:
    """
    The image runs as a user that it does not know, without a network and with a read-only root.
    """
    restrictions = ["--read-only", "--cap-drop=all", "--user=54321:54321", "--network=none"]
    volume = f"--volume={LENET_REPOSITORY}:/models:ro"
    name = "convoy-test-user"
    PODMAN.run("run", "--detach", "--rm", f"--name={name}", *restrictions, volume, SERVER)
    try:
        probe = ["exec", name, "python", "-m", "convoy.service.http.probe", "8000"]
        wait_until(lambda: not PODMAN.fails(*probe))
    finally:
        PODMAN.run("rm", "--force", name)
