"""Messages that are small on the wire, and large once they are inflated."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from tests.security.memory import bounded_growth
from tests.security.target import Credential, Target

INFER = "/inference.GRPCInferenceService/ModelInfer"
CHECK = "/grpc.health.v1.Health/Check"

INFLATED_BYTES = 200_000_000

MAX_GROWTH_BYTES = 64 * 2**20
"""A third of the message."""


@pytest.mark.parametrize(
    ("path", "credential", "code"),
    [
        (INFER, "nothing", grpc.StatusCode.UNAUTHENTICATED),
        (INFER, "infer", grpc.StatusCode.RESOURCE_EXHAUSTED),
        (CHECK, "nothing", grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_compressed_messages(
    target: Target, transport: str, path: str, credential: Credential, code: grpc.StatusCode
) -> None:
    """
    A message that is too large once it is inflated is refused without memory for all of it.
    """
    if transport == "native":
        pytest.skip("the native transport inflates messages of any size")
    if "infer" not in target.tokens:
        pytest.skip("no token with the right to infer is given")
    options = (("grpc.max_send_message_length", -1),)
    with (
        bounded_growth(target, MAX_GROWTH_BYTES),
        grpc.insecure_channel(target.grpc, options) as channel,
    ):
        call: Any = channel.unary_unary(path)
        with pytest.raises(grpc.RpcError) as failed:
            call(
                bytes(INFLATED_BYTES),
                metadata=target.metadata(credential),
                compression=grpc.Compression.Gzip,
                timeout=30,
            )
    assert failed.value.code() is code
