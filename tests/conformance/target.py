"""The server that is checked: how to reach it, and what it says of itself and of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests.conformance.rest import Rest
from tests.conformance.tensors import Array, Spec, Tensor, arrays, infer_request, random_tensor

TIMEOUT_S = 20.0
"""Longest that one call may take."""

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]

NOWHERE = "no-such-model"
"""A model that no server has."""

BAD_REQUEST = frozenset({400, 422})
"""HTTP's statuses for a request that is wrong: "typically 400" (OIP REST); 422 is FastAPI's."""

NOT_THERE = ("NOT_FOUND", "UNAVAILABLE")
"""Codes for a model that the server could have and has not loaded."""

MOST_UNKNOWN = 8
"""Largest batch to send where the server does not tell how many it takes."""


class Target:
    """A server and one of its models, which is ready."""

    def __init__(self, grpc_address: str, http_address: str, model: str) -> None:
        self.grpc_address = grpc_address
        self.http_address = http_address
        self.model = model
        self.channel = grpc.insecure_channel(grpc_address, UNLIMITED)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        self.server = self.ask("ServerMetadata")
        self.extensions = frozenset(self.server.extensions)
        self.described = self.ask("ModelMetadata", name=model)

    @property
    def inputs(self) -> list[Spec]:
        """The model's inputs."""
        return [Spec(one.name, one.datatype, tuple(one.shape)) for one in self.described.inputs]

    @property
    def outputs(self) -> list[Spec]:
        """The model's outputs."""
        return [Spec(one.name, one.datatype, tuple(one.shape)) for one in self.described.outputs]

    @cached_property
    def version(self) -> str:
        """The version that answers a request that names none."""
        answer = self.call("ModelInfer", self.request())
        if not answer.model_version:
            pytest.skip("the server's answers name no version")
        return str(answer.model_version)

    @property
    def batches(self) -> bool:
        """True if the first dimension is the batch."""
        return all(spec.shape[0] == -1 for spec in self.inputs)

    @cached_property
    def told_max_batch_size(self) -> int | None:
        """Largest batch by the model's configuration; None if the server does not tell."""
        try:
            config = self.ask("ModelConfig", name=self.model).config
        except grpc.RpcError:
            return None
        return int(config.max_batch_size)

    @property
    def max_batch_size(self) -> int:
        """Largest batch to send."""
        return self.told_max_batch_size or (MOST_UNKNOWN if self.batches else 1)

    @property
    def rest(self) -> Rest:
        """Its HTTP side."""
        return Rest(self.http_address)

    def path(self, end: str = "", version: str = "") -> str:
        """Route of the model."""
        return f"/v2/models/{self.model}{f'/versions/{version}' if version else ''}{end}"

    def tensors(self, batch: int = 1, seed: int = 1) -> list[Tensor]:
        """A random valid input."""
        return [random_tensor(spec, batch, seed) for spec in self.inputs]

    def request(self, batch: int = 1, seed: int = 1, **fields: Any) -> pb.ModelInferRequest:
        """A valid inference request."""
        return infer_request(self.model, self.tensors(batch, seed), **fields)

    def body(self, batch: int = 1, seed: int = 1, **fields: Any) -> dict[str, Any]:
        """The same as JSON."""
        inputs = [
            {"name": one.name, "datatype": one.datatype, "shape": one.shape, "data": one.elements}
            for one in self.tensors(batch, seed)
        ]
        return {"inputs": inputs, **fields}

    def call(self, rpc: str, request: Any, **options: Any) -> Any:
        """Call an rpc of the protocol."""
        return getattr(self.stub, rpc)(request, **({"timeout": TIMEOUT_S} | options))

    def ask(self, rpc: str, **fields: Any) -> Any:
        """Call an rpc of the protocol with a request of these fields."""
        return self.call(rpc, getattr(pb, f"{rpc}Request")(**fields))

    def infer(self, batch: int = 1, seed: int = 1, **fields: Any) -> dict[str, Array]:
        """Outputs of a valid inference."""
        return arrays(self.call("ModelInfer", self.request(batch, seed, **fields)))

    def ready(self, name: str = "", version: str = "") -> bool:
        """Return whether a model is ready: Triton says no by false, KServe by NOT_FOUND."""
        try:
            return bool(self.ask("ModelReady", name=name or self.model, version=version).ready)
        except grpc.RpcError as error:
            if code_of(error) not in NOT_THERE:
                raise
            return False

    def states(self, **fields: Any) -> dict[str, str]:
        """State of each version of the model in the repository's index."""
        models = self.ask("RepositoryIndex", **fields).models
        return {one.version: one.state for one in models if one.name == self.model}

    def assert_serves(self) -> None:
        """Require that it still answers."""
        assert self.call("ModelInfer", self.request()).outputs


def code_of(error: Exception) -> str:
    """gRPC status of a failure by name, or HTTP's as digits."""
    if isinstance(error, InferenceServerException):
        return str(error.status()).removeprefix("StatusCode.")
    assert isinstance(error, grpc.RpcError)
    return str(error.code().name)


def outcome(call: Callable[[], object]) -> str:
    """Return `OK`, or the status with which *call* failed."""
    try:
        call()
    except (grpc.RpcError, InferenceServerException) as error:
        return code_of(error)
    return "OK"


@contextmanager
def refused(*codes: str, message: bool = True) -> Iterator[None]:
    """Require that the block ends with one of these statuses, and with a message."""
    __tracebackhide__ = True
    try:
        yield
    except (grpc.RpcError, InferenceServerException) as error:
        code = code_of(error)
        if code == "UNIMPLEMENTED" and code not in codes:
            raise  # which may skip the test
        details = error.details() if isinstance(error, grpc.RpcError) else error.message()
    else:
        code, details = "OK", ""
    if code not in codes:
        pytest.fail(f"{code}, not {' or '.join(codes)}: {details}")
    if message and not details:
        pytest.fail(f"{code} without a message")
