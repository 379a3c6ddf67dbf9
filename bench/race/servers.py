"""The servers of the race: how each is installed, given a model, and asked.

Each makes batches wherever it can, runs ONNX Runtime with as many threads as the others, and gets
the same image as uint8: in a request of the Open Inference Protocol over gRPC where it speaks that,
else over HTTP.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import grpc
import numpy as np

from bench.process import Process, free_ports
from bench.race.h2load import Request
from bench.race.model import INFER_PATH, Model
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc


class Server(ABC):
    """
    One server with one model.

    Args:
        model: What it serves.
        python: Interpreter of the environment that it is installed in.
        folder: An empty folder for its files and its log.
    """

    name: ClassVar[str]
    requirements: ClassVar[tuple[str, ...]]

    def __init__(self, model: Model, python: Path, folder: Path) -> None:
        self.model = model
        self.python = python
        self.folder = folder
        self.grpc_port, self.http_port, self.metrics_port = free_ports(3)
        self.process = self._start(folder / "log")
        self.process.wait_until(self._answers)

    @property
    @abstractmethod
    def request(self) -> Request:
        """What h2load sends."""

    @abstractmethod
    def logits(self) -> list[float]:
        """Ask once; raises OSError or grpc.RpcError as long as it does not answer."""

    @abstractmethod
    def _start(self, log: Path) -> Process: ...

    def _answers(self) -> bool:
        try:
            return bool(self.logits())
        except (OSError, grpc.RpcError):
            return False


class OverGrpc(Server):
    """A server that speaks the Open Inference Protocol."""

    @property
    def request(self) -> Request:
        """What h2load sends."""
        return Request(f"http://127.0.0.1:{self.grpc_port}{INFER_PATH}", self.model.frame())

    def logits(self) -> list[float]:
        """Ask once."""
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            answer = stub.ModelInfer(self.model.message(), timeout=10)
        return _logits(answer)


class OverHttp(Server):
    """A server of a model of one's own over HTTP: bytes in, JSON out."""

    path: ClassVar[str] = "/predict"

    @property
    def request(self) -> Request:
        """What h2load sends."""
        return Request(
            f"http://127.0.0.1:{self.http_port}{self.path}",
            self._body(),
            self._headers(),
            http1=True,
        )

    def logits(self) -> list[float]:
        """Ask once."""
        request = self.request
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


class Convoy(OverGrpc):
    """This one, with grpcio."""

    name = "convoy, grpcio"
    requirements = ()
    module: ClassVar[str] = "convoy"
    options: ClassVar[tuple[str, ...]] = ("--transport", "grpcio")

    def _start(self, log: Path) -> Process:
        repository = self.model.path.parent.parent.parent
        command = [
            *(sys.executable, "-m", self.module, "serve", "--host", "127.0.0.1"),
            *("--device", "cpu"),
            *("--grpc-port", str(self.grpc_port), "--http-port", str(self.http_port)),
            *("--model-repository", str(repository), "--model-control-mode", "explicit"),
            *("--load-model", self.model.name, "--graph-cache", "", "--shutdown-grace-s", "0"),
            *self.options,
        ]
        return Process(command, log)


class ConvoyNative(Convoy):
    """This one, with the native transport."""

    name = "convoy, native"
    options = ("--transport", "native")


class Unmetered(Convoy):
    """This one, without metrics."""

    name = "convoy, grpcio, no metrics"
    module = "bench.race.peers.unmetered"


class UnmeteredNative(ConvoyNative):
    """This one, with the native transport and without metrics."""

    name = "convoy, native, no metrics"
    module = "bench.race.peers.unmetered"


def _logits(answer: pb.ModelInferResponse) -> list[float]:
    place = [output.name for output in answer.outputs].index("logits")
    if answer.raw_output_contents:
        return list(np.frombuffer(answer.raw_output_contents[place], np.float32))
    return list(answer.outputs[place].contents.fp32_contents)
