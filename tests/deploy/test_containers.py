"""The images and the Compose file, run by podman and Docker Compose. Needs root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from convoy import Client, ConvoyError
from tests.deploy.emulators import BUILD, TOOLS
from tests.harness.images import png
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.process import free_ports

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
BASE = "localhost/python-base:bookworm"
SERVER = "docker.io/library/convoy:server"
PROJECT = "convoy-test"
USER = 10001
PATIENCE_S = 180.0

NEEDED = ("podman", "runc", "debootstrap", "npm")

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, NEEDED)),
        reason=f"needs root and {', '.join(NEEDED)}: make tools",
    ),
]


def podman(*arguments: str | Path) -> str:
    """The output of podman."""
    environment = {**os.environ, "CONTAINERS_CONF": str(FOLDER / "containers.conf")}  # noqa: TID251
    done = subprocess.run(
        ["podman", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.strip()


def build(tag: str, *options: str) -> None:
    """Build an image on Debian's Python, with the host's certificates."""
    certificates = "--volume=/etc/ssl/certs:/etc/ssl/certs:ro"
    bases = [f"--build-arg={name}_IMAGE={BASE}" for name in ("BASE", "NODE")]
    usual = ["--format=docker", "--pull=never", "--network=host", certificates, *bases]
    podman("build", *usual, "--tag", tag, *options)


def make_base() -> None:
    """Make the base of all images, if it is not there: no registry of images is needed."""
    with suppress(AssertionError):
        podman("image", "exists", BASE)
        return
    root = BUILD / "base"
    packages = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", packages, "bookworm", root], check=True)
    archive = BUILD / "base.tar"
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    podman("import", archive, BASE)
    archive.unlink()
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def images() -> None:
    """The server's image, and one of Debian's Prometheus under the name in the Compose file."""
    make_base()
    subprocess.run(["make", "page"], cwd=ROOT, check=True)
    build(SERVER, "--target=server", ".")
    build("docker.io/prom/prometheus:v2.53.0", f"--file={FOLDER / 'prometheus.Dockerfile'}", ".")


def get(url: str) -> Any:
    """The JSON of an answer."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


