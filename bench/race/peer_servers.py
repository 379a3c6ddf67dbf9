"""The other servers of the race."""

from __future__ import annotations

import base64
import json
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bench.race.servers import OverGrpc, OverHttp
from tests.harness.process import Process

HERE = Path(__file__).parent / "peers"
ONNXRUNTIME = "onnxruntime==1.32.0"


class Triton(OverGrpc):
    """Triton's own front, its python backend, dynamic batching."""

    name = "Triton"
    requirements = ("nvidia-pytriton==0.7.0", "numpy<2", ONNXRUNTIME)

    def _start(self, log: Path) -> Process:
        packages = next(self.python.parent.parent.glob("lib/python*/site-packages"))
        triton = packages / "pytriton" / "tritonserver"
        minor = f"{sys.version_info.major}.{sys.version_info.minor}"
        # pytriton's wheel holds a whole Triton, whose python backend needs a stub for our Python.
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
            f'parameters {{ key: "threads" value: {{ string_value: "{self._threads()}" }} }}\n'
        )

    def _threads(self) -> int:
        return self.model.threads


class TritonOneThread(Triton):
    """The same with one intra-op thread, which is faster for small networks."""

    name = "Triton, 1 thread"

    def _threads(self) -> int:
        return 1


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
