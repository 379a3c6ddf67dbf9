"""The servers of the race: start, request and load, over gRPC and over HTTP.

Each makes batches wherever it can, runs ONNX Runtime with as many threads as the others, and gets
the same image as uint8: in a request of the Open Inference Protocol over gRPC where it speaks that,
else over HTTP.
"""

from __future__ import annotations

import json
import urllib.request
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import grpc
import numpy as np

from bench.race import h2load, open_loop
from bench.race.contender import Contender
from bench.race.h2load import Request
from bench.race.loads import Arrivals, Load, Measured
from bench.race.raced_model import INFER_PATH, Model
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from tests.harness.process import Process, free_ports


class Server(Contender):
    """
    One server with one model; its log is in its folder.

    Raises:
        RuntimeError: If it does not start.
    """

    def __init__(self, model: Model, python: Path, folder: Path) -> None:
        super().__init__(model, python, folder)
        self.grpc_port, self.http_port, self.metrics_port = free_ports(3)
        self.process = self._start(folder / "log")
        self.process.wait_until(self._answers)

    @abstractmethod
    def request(self) -> Request:
        """Return the request that h2load sends."""

    def measure(self, load: Load | Arrivals, seconds: float) -> Measured:
        """Measure with h2load, which knows closed loops only."""
        assert isinstance(load, Load)
        return h2load.measure(self.request(), load, seconds)

    def cpu_s(self) -> float:
        """Return the CPU time of it and its children, in seconds."""
        return self.process.cpu_s()

    def memory_bytes(self) -> int:
        """Return their memory; shared pages count once."""
        return self.process.memory_bytes()

    def stop(self) -> None:
        """End it."""
        self.process.stop()

    @abstractmethod
    def _start(self, log: Path) -> Process: ...

    def _answers(self) -> bool:
        # A port that listens does not mean that the model answers: only its answer does.
        try:
            return bool(self.logits())
        except (OSError, grpc.RpcError):
            return False


class OverGrpc(Server):
    """A server that speaks the Open Inference Protocol."""

    scheme: ClassVar[str] = "http"

    def request(self) -> Request:
        """Return the request that h2load sends."""
        url, message = f"{self.scheme}://{self.address}", self.message().SerializeToString()
        with self._channel() as channel:
            return h2load.grpc_request(channel, url, INFER_PATH, message)

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.grpc_port}"

    def message(self) -> pb.ModelInferRequest:
        """Return the request in the Open Inference Protocol."""
        return self.model.message()

    def logits(self) -> list[float]:
        """Return the logits of the model's image; raise grpc.RpcError if it does not answer."""
        return self._ask(self.model.message())

    def measure(self, load: Load | Arrivals, seconds: float) -> Measured:
        """Measure with h2load, or, in an open loop, with convoy's own client."""
        # h2load has no Poisson arrivals, and no latency from the time when a request was due.
        if isinstance(load, Load):
            return super().measure(load, seconds)
        return open_loop.measure(self.address, self.model.name, load, seconds)

    def _ask(self, message: pb.ModelInferRequest) -> list[float]:
        with self._channel() as channel:
            stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            return _logits(stub.ModelInfer(message, timeout=10))

    def _channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.address)


class OverHttp(Server):
    """A server whose model is the user's code, over HTTP: bytes in, JSON out."""

    path: ClassVar[str] = "/predict"

    def request(self) -> Request:
        """Return the request that h2load sends."""
        return Request(
            f"http://127.0.0.1:{self.http_port}{self.path}",
            self._body(),
            self._headers(),
            http1=True,
        )

    def logits(self) -> list[float]:
        """Return the logits of the model's image; raise OSError if it does not answer."""
        request = self.request()
        asked = urllib.request.Request(request.url, request.body, dict(request.headers))
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return self._read(json.load(answer))

    def _body(self) -> bytes:
        return self.model.image().tobytes()

    def _headers(self) -> Mapping[str, str]:
        return {"content-type": "application/octet-stream"}

    def _read(self, answer: object) -> list[float]:
        assert isinstance(answer, dict)
        return list(answer["logits"])

    def _arguments(self) -> list[str]:
        shape = ",".join(map(str, self.model.shape))
        model = self.model
        return [
            str(model.path),
            str(model.threads),
            str(self.http_port),
            shape,
            str(model.max_batch_size),
        ]


def _logits(answer: pb.ModelInferResponse) -> list[float]:
    place = [output.name for output in answer.outputs].index("logits")
    # The protocol allows raw and typed contents.
    if answer.raw_output_contents:
        return list(np.frombuffer(answer.raw_output_contents[place], np.float32))
    return list(answer.outputs[place].contents.fp32_contents)