class Stack:
    """
    The services server and prometheus of docker-compose.yml, on free ports.

    Attributes:
        server: The container of the server.
        address: The published port of gRPC.
    """

    server = f"{PROJECT}-server-1"

    def __init__(self, folder: Path) -> None:
        grpc_port, http_port, prometheus_port = free_ports(3)
        self.address = f"127.0.0.1:{grpc_port}"
        self._prometheus = f"http://127.0.0.1:{prometheus_port}"
        self._socket = f"unix://{folder}/podman.sock"
        self._ports = folder / "ports.yml"
        self._ports.write_text(
            "services:\n"
            f'  server: {{ports: !override ["{grpc_port}:8001", "{http_port}:8000"]}}\n'
            f'  prometheus: {{ports: !override ["{prometheus_port}:9090"]}}\n'
        )
        self._ends = threading.Event()
        self._checks = threading.Thread(target=self._check_health)
        self._service = subprocess.Popen(
            ["podman", "system", "service", "--time=0", self._socket],
            env={**os.environ, "CONTAINERS_CONF": str(FOLDER / "containers.conf")},  # noqa: TID251
            stderr=subprocess.DEVNULL,
            cwd=folder,  # a container that runs out of memory leaves a file there
        )

    def __enter__(self) -> Stack:
        self._checks.start()
        self.compose("up", "--detach", "--wait", "server", "prometheus")
        return self

    def __exit__(self, *exc: object) -> None:
        self.compose("down", "--volumes")
        self._ends.set()
        self._checks.join()
        self._service.terminate()
        self._service.wait()

    def compose(self, *arguments: str, override: Path | None = None) -> None:
        """Run Docker Compose on podman's socket."""
        files = [ROOT / "docker-compose.yml", self._ports, *([override] if override else [])]
        options = [f"--file={file}" for file in files]
        environment = {**os.environ, "DOCKER_HOST": self._socket}  # noqa: TID251
        program = TOOLS / "docker-compose"
        done = subprocess.run(
            [program, "--project-name", PROJECT, *options, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr

    def _check_health(self) -> None:
        # podman leaves that to systemd, which need not run here.
        while not self._ends.wait(1):
            ids = podman("ps", "--quiet", f"--filter=label=com.docker.compose.project={PROJECT}")
            for container in ids.split():
                with suppress(AssertionError):  # unhealthy
                    podman("healthcheck", "run", container)

    def state(self, path: str) -> str:
        """A field of the server's container."""
        return podman("inspect", self.server, "--format", f"{{{{{path}}}}}")

    def process(self) -> psutil.Process:
        """The server's process."""
        return psutil.Process(int(self.state(".State.Pid")))

    def query(self, expression: str) -> list[Any]:
        """Prometheus' answer to an expression."""
        query = urllib.parse.urlencode({"query": expression})
        found: list[Any] = get(f"{self._prometheus}/api/v1/query?{query}")["data"]["result"]
        return found

    def answers(self) -> bool:
        """True if the server classifies a photo."""
        with Client(self.address, timeout_s=5) as client, suppress(ConvoyError):
            return bool(client.classify(png(3), model="lenet5").predictions)
        return False


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for *condition*."""
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.5)


@pytest.fixture
def stack(images: None, tmp_path: Path) -> Iterator[Stack]:
    """The stack, healthy, with a model."""
    with Stack(tmp_path) as started:
        volume = podman("volume", "inspect", f"{PROJECT}_models", "--format", "{{.Mountpoint}}")
        shutil.copytree(LENET_REPOSITORY, volume, dirs_exist_ok=True)
        wait_until(started.answers)
        yield started


def test_healthy_scraped_and_locked_down(stack: Stack) -> None:
    """
    `up --wait` ends, Prometheus scrapes the server, and the server has no rights.
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


def test_terminated(stack: Stack) -> None:
    """
    SIGTERM makes it drain, and end with 0.
    """
    podman("stop", stack.server)
    assert stack.state(".State.ExitCode") == "0"
    log = subprocess.run(["podman", "logs", stack.server], capture_output=True, text=True).stderr
    assert '"not ready, still serving"' in log


def test_killed(stack: Stack) -> None:
    """
    A server that is killed is started again, and serves.
    """
    first = stack.process()
    first.kill()
    first.wait(60)
    wait_until(stack.answers)
    assert stack.process().pid != first.pid


def test_out_of_memory(stack: Stack, tmp_path: Path) -> None:
    """
    A server with too little memory is killed again and again, and an alert fires.
    """
    limit = tmp_path / "memory.yml"
    limit.write_text("services: {server: {deploy: {resources: {limits: {memory: 48M}}}}}\n")
    stack.compose("up", "--detach", "--no-deps", "server", override=limit)
    wait_until(lambda: int(stack.state(".RestartCount")) > 1)
    wait_until(lambda: stack.query('ALERTS{alertname="ConvoyDown", alertstate="firing"}'))


def test_any_user(images: None) -> None:
    """
    The image runs as a user that it does not know, without a network and with a read-only root.
    """
    restrictions = ["--read-only", "--cap-drop=all", "--user=54321:54321", "--network=none"]
    volume = f"--volume={LENET_REPOSITORY}:/models:ro"
    name = "convoy-test-user"
    podman("run", "--detach", "--rm", f"--name={name}", *restrictions, volume, SERVER)
    try:
        probe = ["exec", name, "python", "-m", "convoy.service.http.probe", "8000"]
        wait_until(lambda: not _fails(*probe))
    finally:
        podman("rm", "--force", name)


def _fails(*arguments: str) -> bool:
    with suppress(AssertionError):
        podman(*arguments)
        return False
    return True
