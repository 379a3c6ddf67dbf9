"""The distributions of convoy, built as for a release, and installed beside other clients."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convoy import Client
from tests.harness.images import encode, gradient
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.server_process import ServerProcess

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/how-to/clients.md").read_text()
CLIENT_EXAMPLE, TRITON_EXAMPLE = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
ASYNC_EXAMPLE = """
import asyncio
from convoy import AsyncClient, ConvoyError

async def main():
    async with AsyncClient("localhost:8001") as client:
        answer = await client.classify("examples/images/seven.png", model="lenet5")
        print(answer, await client.models())
        try:
            await client.classify(b"not an image", model="lenet5")
        except ConvoyError as error:
            print(error)

asyncio.run(main())
"""
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, BUILD_REQUIREMENTS = PYPROJECT["project"], PYPROJECT["build-system"]["requires"]
PAGE_FILES = {
    "index.html",
    "samples/seven.png",
    "graph/view.js",
    "node_modules/@dagrejs/dagre/LICENSE",
    "node_modules/@dagrejs/dagre/dist/dagre.esm.js",
    "node_modules/uplot/LICENSE",
    "node_modules/uplot/dist/uPlot.esm.js",
    "node_modules/uplot/dist/uPlot.min.css",
}

pytestmark = pytest.mark.timeout(600)


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that succeeds, without the repository on its path, and return its output."""
    environment = {**os.environ, "PYTHONPATH": ""}  # noqa: TID251 - pip needs its own settings
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def lowest(requirements: list[str]) -> list[str]:
    """Return those of *requirements* that have a lower bound, at that version."""
    return [bound.split(",")[0].replace(">=", "==") for bound in requirements if ">=" in bound]


class Environment:
    """A new virtual environment in *folder*, which the pip of this process fills."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        self._pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")

    def install(self, *requirements: str | Path) -> None:
        """Install packages, and check that the versions of all of them fit together."""
        pip = (*self._pip, "--python", self.python)
        run(*pip, "install", "--no-compile", *requirements, cwd=self.folder)
        run(*pip, "check", cwd=self.folder)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that Docker's context takes, as in a clone in which the page is installed."""
    folder = tmp_path_factory.mktemp("context")
    unwanted = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE):
        target = folder / name
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, symlinks=True, ignore=unwanted)
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, target)
    for package in ("uplot/dist", "uplot/src", "@dagrejs/dagre/dist", "other"):
        installed = folder / "service/web/node_modules" / package
        installed.mkdir(parents=True)
        for file in ("uPlot.esm.js", "uPlot.min.css", "uPlot.cjs.js", "dagre.esm.js", "unused.py"):
            (installed / file).touch()
    for package in ("uplot", "@dagrejs/dagre"):
        (folder / "service/web/node_modules" / package / "LICENSE").touch()
    return folder


