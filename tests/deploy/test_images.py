"""The images of servers, run by podman. Needs root."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from convoy import ConvoyError
from tests.deploy.container import MODELS, serving
from tests.deploy.engines import PODMAN
from tests.deploy.images import (
    BASE,
    NEEDS_PODMAN,
    SERVER,
    SERVER_GPU,
    SERVER_OPENVINO,
    VERSION,
    build,
)
from tests.harness.images import png
from tests.harness.process import free_ports

USER = 10001

MAX_BYTES = 260_000_000
"""Bytes that the server's image may add to its base, unpacked."""

# With the containers of podman in one process of pytest: they share the images.
pytestmark = [pytest.mark.timeout(1800), NEEDS_PODMAN]


def shell(image: str, command: str) -> str:
    """The output of a command in an image."""
    return PODMAN.run("run", "--rm", "--entrypoint=sh", image, "-c", command)


@pytest.fixture(scope="module")
def server() -> str:
    """The image `server`."""
    build(SERVER)
    return SERVER


def test_serves(server: str) -> None:
    """
    It answers, not as root; by SIGTERM it drains and ends.
    """
    with serving(server) as container, container.client() as client:
        assert client.classify(png(3), model="lenet5").predictions
        process = container.process()
        assert set(process.uids()) == {USER}
        process.terminate()
        time.sleep(0.2)
        # Not ready, but serving.
        assert client.classify(png(3), model="lenet5").predictions
        process.wait(60)
        with pytest.raises(ConvoyError):
            client.classify(png(3), model="lenet5")


def test_any_user(server: str) -> None:
    """
    It runs as a user that it does not know, without a network.
    """
    with serving(server, options=("--user=54321:54321", "--network=none")) as container:
        assert container.probe()


def test_health_check(server: str) -> None:
    """
    The command of HEALTHCHECK is there, and fails where no server answers.
    """
    command = f"python -m convoy.service.http.probe {free_ports(1)[0]} || echo unhealthy"
    assert shell(server, command).splitlines()[-1] == "unhealthy"


def test_content(server: str) -> None:
    """
    The version of the build, no PyTorch, no compiler, nothing of ours that its user may write, and
    .pyc files for all of it.
    """
    look = (
        "cd /opt/convoy/lib/python3*/site-packages; ls;"
        "ls convoy/service/__pycache__ convoy/service/web;"
        "ls convoy/service/web/node_modules/uplot/dist; which gcc pip;"
        "find /opt/convoy -writable -not -type l"
    )
    found = shell(server, look).split()
    assert {f"convoy_serving-{VERSION}.dist-info", "onnxruntime"} <= set(found)
    assert "torch" not in found
    assert not [path for path in found if path.startswith("/opt/convoy/")]
    assert {"index.html", "uPlot.esm.js"} <= set(found)
    assert any(name.startswith("app.cpython") and name.endswith(".pyc") for name in found)


def test_size(server: str) -> None:
    """
    It stays small.
    """
    whole, base = (
        int(PODMAN.run("image", "inspect", image, "--format={{.Size}}")) for image in (server, BASE)
    )
    assert whole - base < MAX_BYTES


def test_packages_of_another_index(server: str) -> None:
    """
    A build takes its packages from the index that its argument names.
    """
    with pytest.raises(AssertionError, match="No matching distribution"):
        build("docker.io/library/nothing:server", "--build-arg=PIP_INDEX_URL=file:///nowhere")


def test_openvino() -> None:
    """
    The image `server-openvino` answers in bf16, or in float32 with the reason.
    """
    build(SERVER_OPENVINO)
    with serving(SERVER_OPENVINO) as container, container.client() as client:
        assert client.classify(png(3), model="lenet5").predictions
        (model,) = client.models()
    if model.fallback_reason:
        assert (model.provider, model.precision) == ("CPUExecutionProvider", "float32")
    else:
        assert (model.provider, model.precision) == ("OpenVINOExecutionProvider", "bf16")


LIST_LIBRARIES = """
import ctypes, os, pathlib, subprocess, onnxruntime
onnxruntime.preload_dlls()
ctypes.CDLL("libcudnn.so.9")  # which the provider opens as it runs
package = pathlib.Path(onnxruntime.__file__).parent
folders = [package / "capi", *package.parent.glob("nvidia/*/lib")]
os.environ["LD_LIBRARY_PATH"] = ":".join(map(str, folders))
subprocess.run(["ldd", package / "capi/libonnxruntime_providers_cuda.so"], check=True)
"""


def test_gpu_server_without_a_gpu() -> None:
    """
    The image `server-gpu` has all libraries of CUDA's provider; without a GPU, it ends and says so,
    or serves on the CPU if it is told to.
    """
    build(SERVER_GPU)
    found = PODMAN.run("run", "--rm", "--entrypoint=python", SERVER_GPU, "-c", LIST_LIBRARIES)
    missing = {line.split()[0] for line in found.splitlines() if line.endswith("not found")}
    # It belongs to the driver, and comes from the host.
    assert missing <= {"libcuda.so.1"}
    assert "libcublasLt.so" in found
    done = subprocess.run(
        ["podman", "run", "--rm", "--network=none", MODELS, SERVER_GPU],
        env={**os.environ, **PODMAN.environment},  # noqa: TID251
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    # podman itself logs in another format.
    lines = [line for line in done.stderr.splitlines() if line.startswith("{")]
    errors = [json.loads(line)["message"] for line in lines]
    assert any("no GPU can be used" in message for message in errors), errors
    with serving(SERVER_GPU, "--device", "cpu") as container, container.client() as client:
        assert client.classify(png(3), model="lenet5").predictions
