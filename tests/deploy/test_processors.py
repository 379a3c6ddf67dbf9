"""The server's image for two processors, by one command. Needs root, and emulation of arm64."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.container import serving
from tests.deploy.engines import PODMAN
from tests.deploy.images import NEEDS_PODMAN, build_for_both
from tests.harness.images import png

_EMULATOR = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
"""The kernel's entry for programs of arm64."""

_LEAST_QEMU = 10
"""QEMU 7.2, of Debian 12, hangs in ONNX Runtime; 10.0, of Debian 13, runs it."""


def _qemu() -> int:
    """The major version of the emulator; 0 if the kernel has none."""
    if platform.machine() != "x86_64" or not _EMULATOR.exists():
        return 0
    interpreter = re.findall(r"^interpreter (.+)", _EMULATOR.read_text(), re.MULTILINE)[0]
    shown = subprocess.run(
        [Path(interpreter).resolve(), "--version"], capture_output=True, text=True, check=True
    )
    return int(re.findall(r"version (\d+)", shown.stdout)[0])


NEEDS_EMULATION = pytest.mark.skipif(
    _qemu() < _LEAST_QEMU,
    reason=f"needs amd64, with QEMU {_LEAST_QEMU} or later as emulator of arm64",
)

pytestmark = [pytest.mark.timeout(3600), NEEDS_PODMAN, NEEDS_EMULATION]


@pytest.fixture(scope="module")
def both() -> str:
    """The list of the images for both processors."""
    return build_for_both("localhost/convoy-both")


@pytest.mark.parametrize(("architecture", "machine"), [("amd64", "x86_64"), ("arm64", "aarch64")])
def test_serves(both: str, architecture: str, machine: str) -> None:
    """
    The image for either processor has that processor's programs, and classifies.
    """
    options = [f"--platform=linux/{architecture}", "--pull=never"]
    name = "import platform; print(platform.machine())"
    assert PODMAN.run("run", "--rm", *options, "--entrypoint=python", both, "-c", name) == machine
    with (
        serving(both, options=("--network=host", *options)) as container,
        container.client() as client,
    ):
        assert client.classify(png(3), model="lenet5").predictions
