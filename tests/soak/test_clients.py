"""Clients put every end into the ledger, whatever the server does."""

import random
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from tests.soak.checksums import Checksums
from tests.soak.clients import STREAM, Soak, stream
from tests.soak.ledger import Ledger


class Ending(grpc_service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers the first request of a stream and ends the stream with *code*."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    async def ModelStreamInfer(  # noqa: N802 - the name of the rpc
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Any
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        await anext(requests)
        answer = pb.ModelStreamInferResponse(error_message="too many")
        answer.infer_response.parameters["error_reason"].string_param = "QUEUE_FULL"
        yield answer
        if self._code is not grpc.StatusCode.OK:
            await context.abort(self._code, "no more")


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE]
)
async def test_stream_that_the_server_ends(code: grpc.StatusCode) -> None:
    """
    Each request of a stream that the server ends without an answer to it is a fault.
    """
    server, ledger = grpc.aio.server(), Ledger()
    grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Ending(code), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        model = Checksums("reloaded", ("",))
        soak = Soak(ledger, list, address, "", channel, channel, False, Always(), model, model)
        await stream(soak)
    await server.stop(None)
    ((fault, count),) = ledger.faults.items()
    assert count == STREAM - 1
    # gRPC's client says INTERNAL if it was just sending a request.
    told = [f"stream: {name} the server ended the stream" for name in (code.name, "INTERNAL")]
    assert fault[0].startswith(tuple(told))
    row = ledger.by_kind()["stream"]
    assert row["sent"] == row.total() - row["sent"] == STREAM


class Always(random.Random):
    """Dice with which a client reads the whole stream."""

    def choice(self, seq: Any) -> Any:
        return seq[0]
