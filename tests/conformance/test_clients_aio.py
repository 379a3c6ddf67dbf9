"""tritonclient: the same for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest
import tritonclient.grpc.aio
import tritonclient.http.aio

from tests.conformance.clients import inputs, outputs
from tests.conformance.target import NOWHERE, Target, refused
from tests.conformance.tensors import assert_same

GRPC, HTTP = tritonclient.grpc.aio, tritonclient.http.aio


@pytest.fixture(
    params=[
        pytest.param(GRPC, id="grpc"),
        pytest.param(HTTP, id="http", marks=pytest.mark.rest),
    ]
)
def kind(request: pytest.FixtureRequest) -> ModuleType:
    """Both of the clients."""
    module: ModuleType = request.param
    return module


@pytest.fixture
async def client(target: Target, kind: ModuleType) -> AsyncIterator[Any]:
    """A client, closed afterwards."""
    address = target.grpc_address if kind is GRPC else target.http_address
    async with kind.InferenceServerClient(address) as client:
        yield client


async def test_server(target: Target, client: Any, kind: ModuleType) -> None:
    """Health and metadata."""
    options = {"as_json": True} if kind is GRPC else {}
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready(target.model)
    assert (await client.get_server_metadata(**options))["name"] == target.server.name
    assert (await client.get_model_metadata(target.model, **options))["name"] == target.model
    with refused("NOT_FOUND", "404"):
        await client.get_model_metadata(NOWHERE)


async def test_infer(target: Target, client: Any, kind: ModuleType) -> None:
    """Requests at the same time get their own answers."""
    results = await asyncio.gather(
        *(
            client.infer(
                target.model, inputs(kind, target.tensors(seed=seed)), request_id=str(seed)
            )
            for seed in range(12)
        )
    )
    for seed, result in enumerate(results):
        assert_same(outputs(target, result), target.infer(seed=seed))


async def test_refused(target: Target, client: Any, kind: ModuleType) -> None:
    """A request that fails raises the client's own error, with the status."""
    with refused("NOT_FOUND", "404"):
        await client.infer(NOWHERE, inputs(kind, target.tensors()))


async def test_compression(target: Target, client: Any, kind: ModuleType) -> None:
    """Packed requests and answers."""
    options = {"compression_algorithm": "gzip"}
    if kind is HTTP:
        options = {
            "request_compression_algorithm": "gzip",
            "response_compression_algorithm": "gzip",
        }
    count = target.max_batch_size
    result = await client.infer(target.model, inputs(kind, target.tensors(count)), **options)
    assert_same(outputs(target, result), target.infer(count))


@pytest.mark.extension("statistics")
@pytest.mark.extension("logging")
@pytest.mark.extension("model_configuration")
@pytest.mark.extension("model_repository")
async def test_extensions(target: Target, client: Any, kind: ModuleType) -> None:
    """Statistics, log settings, configuration and index."""
    options = {"as_json": True} if kind is GRPC else {}
    assert await client.get_inference_statistics(target.model, **options)
    assert await client.get_log_settings(**options)
    assert await client.get_model_config(target.model, **options)
    assert await client.get_model_repository_index(**options)


@pytest.mark.optional("ModelStreamInfer")
async def test_stream(target: Target) -> None:
    """stream_infer: requests from an iterator, answers in their order, an error in its place."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for seed in range(4):
            yield {
                "model_name": target.model if seed != 2 else NOWHERE,
                "inputs": inputs(GRPC, target.tensors(seed=seed)),
                "request_id": str(seed),
            }

    async with GRPC.InferenceServerClient(target.grpc_address) as client:
        answers = [answer async for answer in client.stream_infer(requests())]
    assert [error is not None for _, error in answers] == [False, False, True, False]
    for seed in (0, 1, 3):
        assert answers[seed][0].get_response().id == str(seed)
        assert_same(outputs(target, answers[seed][0]), target.infer(seed=seed))


@pytest.mark.optional("ModelStreamInfer")
async def test_cancelled_stream(target: Target) -> None:
    """Client and server work on after a stream that is cancelled in the middle."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        while True:
            yield {"model_name": target.model, "inputs": inputs(GRPC, target.tensors())}
            await asyncio.sleep(0.001)

    async with GRPC.InferenceServerClient(target.grpc_address) as client:
        answers = client.stream_infer(requests())
        await anext(answers)
        assert answers.cancel()
        with pytest.raises(asyncio.CancelledError):
            await _exhaust(answers)
        assert await client.is_model_ready(target.model)


async def _exhaust(answers: AsyncIterator[Any]) -> None:
    async for _ in answers:
        pass