@pytest.fixture(scope="module")
def distributions(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a source distribution and the wheel that was made from it."""
    builder = Environment(tmp_path_factory.mktemp("builder"))
    builder.install("build", *BUILD_REQUIREMENTS)
    dist = tmp_path_factory.mktemp("dist")
    run(builder.python, "-m", "build", "--no-isolation", "--outdir", dist, context, cwd=dist)
    return dist


def test_build_begins_with_an_empty_folder(
    context: Path, distributions: Path, tmp_path: Path
) -> None:
    """
    Modules of an earlier checkout, which setuptools keeps in build/lib, get into no wheel.
    """
    checkout = tmp_path / "checkout"
    shutil.copytree(context, checkout, symlinks=True)
    for stale in ("service/app.py", "convoy/connection.py"):
        (checkout / "build/lib" / stale).parent.mkdir(parents=True, exist_ok=True)
        (checkout / "build/lib" / stale).touch()
    builder = Environment(tmp_path / "builder")
    builder.install("build", *BUILD_REQUIREMENTS)
    options = ("--wheel", "--no-isolation", "--outdir", tmp_path)
    run(builder.python, "-m", "build", *options, checkout, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    (released,) = distributions.glob("*.whl")
    assert zipfile.ZipFile(wheel).namelist() == zipfile.ZipFile(released).namelist()


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (wheel,) = distributions.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(LENET_REPOSITORY) as running:
        yield running


@pytest.fixture
def query(server: ServerProcess, tmp_path: Path) -> Callable[[Environment, str], str]:
    """Run a program of the guide in an environment, away from the checkout, against a server."""
    shutil.copytree(ROOT / "examples/images", tmp_path / "examples/images")

    def run_program(environment: Environment, program: str) -> str:
        code = program.replace("localhost:8001", server.address)
        return run(environment.python, "-c", code, cwd=tmp_path)

    return run_program


def test_wheel_installs_one_import_name(wheel: Path) -> None:
    """
    The wheel holds convoy with its types and its page, and nothing else at the top.
    """
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "convoy",
        f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info",
    }
    assert {"convoy/py.typed", "convoy/service/app.py", "convoy/models/lenet.py"} <= set(names)
    assert {f"convoy/service/web/{file}" for file in PAGE_FILES} <= set(names)
    modules = [name for name in names if "node_modules" in name]
    assert len(modules) == sum("node_modules" in file for file in PAGE_FILES)
    assert "convoy/service/web/package.json" not in names


def test_source_distribution_has_no_links(distributions: Path) -> None:
    """
    The source distribution holds the folders themselves in convoy, and no other package.
    """
    (source,) = distributions.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        members = archive.getmembers()
    assert not [member.name for member in members if member.issym()]
    paths = [Path(*Path(member.name).parts[1:]) for member in members]
    assert Path("convoy/service/app.py") in paths
    tops = {path.parts[0] for path in paths if path.suffix == ".py"}
    assert tops == {"convoy", "setup.py"}


@pytest.mark.parametrize("versions", ["lowest", "newest"])
def test_client_runs_with(
    versions: str,
    wheel: Path,
    query: Callable[[Environment, str], str],
    tmp_path: Path,
) -> None:
    """
    Both clients run with the lowest versions that the wheel allows, and with the newest ones.
    """
    environment = Environment(tmp_path / "environment")
    environment.install(wheel, *(lowest(PROJECT["dependencies"]) if versions == "lowest" else ()))
    for program in (CLIENT_EXAMPLE, ASYNC_EXAMPLE):
        strict = f"import warnings; warnings.simplefilter('error')\n{program}"
        answers = query(environment, strict)
        assert "(INVALID_IMAGE)" in answers


def test_client_runs_beside_tritonclient(
    wheel: Path, query: Callable[[Environment, str], str], tmp_path: Path
) -> None:
    """
    Both of the guide's clients run in one process, in either order, after its installation.
    """
    environment = Environment(tmp_path / "environment")
    environment.install(wheel)
    environment.install("tritonclient[grpc]")
    for program in (CLIENT_EXAMPLE + TRITON_EXAMPLE, TRITON_EXAMPLE + CLIENT_EXAMPLE):
        answers = query(environment, program)
        assert "(INVALID_IMAGE)" in answers
        assert "[[" in answers


def test_server_runs_with_lowest(wheel: Path, tmp_path: Path) -> None:
    """
    The server runs with the lowest versions of its own packages that the wheel allows.
    """
    extras = PROJECT["optional-dependencies"]
    environment = Environment(tmp_path / "environment")
    environment.install(
        f"{wheel}[cpu]", *lowest([*extras["cli"], *extras["server"], *extras["cpu"]])
    )
    program, python = ("-I", "-m", "convoy"), environment.python
    with (
        ServerProcess(LENET_REPOSITORY, program=program, python=python) as server,
        Client(server.address) as client,
    ):
        answer = client.classify(encode(gradient("L", (28, 28))), model="lenet5")
        assert answer.label in map(str, range(10))
        assert '"lenet5"' in server.get("/v2/models/lenet5")
