"""Container engines on this machine: podman, and dockerd in a network namespace. Needs root."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTAINERS_CONF = Path(__file__).parent / "containers.conf"
PATIENCE_S = 180.0

_NAMESPACE = "convoy-test"
_HERE, _THERE = "10.231.0.1", "10.231.0.2"
"""Addresses of the link to the namespace: on this machine, and of dockerd's published ports."""


@dataclass(frozen=True)
class Engine:
    """
    An engine that runs.

    Attributes:
        program: Its command line.
        environment: The variables of its clients.
        host: The address of published ports.
        has_own_ports: No other process listens at that address.
    """

    program: str
    environment: Mapping[str, str]
    host: str
    has_own_ports: bool

    def run(self, *arguments: str | Path) -> str:
        """The output of a command."""
        done = subprocess.run(
            [self.program, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment},  # noqa: TID251
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout.strip()

    def fails(self, *arguments: str | Path) -> bool:
        """Return whether a command fails."""
        with suppress(AssertionError):
            self.run(*arguments)
            return False
        return True


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for *condition*."""
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.5)


PODMAN = Engine("podman", {"CONTAINERS_CONF": str(CONTAINERS_CONF)}, "127.0.0.1", False)


@contextmanager
def podman(folder: Path) -> Iterator[Engine]:
    """Serve podman's socket, and run the health checks, which it leaves to systemd."""
    address = f"unix://{folder}/podman.sock"
    environment = {**PODMAN.environment, "DOCKER_HOST": address}
    service = subprocess.Popen(
        ["podman", "system", "service", "--time=0", address],
        env={**os.environ, **environment},  # noqa: TID251
        stderr=subprocess.DEVNULL,
        cwd=folder,  # a container that runs out of memory leaves a file there
    )
    engine = Engine("podman", environment, PODMAN.host, PODMAN.has_own_ports)
    ends = threading.Event()
    checks = threading.Thread(target=_check_health, args=[engine, ends])
    checks.start()
    try:
        yield engine
    finally:
        ends.set()
        checks.join()
        service.terminate()
        service.wait()


def _check_health(engine: Engine, ends: threading.Event) -> None:
    while not ends.wait(1):
        for container in engine.run("ps", "--quiet").split():
            with suppress(AssertionError):  # unhealthy
                engine.run("healthcheck", "run", container)


@contextmanager
def dockerd(folder: Path) -> Iterator[Engine]:
    """Run dockerd in a namespace, whose bridges and rules are not those of this machine."""
    socket = folder / "docker.sock"
    # Not `ip netns exec`, which hides the control groups.
    places = [f"--data-root={folder}/data", f"--exec-root={folder}/exec"]
    command = ["dockerd", f"--host=unix://{socket}", *places, f"--pidfile={folder}/pid"]
    with _namespace() as path, (folder / "dockerd.log").open("w") as log:
        server = subprocess.Popen(
            ["nsenter", f"--net={path}", *command], stdout=log, stderr=subprocess.STDOUT
        )
        engine = Engine("docker", {"DOCKER_HOST": f"unix://{socket}"}, _THERE, True)
        try:
            wait_until(lambda: server.poll() is not None or not engine.fails("info"))
            assert server.poll() is None, (folder / "dockerd.log").read_text()[-2000:]
            yield engine
        finally:
            server.terminate()
            server.wait()


@contextmanager
def _namespace() -> Iterator[Path]:
    ends = ["dev", "convoy-here"], ["dev", "convoy-there"]
    inside = ["-n", _NAMESPACE]
    _ip("netns", "add", _NAMESPACE)
    try:
        _ip("link", "add", "convoy-here", "type", "veth", "peer", "name", "convoy-there")
        _ip("link", "set", "convoy-there", "netns", _NAMESPACE)
        for where, address, end in (([], _HERE, ends[0]), (inside, _THERE, ends[1])):
            _ip(*where, "addr", "add", f"{address}/30", *end)
            _ip(*where, "link", "set", *end, "up")
        _ip(*inside, "link", "set", "dev", "lo", "up")
        yield Path("/run/netns") / _NAMESPACE
    finally:
        _ip("netns", "delete", _NAMESPACE)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)
