"""convoy, started in a project whose own packages have the names of convoy's folders."""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from convoy.artifact.repository import ModelRepository
from tests.harness.images import encode, gradient
from tests.harness.server_process import ServerProcess

ROOT = Path(__file__).parents[2]
PACKAGES = ("artifact", "bench", "export", "models", "proto", "service", "tests", "tools")
WAYS = (
    pytest.param([sys.executable, "-m", "convoy"], id="module"),
    pytest.param([str(Path(sys.executable).with_name("convoy"))], id="script"),
)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a project whose packages fail when they are imported."""
    for name in PACKAGES:
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text(f"raise RuntimeError({name!r})")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command: str) -> str:
    """Run a command that succeeds, and return its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("convoy", WAYS)
def test_describes(convoy: list[str], lenet_repository: Path) -> None:
    """
    A command that needs artifact and export finds convoy's.
    """
    assert "MACs" in run(*convoy, "describe", str(lenet_repository / "lenet5" / "1"))


@pytest.mark.parametrize("convoy", WAYS)
def test_serves(convoy: list[str], project: Path, lenet_repository: Path) -> None:
    """
    A server and its decode processes find convoy's packages, and so does the client.
    """
    pytest.importorskip("pebble", reason="decode processes need the extra isolate")
    (project / "digit.png").write_bytes(encode(gradient("L", (28, 28))))
    with ServerProcess(lenet_repository, "--decode-processes", "1") as server:
        shown = run(*convoy, "classify", "digit.png", "--json", "--address", server.address)
    assert '"label"' in shown


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_trains_in_processes(project: Path) -> None:
    """
    Processes that torchrun starts, and those that read their data, find convoy's packages.
    """
    pytest.importorskip("torch", reason="export needs PyTorch")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    export = ["-m", "convoy", "export", "lenet5", "--epochs", "1", "--device", "cpu"]
    run(*launcher, "--nproc-per-node", "2", *export, "--workers", "1")
    assert ModelRepository(project / "model_repository").versions("lenet5") == [1]


def test_links_that_became_text(project: Path) -> None:
    """
    The command names git's option for links if git wrote convoy's links as text files.
    """
    shutil.copytree(ROOT / "convoy", project / "convoy", symlinks=True)
    for link in (project / "convoy").iterdir():
        if link.is_symlink():
            target = link.readlink()
            link.unlink()
            link.write_text(str(target))
    # Without site, an editable installation cannot find the folder that the link stands for.
    command = [sys.executable, "-S", "-m", "convoy", "serve"]
    packages = {"PYTHONPATH": ":".join(site.getsitepackages())}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=packages)
    assert done.returncode == 1
    assert "core.symlinks" in done.stderr
    assert "Traceback" not in done.stderr
