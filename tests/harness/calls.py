"""Calls of the tiny model over gRPC and REST, and what their answers hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from convoy.pb.inference import grpc_service_pb2 as pb
from tests.harness import tiny
from tests.harness.http import Answer

INFER = "/v2/models/tiny/infer"

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def infer_request(*firsts: int, **fields: Any) -> pb.ModelInferRequest:
    """Return a request with raw pixels, one image per number."""
    batch = np.concatenate([tiny.pixels(first) for first in firsts])
    request = pb.ModelInferRequest(model_name=fields.pop("model_name", "tiny"), **fields)
    request.inputs.add(name="image", datatype="UINT8", shape=batch.shape)
    request.raw_input_contents.append(batch.tobytes())
    return request


def logits(response: pb.ModelInferResponse) -> np.ndarray:
    """Return the output named `logits`: float32 `[N, classes]`."""
    index = [output.name for output in response.outputs].index("logits")
    values = np.frombuffer(response.raw_output_contents[index], np.float32)
    return values.reshape(response.outputs[index].shape)


async def outcome(call: Any) -> Any:
    """Return None if *call* succeeds, otherwise its gRPC status and reason."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), dict(error.trailing_metadata() or ())["error-reason"]
    return None


async def health(channel: grpc.aio.Channel, name: str) -> int:
    """Return what `grpc.health.v1` says of the service or model *name*."""
    stub = health_pb2_grpc.HealthStub(channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=name))).status)


def infer_body(*firsts: int, **fields: Any) -> bytes:
    """Return the JSON of a request for the classes of images, one per number."""
    data = [value for first in firsts for value in tiny.pixels(first).ravel().tolist()]
    image = {"name": "image", "datatype": "UINT8", "shape": [len(firsts), 4, 4, 1], "data": data}
    return json.dumps({"inputs": [image]} | fields).encode()


def classes(answer: Answer) -> list[int]:
    """Return the class of each image in an answer in JSON."""
    assert answer.status == 200, answer.body
    logits = answer.json()["outputs"][0]["data"]
    rows = [logits[start : start + tiny.CLASSES] for start in range(0, len(logits), tiny.CLASSES)]
    return [row.index(max(row)) for row in rows]


def check_error(answer: Answer, status: int, reason: str) -> str:
    """Check that *answer* has the form of every error over HTTP, and return its message."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error", "reason", "status"}
    assert body["reason"] == reason
    assert len(body["error"]) < 500
    for internal in ("Traceback", "site-packages", ".py", str(Path.cwd())):
        assert internal not in answer.body.decode()
    return str(body["error"])
