"""Every extra can be installed with the versions of constraints.txt. Asks the package index."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# The package of TensorRT's libraries is a program that fetches them from an index of NVIDIA's.
EXTRAS = set(PROJECT["optional-dependencies"]) - {"tensorrt"}

RUNTIMES = {"cpu", "openvino", "gpu"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("uv"), reason="uv is not installed: make setup"),
]


def solve(extras: set[str], constraints: Path) -> subprocess.CompletedProcess[str]:
    """Look for versions of all packages of *extras*, for this Python and machine."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "pyproject.toml"]
    named = [f"--extra={extra}" for extra in sorted(extras)]
    limits = ["--constraint", str(constraints), "--no-annotate"]
    return subprocess.run(
        [*command, *named, *limits], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("runtime", sorted(RUNTIMES))
def test_all_extras_together(runtime: str) -> None:
    """
    One solution for all extras of a runtime is one for each extra, and for any choice of them.
    """
    extras = EXTRAS - RUNTIMES | {runtime}
    solved = solve(extras, ROOT / "constraints.txt")
    assert solved.returncode == 0, solved.stderr
    assert "onnxruntime" in solved.stdout


def test_a_version_that_an_extra_excludes_is_found(tmp_path: Path) -> None:
    """
    A pin outside the range of a package below an extra has no solution.
    """
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    path = tmp_path / "constraints.txt"
    others = [pin for pin in pins if not pin.startswith("python-dateutil==")]
    path.write_text("\n".join([*others, "python-dateutil==4.0.0"]))
    solved = solve({"cpu", "s3"}, path)
    assert solved.returncode != 0
    assert "python-dateutil" in solved.stderr
