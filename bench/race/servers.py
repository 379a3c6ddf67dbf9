"""The servers of the race: how each is installed, given a model, and asked.

Each makes batches wherever it can, runs ONNX Runtime with as many threads as the others, and gets
the same image as uint8: in a request of the Open Inference Protocol over gRPC where it speaks that,
else over HTTP.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
import sysconfig
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import grpc
import numpy as np

from bench.race.h2load import Request
from bench.race.model import INFER_PATH, Model
from bench.race.process import Process, free_ports
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc

HERE = Path(__file__).parent / "peers"
ONNXRUNTIME = "onnxruntime==1.32.0"


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
    options: ClassVar[tuple[str, ...]] = ("--transport", "grpcio")

    def _start(self, log: Path) -> Process:
        repository = self.model.path.parent.parent.parent
        command = [
            *(sys.executable, "-m", "convoy", "serve", "--host", "127.0.0.1", "--device", "cpu"),
            *("--grpc-port", str(self.grpc_port), "--http-port", str(self.http_port)),
            *("--model-repository", str(repository), "--model-control-mode", "explicit"),
            *("--load-model", self.model.name, "--graph-cache", ""),
            *("--intra-op-threads", str(self.model.threads), *self.options),
        ]
        return Process(command, log)


class ConvoyNative(Convoy):
    """This one, with the native transport."""

    name = "convoy, native"
    options = ("--transport", "native")


class Triton(OverGrpc):
    """Triton's own front, its python backend, dynamic batching."""

    name = "Triton"
    requirements = ("nvidia-pytriton==0.7.0", "numpy<2", ONNXRUNTIME)

    def _start(self, log: Path) -> Process:
        packages = next(self.python.parent.parent.glob("lib/python*/site-packages"))
        triton = packages / "pytriton" / "tritonserver"
        minor = f"{sys.version_info.major}.{sys.version_info.minor}"
        shutil.copytree(triton / "backends", self.folder / "backends")
        stub = triton / "python_backend_stubs" / minor / "triton_python_backend_stub"
        shutil.copy(stub, self.folder / "backends" / "python")
        self._write_model(self.folder / "models" / self.model.name)
        libraries = f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
        command = [
            *(
                str(triton / "bin" / "tritonserver"),
                "--model-repository",
                str(self.folder / "models"),
            ),
            *("--backend-directory", str(self.folder / "backends"), "--allow-metrics", "false"),
            *("--http-port", str(self.http_port), "--grpc-port", str(self.grpc_port)),
        ]
        environment = {
            "LD_LIBRARY_PATH": libraries,
            "PYTHONPATH": str(packages),
            "PATH": f"{self.python.parent}:/usr/bin:/bin",
        }
        return Process(command, log, environment=environment)

    def _write_model(self, folder: Path) -> None:
        (folder / "1").mkdir(parents=True)
        shutil.copy(HERE / "triton" / "model.py", folder / "1")
        shutil.copy(self.model.path, folder / "1" / "model.onnx")
        model = self.model
        shape = list(model.shape)
        outputs = "\n".join(
            f'output {{ name: "{name}" data_type: TYPE_FP32 dims: [{classes}] }}'
            for name, classes in model.outputs
        )
        (folder / "config.pbtxt").write_text(
            f'name: "{model.name}"\nbackend: "python"\nmax_batch_size: {model.max_batch_size}\n'
            f'input {{ name: "image" data_type: TYPE_UINT8 dims: {shape} }}\n{outputs}\n'
            "dynamic_batching {}\n"
            f'parameters {{ key: "threads" value: {{ string_value: "{model.threads}" }} }}\n'
        )


class KServe(OverGrpc):
    """KServe's Python server; it makes no batches."""

    name = "KServe"
    requirements = ("kserve==0.21.0", ONNXRUNTIME)

    def _start(self, log: Path) -> Process:
        model = self.model
        command = [str(self.python), str(HERE / "kserve_server.py"), str(model.path), model.name]
        command += [str(model.threads), str(self.grpc_port), str(self.http_port)]
        return Process(command, log)


class MLServer(OverGrpc):
    """MLServer with adaptive batching, in one process."""

    name = "MLServer"
    requirements = ("mlserver==1.7.1", ONNXRUNTIME)

    def _start(self, log: Path) -> Process:
        shutil.copy(HERE / "mlserver_runtime.py", self.folder)
        ports = {"http_port": self.http_port, "grpc_port": self.grpc_port}
        settings = {**ports, "metrics_port": self.metrics_port, "host": "127.0.0.1"}
        (self.folder / "settings.json").write_text(
            json.dumps({**settings, "parallel_workers": 0, "debug": False})
        )
        model = self.model
        (self.folder / "model-settings.json").write_text(
            json.dumps(
                {
                    "name": model.name,
                    "implementation": "mlserver_runtime.Network",
                    "max_batch_size": model.max_batch_size,
                    "max_batch_time": 0.001,
                    "parameters": {"extra": {"path": str(model.path), "threads": model.threads}},
                }
            )
        )
        command = [str(self.python.parent / "mlserver"), "start", "."]
        return Process(command, log, folder=self.folder)


class LitServe(OverHttp):
    """LitServe with batching; it takes JSON."""

    name = "LitServe"
    requirements = ("litserve==0.2.19", ONNXRUNTIME)

    def _start(self, log: Path) -> Process:
        command = [str(self.python), str(HERE / "litserve_server.py"), *self._arguments()]
        return Process(command, log, folder=self.folder)

    def _body(self) -> bytes:
        return json.dumps({"image": base64.b64encode(super()._body()).decode()}).encode()

    def _headers(self) -> Mapping[str, str]:
        return {"content-type": "application/json"}


class RayServe(OverHttp):
    """Ray Serve with batching."""

    name = "Ray Serve"
    requirements = ("ray[serve]==2.60.0", ONNXRUNTIME)
    path = "/"

    def _start(self, log: Path) -> Process:
        command = [str(self.python), str(HERE / "ray_server.py"), *self._arguments()]
        return Process(command, log, folder=self.folder)


class BentoML(OverHttp):
    """BentoML with adaptive batching; it takes tensors as JSON."""

    name = "BentoML"
    requirements = ("bentoml==1.4.40", ONNXRUNTIME)
    path = "/infer"

    def _start(self, log: Path) -> Process:
        shutil.copy(HERE / "bentoml_service.py", self.folder)
        command = [str(self.python), "-m", "bentoml", "serve", "bentoml_service:Network"]
        command += ["--port", str(self.http_port), "--host", "127.0.0.1"]
        model = self.model
        settings = {"path": str(model.path), "threads": model.threads}
        (self.folder / "race.json").write_text(
            json.dumps({**settings, "max_batch_size": model.max_batch_size})
        )
        environment = {"BENTOML_DO_NOT_TRACK": "true"}
        return Process(command, log, folder=self.folder, environment=environment)

    def _body(self) -> bytes:
        return json.dumps({"images": self.model.image()[np.newaxis].tolist()}).encode()

    def _headers(self) -> Mapping[str, str]:
        return {"content-type": "application/json"}

    def _read(self, answer: object) -> list[float]:
        assert isinstance(answer, list)
        return list(answer[0])


PEERS: tuple[type[Server], ...] = (Triton, KServe, MLServer, LitServe, BentoML, RayServe)


def _logits(answer: pb.ModelInferResponse) -> list[float]:
    place = [output.name for output in answer.outputs].index("logits")
    if answer.raw_output_contents:
        return list(np.frombuffer(answer.raw_output_contents[place], np.float32))
    return list(answer.outputs[place].contents.fp32_contents)
