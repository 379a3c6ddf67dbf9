"""The structure in docs/explanation/architecture.md is the one that import-linter enforces."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_layers_of_the_server() -> None:
    """
    The drawing has the layers of the contract, and names everything in service/.
    """
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (one["layers"] for one in contracts["contracts"] if one["type"] == "layers")
    enforced = [re.findall(r"\w+", layer) for layer in layers]
    drawing = (
        (ROOT / "docs/explanation/architecture.md")
        .read_text()
        .split("```text\nprocess/ ")[1]
        .split("```")[0]
    )
    lines = f"process/ {drawing}".splitlines()
    width = lines[0].index("the process")
    drawn = [re.findall(r"\w+", line[:width]) for line in lines]
    assert drawn == enforced
    service = ROOT / "service"
    modules = {file.stem for file in service.glob("*.py")} - {"__init__"}
    packages = {file.parent.name for file in service.glob("*/__init__.py")}
    assert {name for layer in drawn for name in layer} == modules | packages


def test_front_holds_no_model() -> None:
    """
    A front process loads neither the runtime of models nor HTTP.
    """
    program = "import sys, convoy.service.process.front_process; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "grpc" in loaded
    assert not {"onnxruntime", "starlette", "uvicorn", "convoy.service.app"} & set(loaded)
