"""A server in a container of podman. Needs root."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil

from convoy import Client
from tests.deploy.engines import PODMAN, wait_until
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.process import free_ports

MODELS = f"--volume={LENET_REPOSITORY}:/models:ro"


class Container:
    """
    A server in a container.

    Attributes:
        ports: The ports of gRPC and HTTP.
    """

    def __init__(self, name: str, ports: list[int]) -> None:
        self._name = name
        self.ports = ports

    def client(self) -> Client:
        """A client of the server."""
        return Client(f"127.0.0.1:{self.ports[0]}", timeout_s=30)

    def process(self) -> psutil.Process:
        """The server's process."""
        return psutil.Process(int(PODMAN.run("inspect", self._name, "--format={{.State.Pid}}")))

    def probe(self) -> bool:
        """True if the command of the image's health check succeeds."""
        command = ["python", "-m", "convoy.service.http.probe", str(self.ports[1])]
        return not PODMAN.fails("exec", self._name, *command)


@contextmanager
def serving(
    image: str, *arguments: str, options: Sequence[str] = ("--network=host",)
) -> Iterator[Container]:
    """Run the server of an image; wait until it is ready."""
    ports = free_ports(2)
    name = f"convoy-test-{ports[0]}"
    command = ["--grpc-port", str(ports[0]), "--http-port", str(ports[1]), *arguments]
    restrictions = ["--read-only", "--tmpfs=/tmp", "--cap-drop=all"]
    usual = ["--detach", f"--name={name}", *restrictions, MODELS]
    PODMAN.run("run", *usual, *options, image, "serve", *command)
    container = Container(name, ports)
    try:
        wait_until(container.probe)
        yield container
    finally:
        PODMAN.run("rm", "--force", name)
