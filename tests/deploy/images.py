"""The images, built by podman on Debian's Python: no registry of images is needed. Needs root."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import pytest

from tests.deploy.emulators import BUILD
from tests.deploy.engines import PODMAN, ROOT

BASE = "localhost/python-base:bookworm"
ARM64_BASE = "localhost/python-base:bookworm-arm64"
BASES = "localhost/python-base:bookworm-both"
SERVER = "docker.io/library/convoy:server"
SERVER_GPU = "docker.io/library/convoy:server-gpu"
SERVER_OPENVINO = "docker.io/library/convoy:server-openvino"
EXPORT = "docker.io/library/convoy:export"
PROMETHEUS = "docker.io/prom/prometheus:v2.53.0"
HOST = "localhost/convoy-test-host:bookworm"

VERSION = "1.2.3"
"""The version of convoy in the images."""

_LARGE = {SERVER_GPU, EXPORT}

_FOLDER = Path(__file__).parent

_NEEDED = ("podman", "runc", "debootstrap", "npm")

NEEDS_PODMAN = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, _NEEDED)),
    reason=f"needs root and {', '.join(_NEEDED)}: make deploy-tools",
)

_SOURCES = re.compile(
    r"^(?:global|install|:env:)\.(index-url|extra-index-url|find-links)='(.*)'$", re.MULTILINE
)


def build(tag: str, *options: str) -> None:
    """
    Build the image of the project's Dockerfile whose target the tag names.

    Args:
        options: Options of podman. Without them, pip finds packages where this machine's pip does.
    """
    subprocess.run(["make", "page"], cwd=ROOT, check=True)  # no image with npm can be had
    target = tag.rpartition(":")[2]
    # podman would write each step of a large image, and read it again for its cache.
    layers = f"--layers={str(tag not in _LARGE).lower()}"
    version = f"--build-arg=RELEASE_VERSION=v{VERSION}"
    _build(tag, f"--target={target}", version, layers, *(options or package_sources()))


def build_for_both(name: str) -> str:
    """
    Build the server's image by `make images`, for amd64, which this machine is, and for arm64.

    Returns:
        The tag of the list of both.
    """
    _make_base()
    _make_base(ARM64_BASE, "arm64")
    if PODMAN.fails("manifest", "exists", BASES):
        PODMAN.run("manifest", "create", BASES)
        for base in (BASE, ARM64_BASE):
            PODMAN.run("manifest", "add", BASES, f"containers-storage:{base}")
    options = shlex.join([*_options(BASES), *package_sources()])
    subprocess.run(
        ["make", "images", "IMAGES=server", f"IMAGE={name}", f"BUILD_OPTIONS={options}"],
        cwd=ROOT,
        env={**os.environ, **PODMAN.environment},  # noqa: TID251
        check=True,
    )
    return f"{name}:server"


def build_prometheus() -> None:
    """Build Debian's Prometheus under the name in the Compose file."""
    _build(PROMETHEUS, f"--file={_FOLDER / 'prometheus.Dockerfile'}")


def build_host() -> str:
    """Build a host with systemd from the server's image; return its tag."""
    file = _FOLDER / "systemd.Dockerfile"
    _build(HOST, f"--file={file}", context=ROOT / "deploy/systemd")
    return HOST


def _build(tag: str, *options: str, context: Path = ROOT) -> None:
    _make_base()
    with _one_at_a_time(tag):
        PODMAN.run("build", "--format=docker", *_options(BASE), "--tag", tag, *options, context)


def _options(base: str) -> list[str]:
    """The options of builds on *base*."""
    bases = [f"--build-arg={name}_IMAGE={base}" for name in ("BASE", "NODE")]
    certificates = "--volume=/etc/ssl/certs:/etc/ssl/certs:ro"
    return ["--pull=never", "--network=host", certificates, *bases]


def package_sources() -> list[str]:
    """
    The options by which pip in a build finds packages where this machine's pip does.

    These are the Dockerfile's arguments, and mounts for indexes and wheels on this machine's disk.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    found = dict(_SOURCES.findall(listed.stdout))
    arguments = [
        f"--build-arg=PIP_{name.upper().replace('-', '_')}={value}" for name, value in found.items()
    ]
    places = {folder for value in found.values() for folder in map(_folder, value.split())}
    return arguments + [f"--volume={place}:{place}:ro" for place in sorted(filter(None, places))]


def _folder(source: str) -> str | None:
    """The folder on this machine's disk that holds the packages of a source; None for a host's."""
    url = urlparse(source)
    if url.scheme not in ("", "file"):
        return None
    # An index has its packages beside `simple`.
    return url.path.rstrip("/").removesuffix("/simple")


def _make_base(tag: str = BASE, architecture: str = "") -> None:
    """Make Debian's Python, unless it is there, for this machine or another *architecture*."""
    with _one_at_a_time(tag):
        if PODMAN.fails("image", "exists", tag):
            _import_base(tag, architecture)


def _import_base(tag: str, architecture: str) -> None:
    root = BUILD / tag.rpartition(":")[2]
    options = ["--variant=minbase", "--include=python3,python3-venv,ca-certificates"]
    options += [f"--arch={architecture}"] if architecture else []
    shutil.rmtree(root, ignore_errors=True)  # of a run that was interrupted
    subprocess.run(["debootstrap", *options, "bookworm", root], check=True)
    archive = root.with_suffix(".tar")
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    PODMAN.run("import", *([f"--arch={architecture}"] if architecture else []), archive, tag)
    archive.unlink()
    shutil.rmtree(root)


@contextmanager
def _one_at_a_time(tag: str) -> Iterator[None]:
    """Wait for other processes of the tests that build the same image."""
    with (BUILD / f"{tag.replace('/', '-')}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
