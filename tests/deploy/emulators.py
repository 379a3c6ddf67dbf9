"""Object stores on this machine: moto's S3, Azurite, and a GCS emulator."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.harness.process import Process, free_ports

BUILD = Path(__file__).parents[2] / "build/deploy"
TOOLS = BUILD / "tools/bin"
BUCKET = "models"

# Azurite's, which everybody knows: https://github.com/Azure/Azurite#default-storage-account
_AZURE_ACCOUNT = "devstoreaccount1"
_AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclass(frozen=True)
class Store:
    """
    A store that runs.

    Attributes:
        url: The repository in it.
        environment: The variables that its clients need.
    """

    url: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Emulator:
    """
    A kind of store.

    Attributes:
        url: The repository in it.
        command: Returns the command that serves a folder on a port.
        environment: Returns the variables that clients of that port need.
    """

    url: str
    command: Callable[[int, Path], list[str]]
    environment: Callable[[int], Mapping[str, str]]

    @contextmanager
    def started(self, folder: Path, port: int | None = None) -> Iterator[Store]:
        """Run it, with its data in *folder*."""
        folder.mkdir(exist_ok=True)
        port = port or free_ports(1)[0]
        process = Process(self.command(port, folder), folder.parent / "emulator.log")

        def answers() -> bool:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        process.wait_until(answers)
        try:
            yield Store(self.url, self.environment(port))
        finally:
            process.stop()


def _s3(port: int, _: Path) -> list[str]:
    return [str(TOOLS / "moto_server"), "--host", "127.0.0.1", "--port", str(port)]


def _s3_environment(port: int) -> Mapping[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _azure(port: int, folder: Path) -> list[str]:
    program = str(BUILD / "node_modules/.bin/azurite-blob")
    place = ["--location", str(folder), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    return [program, *place, "--skipApiVersionCheck", "--disableTelemetry", "--silent"]


def _azure_environment(port: int) -> Mapping[str, str]:
    parts = {
        "DefaultEndpointsProtocol": "http",
        "AccountName": _AZURE_ACCOUNT,
        "AccountKey": _AZURE_KEY,
        "BlobEndpoint": f"http://127.0.0.1:{port}/{_AZURE_ACCOUNT}",
    }
    text = "".join(f"{name}={value};" for name, value in parts.items())
    return {"AZURE_STORAGE_CONNECTION_STRING": text}


def _gcs(port: int, folder: Path) -> list[str]:
    program = [str(TOOLS / "gcp-storage-emulator"), "--data-dir", str(folder), "start"]
    return [*program, "--host", "127.0.0.1", "--port", str(port), "--default-bucket", BUCKET]


def _gcs_environment(port: int) -> Mapping[str, str]:
    return {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}


EMULATORS = {
    "s3": Emulator(f"s3://{BUCKET}/convoy", _s3, _s3_environment),
    "azure": Emulator(f"az://{BUCKET}/convoy", _azure, _azure_environment),
    "gcs": Emulator(f"gs://{BUCKET}/convoy", _gcs, _gcs_environment),
}
