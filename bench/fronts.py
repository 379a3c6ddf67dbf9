"""The effect of front processes: `python -m bench.fronts`; prints JSON.

The device sleeps as long as an H100 computes (`bench/sleeping_server.py`), so that only receiving,
decoding and scheduling take processor time. Servers without fronts and with two are measured in
turn, by h2load: images per second, latency, and processor time per request of each process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from bench.race.convoy_servers import photo
from bench.race.h2load import Request, grpc_request, measure
from bench.race.loads import Load
from bench.race.raced_model import INFER_PATH
from convoy.artifact.golden import Golden
from convoy.artifact.manifest import InputTensor, Normalization, OutputTensor, Preprocessing
from convoy.commands.measurement.intervals import of_median
from convoy.pb.inference import grpc_service_pb2 as pb
from tests.harness import tiny
from tests.harness.lenet import add_version
from tests.harness.server_process import ServerProcess

CLASSES = 1000
PROGRAM = ("-m", "bench.sleeping_server")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fronts", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--transport", default="grpcio")
    parser.add_argument("--repository", type=Path, default=Path("build/fronts"))
    options = parser.parse_args()
    if not options.repository.exists():
        write_models(options.repository)
    loads = [
        ("tensor", Load(16, 4)),
        ("tensor", Load(1, 1)),
        ("tensor", Load(1, 64)),
        ("tensor", Load(4, 16)),
        ("tensor", Load(64, 1)),
        ("jpeg", Load(16, 4)),
        ("lenet", Load(16, 4)),
    ]
    found = []
    with ExitStack() as stack:
        servers = {
            fronts: stack.enter_context(
                ServerProcess(
                    options.repository,
                    *("--device", "cpu", "--transport", options.transport),
                    *("--front-processes", str(fronts)),
                    program=PROGRAM,
                )
            )
            for fronts in (0, options.fronts)
        }
        for kind, load in loads:
            rows: dict[int, list[dict[str, Any]]] = {fronts: [] for fronts in servers}
            for _ in range(options.pairs):
                for fronts, server in servers.items():
                    rows[fronts].append(_measure(server, kind, load, options.seconds))
            found.append({"request": kind, "connections": load.connections} | _summary(load, rows))
            print(json.dumps(found[-1]), flush=True)
    return 0


def _measure(server: ServerProcess, kind: str, load: Load, seconds: float) -> dict[str, float]:
    request = _request(server, kind)
    engine = psutil.Process(server.process.pid)
    processes = [engine, *engine.children()]
    answered_before, before = _answered(server), [_cpu_s(process) for process in processes]
    measured = measure(request, load, seconds)
    after, answered = [_cpu_s(process) for process in processes], _answered(server)
    # Of the warm-up, too.
    spent_us = [
        1e6 * (end - start) / (answered - answered_before)
        for start, end in zip(before, after, strict=True)
    ]
    return {
        "per_s": measured.per_s,
        "p50_ms": measured.p50_ms,
        "p99_ms": measured.p99_ms,
        "engine_us": spent_us[0],
        "fronts_us": sum(spent_us[1:]),
    }


def _summary(load: Load, rows: dict[int, list[dict[str, float]]]) -> dict[str, Any]:
    summary: dict[str, Any] = {"in_flight": load.in_flight}
    for fronts, measured in rows.items():
        summary[f"fronts={fronts}"] = {
            name: round(statistics.median(row[name] for row in measured), 2) for name in measured[0]
        }
    none, some = rows.values()
    ratios = [b["per_s"] / a["per_s"] for a, b in zip(none, some, strict=True)]
    summary["ratio"] = round(statistics.median(ratios), 3)
    summary["ratio_95"] = [round(bound, 3) for bound in of_median(ratios)]
    return summary


def _request(server: ServerProcess, kind: str) -> Request:
    message = pb.ModelInferRequest(model_name="lenet5" if kind == "lenet" else "sleeping")
    shape = (1, 32, 32, 1) if kind == "lenet" else (1, 224, 224, 3)
    if kind == "jpeg":
        data = photo()
        message.inputs.add(name="image", datatype="BYTES", shape=(1,))
        message.raw_input_contents.append(len(data).to_bytes(4, "little") + data)
    else:
        message.inputs.add(name="image", datatype="UINT8", shape=shape)
        message.raw_input_contents.append(bytes(int(np.prod(shape))))
    with grpc.insecure_channel(server.address) as channel:
        url = f"http://{server.address}"
        return grpc_request(channel, url, INFER_PATH, message.SerializeToString())


def _cpu_s(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def _answered(server: ServerProcess) -> float:
    time.sleep(0.2)
    lines = (line.split() for line in server.get("/metrics").splitlines())
    return sum(float(line[-1]) for line in lines if line[0].startswith("convoy_requests_total"))


def write_models(root: Path) -> None:
    """Write a LeNet-5, and an artifact in the place of ResNet-50."""
    add_version(root, "lenet5")
    images = np.zeros((1, 224, 224, 3), np.uint8)
    normalization = Normalization(mean=(0.5,) * 3, std=(0.5,) * 3, where="graph")
    tiny.write(
        root,
        "sleeping",
        model=_graph(),
        golden=Golden(images, np.zeros((1, CLASSES), np.float32)),
        labels=tuple(f"class {index}" for index in range(CLASSES)),
        input=InputTensor(
            name="image", dtype="uint8", layout="NHWC", channels=3, height=224, width=224
        ),
        outputs=(OutputTensor(name="logits", kind="logits"),),
        preprocessing=Preprocessing(
            color="RGB", resize_px=256, crop_height_px=224, crop_width_px=224
        ),
        normalization=normalization,
        max_batch_size=32,
    )


def _graph() -> Any:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["image"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["wide", "axes"], ["largest"], keepdims=0),
        helper.make_node("MatMul", ["largest", "weights"], ["logits"]),
    ]
    constants: dict[str, np.ndarray] = {
        "axes": np.array([1, 2], np.int64),
        "weights": np.zeros((3, CLASSES), np.float32),
    }
    body = helper.make_graph(
        nodes,
        "sleeping",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 224, 224, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    raise SystemExit(main())
