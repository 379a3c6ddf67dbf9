"""Kit: it can fail, and it stands alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

HERE = Path(__file__).parent

CONVOY = {"convoy"}


class Typed(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """A server that answers in typed contents, which tritonclient cannot read."""

    def ServerMetadata(self, request: Any, context: Any) -> pb.ServerMetadataResponse:  # noqa: N802
        """Name the server."""
        return pb.ServerMetadataResponse(name="stub", version="0")

    def ModelMetadata(self, request: Any, context: Any) -> pb.ModelMetadataResponse:  # noqa: N802
        """Describe its model."""
        tensor = {"datatype": "FP32", "shape": [-1, 2]}
        return pb.ModelMetadataResponse(
            name=request.name,
            versions=["1"],
            inputs=[{"name": "x"} | tensor],
            outputs=[{"name": "y"} | tensor],
        )

    def ModelInfer(self, request: Any, context: Any) -> pb.ModelInferResponse:  # noqa: N802
        """Answer in the wrong place."""
        response = pb.ModelInferResponse(model_name=request.model_name, model_version="1")
        output = response.outputs.add(name="y", datatype="FP32", shape=[2, 2])
        output.contents.fp32_contents.extend([1, 2, 3, 4])
        return response


@pytest.fixture
def stub_address() -> Iterator[str]:
    """Address of the wrong server."""
    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Typed(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def run(address: str, *arguments: str) -> str:
    """Run a part of the kit against *address*; gives its words."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    options = [f"--grpc={address}", "--http=", "--model=stub"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=50)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    return done.stdout


def test_wrong_server_fails(stub_address: str) -> None:
    """A server that answers in typed contents fails for that; what it does not claim is skipped."""
    told = run(
        stub_address,
        f"{HERE / 'test_tensor_rules.py'}::test_answers_are_raw",
        f"{HERE / 'test_classification.py'}::test_more_than_there_are",
        f"{HERE / 'test_health.py'}::test_unknown_service",
        f"{HERE / 'test_core_rest.py'}::test_refusal_is_json",
    )
    assert "1 failed, 3 skipped" in told
    assert "conformance of stub 0, model stub" in told
    assert "the server does not name the extension classification" in told
    assert "grpc.health.v1.Health is UNIMPLEMENTED" in told


def test_stands_alone() -> None:
    """The kit imports nothing of convoy's: it checks any server."""
    assert not CONVOY & {name.split(".")[0] for name in sys.modules}
