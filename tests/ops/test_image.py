"""The server image, built and run for real by buildah where no Docker engine is. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from convoy import Client, ConvoyError
from tests.harness.images import png
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.process import free_ports

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "tools/image.sh")
TAG = "localhost/convoy:test"
USER = 10001
TOOLS = ("buildah", "debootstrap", "npm")

MAX_BYTES = 260_000_000
"""Bytes that the image may add to its base, unpacked."""

MAX_START_S = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, TOOLS)),
        reason=f"needs root and {', '.join(TOOLS)}: make tools",
    ),
]


def script(*arguments: str) -> str:
    """Output of tools/image.sh."""
    done = subprocess.run(
        [SCRIPT, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def image() -> str:
    """The image, built."""
    script("build", TAG, "--target=server")
    return TAG


@pytest.fixture
def ports() -> list[int]:
    """For gRPC and HTTP."""
    return free_ports(2)


@pytest.fixture
def container(image: str, ports: list[int]) -> Iterator[psutil.Process]:
    """The server in a container; gives its process."""
    command = [
        *(SCRIPT, "run", image, f"--volume={LENET_REPOSITORY}:/models:ro"),
        *("convoy", "serve", "--grpc-port", str(ports[0]), "--http-port", str(ports[1])),
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as runner:
        assert runner.stderr is not None
        for line in runner.stderr:
            if '"ready"' in line:
                break
        (server,) = (
            process
            for process in psutil.Process(runner.pid).children(recursive=True)
            if "/opt/convoy/bin/python" in " ".join(process.cmdline())
            and str(ports[0]) in process.cmdline()
            and not process.children()
        )
        yield server
        if server.is_running():
            server.terminate()
        runner.stderr.read()
        runner.wait(60)


def test_serves(container: psutil.Process, ports: list[int]) -> None:
    """
    It answers, not as root; by SIGTERM it drains and ends.
    """
    with Client(f"127.0.0.1:{ports[0]}") as client:
        assert client.classify(png(3), model="lenet5").predictions
        assert set(container.uids()) == {USER}
        container.terminate()
        time.sleep(0.2)
        # Not ready, but serving.
        assert client.classify(png(3), model="lenet5").predictions
        container.wait(60)
        with pytest.raises(ConvoyError):
            client.classify(png(3), model="lenet5")


def test_health_check(image: str, ports: list[int]) -> None:
    """
    The command of HEALTHCHECK is there, and fails where no server answers.
    """
    command = f"python -m convoy.service.http.probe {ports[1]} || echo unhealthy"
    assert script("run", image, "sh", "-c", command).splitlines()[-1] == "unhealthy"


def test_content(image: str) -> None:
    """
    No PyTorch, no compiler, nothing of ours that its user may write, and .pyc files for all of it.
    """
    look = (
        "cd /opt/convoy/lib/python3*/site-packages; ls;"
        "ls convoy/service/__pycache__ convoy/service/web;"
        "ls convoy/service/web/node_modules/uplot/dist; which gcc pip;"
        "find /opt/convoy -writable -not -type l"
    )
    found = script("run", image, "sh", "-c", look).split()
    assert "onnxruntime" in found
    assert "torch" not in found
    assert not [path for path in found if path.startswith("/opt/convoy/")]
    assert {"index.html", "uPlot.esm.js"} <= set(found)
    assert any(name.startswith("app.cpython") and name.endswith(".pyc") for name in found)


def test_size(image: str) -> None:
    """
    It stays small.
    """
    whole, base = (_bytes(text) for text in script("size", image).splitlines())
    assert whole - base < MAX_BYTES


def _bytes(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"MB": 1e6, "GB": 1e9}[unit]
