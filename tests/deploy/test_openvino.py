"""The extra openvino, and the plugin beside the extra cpu, in environments of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from convoy import Client
from convoy.service.machine.resources import has_bf16
from tests.harness.images import encode, gradient
from tests.harness.server_process import ServerProcess

ROOT = Path(__file__).parents[2]
TOOLS = (
    *("hypothesis", "onnx", "psutil", "pytest", "pytest-asyncio", "pytest-timeout", "pyyaml"),
    "trustme",
)
"""Packages that the tests of a provider import."""

TESTS = (
    "tests/unit/service/runtime/test_openvino.py",
    "tests/integration/test_tune.py",
    "tests/integration/test_import_refusals.py",
    "-k",
    "openvino or providers or bf16 or memory",
)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", params=["openvino", "plugin"])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that has one of both packages, and no PyTorch."""
    folder = tmp_path_factory.mktemp(request.param)
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    wanted = {"openvino": ["openvino"], "plugin": ["cpu", "onnxruntime-ep-openvino"]}
    extra, *packages = wanted[request.param]
    constraints = ROOT / "constraints.txt"
    uv = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python)
    named = (f"convoy-serving[{extra}] @ {ROOT.as_uri()}", *packages, *TOOLS)
    run(*uv, "--constraint", constraints, *named)
    # The tests import convoy from the checkout.
    run(sys.executable, "-m", "uv", "pip", "uninstall", "--python", python, "convoy-serving")
    return python


def run(*command: str | Path) -> str:
    """Run a command that succeeds in the checkout, and return its output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # noqa: TID251 - uv has its settings there
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=800, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_provider(environment: Path) -> None:
    """
    OpenVINO passes its tests where it serves the processor; elsewhere, it is refused as they say.
    """
    said = run(environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS)
    assert " passed" in said


@pytest.mark.skipif(not has_bf16(), reason="the processor has no bf16")
def test_server(environment: Path, lenet_repository: Path) -> None:
    """
    A server answers in bf16, or in float32 with the reason, and reports it everywhere.
    """
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}  # noqa: TID251 - for the server's Python
    options = ("--device", "cpu", "--cpu-precision", "bf16")
    with (
        ServerProcess(
            lenet_repository, *options, python=environment, environment=variables
        ) as server,
        Client(server.address) as client,
    ):
        (prediction, *_) = client.classify(encode(gradient("L")), model="lenet5").predictions
        (model,) = client.models()
        (loaded,) = server.find("model loaded")
        metrics = server.get("/metrics")
    assert 0 < prediction.probability <= 1
    provider = "CPUExecutionProvider" if model.fallback_reason else "OpenVINOExecutionProvider"
    assert (model.precision, model.provider) == (
        "float32" if model.fallback_reason else "bf16",
        provider,
    )
    assert (loaded["provider"], loaded["precision"]) == (provider, model.precision)
    assert f'precision="{model.precision}",provider="{provider}"' in metrics
    fallback = f'convoy_provider_fallback{{model="lenet5"}} {float(bool(model.fallback_reason))}'
    assert fallback in metrics
