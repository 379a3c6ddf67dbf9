"""Kit: it can fail, and it stands alone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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


class Heedless(Typed):
    """A slow server that takes priorities, timeouts and deadlines, and runs all in their order."""

    def __init__(self) -> None:
        self._device = ThreadPoolExecutor(1)
        self._answered = 0

    def ServerMetadata(self, request: Any, context: Any) -> pb.ServerMetadataResponse:  # noqa: N802
        """Name extensions that it does not have."""
        return pb.ServerMetadataResponse(name="stub", extensions=["schedule_policy", "statistics"])

    def ModelConfig(self, request: Any, context: Any) -> pb.ModelConfigResponse:  # noqa: N802
        """Claim to schedule."""
        policy = {"priority_levels": 2, "default_queue_policy": {"allow_timeout_override": True}}
        return pb.ModelConfigResponse(config={"dynamic_batching": policy})

    def ModelInfer(self, request: Any, context: Any) -> pb.ModelInferResponse:  # noqa: N802
        """Wait for all earlier requests, whatever this one asks for."""
        self._device.submit(time.sleep, 0.1).result()
        self._answered += 1
        return super().ModelInfer(request, context)

    def ModelStatistics(self, request: Any, context: Any) -> pb.ModelStatisticsResponse:  # noqa: N802
        """Count what was answered."""
        counts = {"success": {"count": self._answered}}
        return pb.ModelStatisticsResponse(model_stats=[{"name": "stub", "inference_stats": counts}])


@contextmanager
def serving(servicer: Typed) -> Iterator[str]:
    """Serve *servicer* at the address that is yielded."""
    server = grpc.server(ThreadPoolExecutor(32))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def run(address: str, *arguments: str) -> str:
    """Run a part of the kit against *address*, which must fail, and return its output."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    options = [f"--grpc={address}", "--http=", "--model=stub"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=50)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    return done.stdout


def test_wrong_server_fails() -> None:
    """A server that answers in typed contents fails for that; what it does not claim is skipped."""
    with serving(Typed()) as address:
        output = run(
            address,
            f"{HERE / 'test_tensor_rules.py'}::test_answers_are_raw",
            f"{HERE / 'test_classification.py'}::test_more_than_there_are",
            f"{HERE / 'test_health.py'}::test_unknown_service",
            f"{HERE / 'test_core_rest.py'}::test_refusal_is_json",
        )
    assert "1 failed, 3 skipped" in output
    assert "conformance of stub 0, model stub" in output
    assert "the server does not name the extension classification" in output
    assert "grpc.health.v1.Health is UNIMPLEMENTED" in output


def test_heedless_server_fails() -> None:
    """A server that ignores priorities, timeouts and deadlines fails each test of them."""
    with serving(Heedless()) as address:
        output = run(address, f"{HERE / 'test_scheduling.py'}", "--slow=stub")
    assert "3 failed" in output


def test_stands_alone() -> None:
    """The kit imports nothing of convoy's: it checks any server."""
    assert not CONVOY & {name.split(".")[0] for name in sys.modules}
