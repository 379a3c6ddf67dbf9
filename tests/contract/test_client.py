import asyncio
import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from convoy import AsyncClient, Classification, Client, ConvoyError
from tests.harness import tiny
from tests.harness.images import png
from tests.harness.name_server import NameServer
from tests.harness.server import Running, Serve


async def test_classify(running: Running, tmp_path: Path) -> None:
    """
    Both clients classify bytes and files alike.
    """
    path = tmp_path / "image.png"
    path.write_bytes(png(7))

    def blocking() -> list[Any]:
        with Client(running.address) as client:
            images = (path.read_bytes(), path, str(path))
            return [client.classify(image, model="tiny", top_k=2) for image in images]

    answers = await asyncio.to_thread(blocking)
    async with AsyncClient(running.address) as client:
        answer = await client.classify(path, model="tiny", top_k=2)
    for other in (*answers, answer):
        assert other.label == "class 2"
        assert other.predictions == answer.predictions
    assert answer.probability == pytest.approx(0.9998, abs=1e-4)
    assert answer.timing.batch_size == 1
    assert 0 < answer.timing.inference_s < 10
    assert len(answer.model_sha256) == 64


async def test_version(serve: Serve, tmp_path: Path) -> None:
    """
    A version of a model is asked by its number; the newest if none is named.
    """
    tiny.write(tmp_path)
    async with (
        serve(version_policy={"*": "all"}) as running,
        AsyncClient(running.address) as client,
    ):
        assert (await client.classify(png(1), model="tiny")).model_version == 2
        assert (await client.classify(png(1), model="tiny", version=1)).model_version == 1
        (answer,) = await client.classify_batch([png(1)], model="tiny", version=1)
        assert isinstance(answer, Classification)
        assert answer.model_version == 1
        with pytest.raises(ConvoyError, match="has no version '3'; it serves 1, 2"):
            await client.classify(png(1), model="tiny", version=3)


async def test_classify_batch(running: Running) -> None:
    """
    A batch gives an answer or an error for each image, in order.
    """
    images = [png(1), b"nope", png(2)]

    def blocking() -> list[Any]:
        with Client(running.address) as client:
            return list(client.classify_batch(images, model="tiny"))

    async with AsyncClient(running.address) as client:
        for answers in (
            await asyncio.to_thread(blocking),
            await client.classify_batch(images, model="tiny"),
        ):
            first, bad, second = answers
            assert isinstance(first, Classification)
            assert isinstance(second, Classification)
            assert (first.label, second.label) == ("class 1", "class 2")
            assert isinstance(bad, ConvoyError)
            assert (bad.code, bad.reason) == ("INVALID_ARGUMENT", "INVALID_IMAGE")


async def test_models(running: Running) -> None:
    """
    Both clients list the models alike.
    """

    def blocking() -> list[Any]:
        with Client(running.address) as client:
            return list(client.models())

    async with AsyncClient(running.address) as client:
        models = await client.models()
    assert await asyncio.to_thread(blocking) == models
    assert models[0].input_shape == (tiny.SIDE, tiny.SIDE, 1)
    assert models[0].labels[4] == "class 4"


async def test_errors(running: Running) -> None:
    """
    A refused call raises with the code and the reason of the server.
    """

    def blocking() -> None:
        with Client(running.address) as client:
            client.classify(png(0), model="huge")

    with pytest.raises(ConvoyError, match=r"no model is named 'huge' \(MODEL_NOT_FOUND\)"):
        await asyncio.to_thread(blocking)
    async with AsyncClient(running.address) as client:
        for call in (
            client.classify(b"", model="tiny"),
            client.classify_batch([], model="tiny"),
        ):
            with pytest.raises(ConvoyError) as failed:
                await call
            assert failed.value.code == "INVALID_ARGUMENT"


async def test_no_server() -> None:
    """
    A server that cannot be reached is an error without a reason.
    """
    async with AsyncClient("127.0.0.1:1", timeout_s=5) as client:
        for call in (
            client.models(),
            client.classify(b"x", model="tiny"),
            client.classify_batch([b"x"], model="tiny"),
        ):
            with pytest.raises(ConvoyError) as failed:
                await call
            assert (failed.value.code, failed.value.reason) == ("UNAVAILABLE", "")
            message = "cannot reach 127.0.0.1:1: is `convoy serve` running?"
            assert failed.value.message == message

    def blocking() -> None:
        with Client("127.0.0.1:1", timeout_s=5) as client:
            client.models()

    with pytest.raises(ConvoyError, match="UNAVAILABLE"):
        await asyncio.to_thread(blocking)


async def test_http_port(running: Running) -> None:
    """
    A client that is given the HTTP port is told to use the port of gRPC.
    """
    async with AsyncClient(f"127.0.0.1:{running.server.http_port}", timeout_s=5) as client:
        with pytest.raises(ConvoyError, match="answers in HTTP, not gRPC: use the server's gRPC"):
            await client.models()


async def test_no_answer(running: Running) -> None:
    """
    A call that takes too long states so, rather than gRPC's words for it.
    """
    with running.device_held():
        async with AsyncClient(running.address, timeout_s=0.2) as client:
            with pytest.raises(ConvoyError) as failed:
                await client.classify(png(1), model="tiny")
    assert failed.value.code == "DEADLINE_EXCEEDED"
    assert "Deadline Exceeded" not in failed.value.message


def test_malformed_arguments() -> None:
    """
    A malformed address or token is refused when the client is made.
    """
    with pytest.raises(ValueError, match="invalid address 'http://localhost:8000'"):
        Client("http://localhost:8000")
    with pytest.raises(ValueError, match="printable ASCII"):
        Client(token="a\nb")


async def test_no_server_behind_a_name() -> None:
    """
    A balancing client waits for a server until its time is over, and says what may be wrong.
    """
    with NameServer() as names:
        address = f"dns://{names.address}/convoy:8001"
        async with AsyncClient(address, timeout_s=1, balance=True) as client:
            with pytest.raises(ConvoyError, match="check that a server is ready") as failed:
                await client.models()
    assert (failed.value.code, failed.value.reason) == ("DEADLINE_EXCEEDED", "")


async def test_a_call_that_a_closing_server_ends() -> None:
    """
    gRPC answers calls that reach a server while it closes with CANCELLED: they are repeated.
    """
    calls = 0

    async def close_first(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 1:
            await context.abort(grpc.StatusCode.CANCELLED)
        return b""

    service = "convoy.v1.ClassifierService"
    methods: Any = {"ListModels": grpc.unary_unary_rpc_method_handler(close_first)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient(f"127.0.0.1:{port}") as client:
        assert await client.models() == []
    await server.stop(None)
    assert calls == 2


def test_needs_grpcio_and_protobuf_only() -> None:
    """
    Importing the client imports none of the packages that only the server or export need.
    """
    program = (
        "import sys, convoy\n"
        "heavy = {'numpy', 'onnxruntime', 'torch', 'pydantic', 'rich', 'PIL', 'starlette'}\n"
        "sys.exit(', '.join(heavy & sys.modules.keys()) or None)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_error_reaches_another_process() -> None:
    """
    An error can be pickled and copied, as process pools do with it.
    """
    error = ConvoyError("NOT_FOUND", "MODEL_NOT_FOUND", "no model is named 'x'")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (other.code, other.reason, other.message) == (
            error.code,
            error.reason,
            error.message,
        )
        assert str(other) == str(error)
