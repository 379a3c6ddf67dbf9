"""A client that is going to be killed: `python -m tests.soak.victim ADDRESS`.

It writes an `s` before it sends a request and an `a` when it is answered, so that whoever kills it
knows what it did.
"""

from __future__ import annotations

import asyncio
import os
import sys

import grpc

from convoy.commands.bench.target import open_channel
from convoy.commands.connection import ConnectionSettings
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from tests.fuzz.seeds import corpus

IN_FLIGHT = 8
STDOUT = 1


async def ask(address: str) -> None:
    """Ask without end."""
    request = pb.ModelInferRequest.FromString(corpus("requests")["ModelInfer.raw"])
    async with open_channel(ConnectionSettings(address=address)) as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)

        async def client() -> None:
            while True:
                os.write(STDOUT, b"s")
                try:
                    await stub.ModelInfer(request)
                    os.write(STDOUT, b"a")
                except grpc.aio.AioRpcError as error:
                    refused = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                    os.write(STDOUT, b"r" if refused else b"f")

        await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))


if __name__ == "__main__":
    asyncio.run(ask(sys.argv[1]))
