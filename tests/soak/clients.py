"""The kinds of client that a soak mixes with its bulk: odd ones, faulty ones, and some that leave.

A client does one thing and returns; the soak calls it again. What it sent, and how that ended, is
in the ledger when it returns. Each rests, so that most calls are the bulk's.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import grpc
import numpy as np
import psutil
from PIL import Image

from convoy.pb.convoy.v1 import classifier_pb2, classifier_pb2_grpc
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from convoy.service.errors import ServiceError
from tests.fuzz.campaign import Case, image_cases, request_cases
from tests.harness.http import Connection, request
from tests.harness.images import encode
from tests.soak.checksums import CLASSES, IMAGES, Checksums
from tests.soak.ledger import CANCELLED, EXPIRED, OK, Entry, Ledger
from tests.soak.wire import LOST

STREAM = 20
BURST = 300
"""Requests of a stream, and of a burst: more than the queue takes."""

TOP_K = 3
LONGEST_CANCEL_S = 0.05
PAUSE_S = 0.1

STATUSES = {error.reason: error.status for error in ServiceError.__subclasses__()}
"""The code that the server counts, by the reason in an answer of a stream."""

MUTATED = ("/Classify", "/ClassifyBatch", "/ModelInfer")
"""Methods whose messages are mutated: the others would change what the server serves."""


@dataclass
class Soak:
    """
    The state that all clients share.

    Attributes:
        processes: Return the server's processes: its own, and its fronts.
        channel: gRPC's connection.
        hasty: Another one, for those who leave: a server may close it when too many did.
        may_lose: Whether this server does.
        dice: Decides what they do.
        reloaded: A model of two versions that take turns.
        other: A model that comes and goes.
    """

    ledger: Ledger
    processes: Callable[[], Sequence[psutil.Process]]
    address: str
    url: str
    channel: grpc.aio.Channel
    hasty: grpc.aio.Channel
    may_lose: bool
    dice: random.Random
    reloaded: Checksums
    other: Checksums
    mutants: Iterator[Case] = field(init=False)

    def __post_init__(self) -> None:
        self.mutants = self._mutants()

    @cached_property
    def classifier(self) -> Any:
        """Stub of our own service."""
        return classifier_pb2_grpc.ClassifierServiceStub(self.channel)

    @cached_property
    def inference(self) -> Any:
        """Stub of the Open Inference Protocol."""
        return grpc_service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    def some(self, count: int = 1) -> list[int]:
        """Return so many images."""
        return self.dice.choices(range(len(IMAGES)), k=count)

    def leaving(self, *codes: str) -> frozenset[str]:
        """Return the codes with which the call of one who leaves may end."""
        return frozenset({*codes, *([LOST] if self.may_lose else [])})

    def _mutants(self) -> Iterator[Case]:
        seed = self.dice.randrange(2**32)
        kinds = image_cases(seed), request_cases(seed)
        while True:
            case = next(self.dice.choice(kinds))
            if case.path.endswith(MUTATED):
                yield case


Client = Callable[[Soak], Awaitable[None]]


async def infer(soak: Soak) -> None:
    """Send raw pixels, for any version or for one that may not be there."""
    await _infer(soak, "infer", soak.reloaded)


async def ask_other(soak: Soak) -> None:
    """Send raw pixels to the model that comes and goes."""
    await _infer(soak, "other model", soak.other)


async def _infer(soak: Soak, kind: str, model: Checksums) -> None:
    images = soak.some(soak.dice.choice((1, 1, 3)))
    version = soak.dice.choice((0, *range(1, len(model.sha256) + 1)))
    with soak.ledger.call(Entry(kind, "ModelInfer", model.name, len(images))):
        answer = await soak.inference.ModelInfer(model.request(images, version))
        model.check(images, version, answer)


async def classify(soak: Soak) -> None:
    """Send an encoded image."""
    (image,) = soak.some()
    with soak.ledger.call(Entry("classify", "Classify", soak.reloaded.name, 1)):
        _check_classes(soak, image, await soak.classifier.Classify(_classify_request(soak, image)))


async def classify_batch(soak: Soak) -> None:
    """Send several images at once, one of them invalid."""
    images = soak.some(2)
    first, second = (_encoded(image) for image in images)
    asked = [first, b"no image", second]
    batch = classifier_pb2.ClassifyBatchRequest(model=soak.reloaded.name, images=asked, top_k=TOP_K)
    with soak.ledger.call(Entry("batch", "ClassifyBatch", soak.reloaded.name, 2)) as answered:
        first, bad, second = (await soak.classifier.ClassifyBatch(batch)).outcomes
        # All places may have been taken between the check for room and the image's turn.
        if bad.error.reason not in ("INVALID_IMAGE", "QUEUE_FULL"):
            raise ValueError(f"an image that is none: {bad}")
        for image, outcome in zip(images, (first, second), strict=True):
            if outcome.error.reason not in ("", "QUEUE_FULL"):
                raise ValueError(f"{outcome.error}")
            answered.append(not outcome.error.reason)
            if not outcome.error.reason:
                _check_classes(soak, image, outcome.response)


async def stream(soak: Soak) -> None:
    """Send some requests in a stream; now and then disconnect in its middle."""
    model, images = soak.reloaded, soak.some(STREAM)
    entry = Entry("stream", "ModelStreamInfer", model.name, 1, frozenset({CANCELLED}))
    read = soak.dice.choice((STREAM, STREAM, STREAM, soak.dice.randrange(STREAM)))
    soak.ledger.begin(entry, STREAM, carried=1)
    call = soak.inference.ModelStreamInfer(model.request([image]) for image in images)
    for number, image in enumerate(images[:read]):
        answer = await _next_of_stream(call)
        # The server has ended the stream, and with it all requests without an answer.
        if not isinstance(answer, pb.ModelStreamInferResponse):
            code, told = answer
            ended = replace(entry, may_end=frozenset())
            soak.ledger.end(ended, code, fault=told, local=True, count=STREAM - number)
            return
        _end_of_stream(soak, entry, image, answer)
    call.cancel()
    soak.ledger.end(entry, CANCELLED, local=True, count=STREAM - read)


async def _next_of_stream(call: Any) -> pb.ModelStreamInferResponse | tuple[str, str]:
    """Return the next answer of a stream, or the code and the details with which it has ended."""
    try:
        if (answer := await call.read()) is not grpc.aio.EOF:
            return cast(pb.ModelStreamInferResponse, answer)
    # gRPC's client ends the read with one or the other.
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        if not call.done():  # it is the soak that is cancelled
            raise
    return (await call.code()).name, f"the server ended the stream: {await call.details()}"


def _end_of_stream(
    soak: Soak, entry: Entry, image: int, answer: pb.ModelStreamInferResponse
) -> None:
    """Put the end of one request of a stream into the ledger."""
    response, fault = answer.infer_response, ""
    if answer.error_message:
        code = STATUSES[response.parameters["error_reason"].string_param]
        soak.ledger.end(entry, code, has_reason=True, fault=answer.error_message)
        return
    try:
        del response.parameters["triton_final_response"]
        soak.reloaded.check([image], 0, response)
    except ValueError as error:
        fault = str(error)
    soak.ledger.end(entry, OK, fault=fault)


async def http(soak: Soak) -> None:
    """Send JSON over a connection of its own, a few times; now and then hang up."""
    entry = Entry("http", "ModelInfer", soak.reloaded.name, 1, frozenset({CANCELLED}))
    async with Connection(soak.url) as connection:
        for image in soak.some(5):
            await _ask(soak, entry, connection, _json(image), image)
        soak.ledger.begin(entry, carried=0)
        await connection.send(request("POST", _infer_route(soak), _json(0)))
        soak.ledger.end(entry, CANCELLED, local=True)


async def bad_http(soak: Soak) -> None:
    """Send JSON that is cut somewhere."""
    body = _json(0)
    async with Connection(soak.url) as connection:
        for _ in range(5):
            cut = body[: soak.dice.randrange(len(body))]
            await _ask(soak, Entry("bad http", "ModelInfer"), connection, cut)


async def bad(soak: Soak) -> None:
    """Send a mutated image or message."""
    case = next(soak.mutants)
    method: Callable[..., Awaitable[bytes]] = soak.channel.unary_unary(case.path)
    # A mutant may state a deadline of its own in its parameters.
    may_end = frozenset({EXPIRED})
    with soak.ledger.call(Entry("bad", case.path.rpartition("/")[2], may_end=may_end)):
        await method(case.message)


async def leave(soak: Soak) -> None:
    """Cancel a call some milliseconds after it began."""
    (image,) = soak.some()
    stub = classifier_pb2_grpc.ClassifierServiceStub(soak.hasty)
    may_end = soak.leaving(CANCELLED)
    with soak.ledger.call(Entry("leave", "Classify", soak.reloaded.name, 1, may_end)):
        call = stub.Classify(_classify_request(soak, image))
        left_after_s = soak.dice.uniform(0, LONGEST_CANCEL_S)
        asyncio.get_running_loop().call_later(left_after_s, call.cancel)
        try:
            _check_classes(soak, image, await call)
        except asyncio.CancelledError:
            # It is the call's: told as every other end is.
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata()
            ) from None


async def hurry(soak: Soak) -> None:
    """Give the server 0.3 to 20 ms only."""
    (image,) = soak.some()
    stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(soak.hasty)
    may_end = soak.leaving(EXPIRED)
    with soak.ledger.call(Entry("hurry", "ModelInfer", soak.reloaded.name, 1, may_end)):
        timeout_s = soak.dice.uniform(0.0003, 0.02)
        answer = await stub.ModelInfer(soak.reloaded.request([image]), timeout=timeout_s)
        soak.reloaded.check([image], 0, answer)


async def burst(soak: Soak) -> None:
    """Send more at once than the queue takes."""
    entry = Entry("burst", "ModelInfer", soak.reloaded.name, 1)

    async def one(image: int) -> None:
        with soak.ledger.call(entry):
            answer = await soak.inference.ModelInfer(soak.reloaded.request([image]))
            soak.reloaded.check([image], 0, answer)

    await asyncio.gather(*(one(image) for image in soak.some(BURST)))


async def reload(soak: Soak) -> None:
    """Load other versions of the model that is asked; unload the other model and load it again."""
    load, unload = Entry("reload", "RepositoryModelLoad"), Entry("reload", "RepositoryModelUnload")
    for versions in ([1], [1, 2], [2], [1, 2]):
        asked = pb.RepositoryModelLoadRequest(model_name=soak.reloaded.name)
        policy = {"version_policy": {"specific": {"versions": versions}}}
        asked.parameters["config"].string_param = json.dumps(policy)
        with soak.ledger.call(load):
            await soak.inference.RepositoryModelLoad(asked)
        name = soak.other.name
        with soak.ledger.call(unload):
            gone = pb.RepositoryModelUnloadRequest(model_name=name)
            await soak.inference.RepositoryModelUnload(gone)
        with soak.ledger.call(load):
            back = pb.RepositoryModelLoadRequest(model_name=name)
            await soak.inference.RepositoryModelLoad(back)


async def look(soak: Soak) -> None:
    """Read the server's metadata and statistics."""
    with soak.ledger.call(Entry("look", "RepositoryIndex")):
        await soak.inference.RepositoryIndex(pb.RepositoryIndexRequest())
    with soak.ledger.call(Entry("look", "ModelStatistics")):
        await soak.inference.ModelStatistics(pb.ModelStatisticsRequest())


async def die(soak: Soak) -> None:
    """Let a process ask for a while, then kill it."""
    entry = Entry("die", "ModelInfer", may_end=frozenset({CANCELLED}))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak.victim", soak.address),
        stdout=asyncio.subprocess.PIPE,
        process_group=0,
    )
    assert process.stdout is not None
    told = b""
    try:
        told = await process.stdout.read(1)  # the time until its first call varies
        await asyncio.sleep(soak.dice.uniform(0.1, 2))
    finally:
        process.send_signal(signal.SIGKILL)
        rest, _ = await process.communicate()
        told += rest
        counts = {code: told.count(letter) for code, letter in OF_VICTIM.items()}
        sent = told.count(b"s")
        soak.ledger.begin(entry, sent)
        for code, count in counts.items():
            soak.ledger.end(entry, code, has_reason=True, count=count)
        killed = sent - sum(counts.values())
        soak.ledger.end(entry, CANCELLED, local=True, count=killed)


OF_VICTIM = {OK: b"a", "RESOURCE_EXHAUSTED": b"r", "UNKNOWN": b"f"}
"""The letter that a process writes for each end of a call."""


async def pause(soak: Soak) -> None:
    """Stop the server's processes for a moment, as a throttled container does."""
    processes = soak.processes()
    for process in processes:
        process.suspend()
    try:
        await asyncio.sleep(PAUSE_S)
    finally:
        for process in processes:
            process.resume()


CLIENTS: dict[Client, tuple[int, float]] = {
    infer: (2, 0.02),
    classify: (2, 0.03),
    classify_batch: (1, 0.05),
    stream: (1, 0.1),
    http: (1, 0.1),
    bad_http: (1, 0.1),
    bad: (2, 0.03),
    leave: (1, 0.05),
    hurry: (2, 0.05),
    burst: (1, 2.0),
    reload: (1, 0.3),
    ask_other: (1, 0.02),
    look: (1, 0.2),
    die: (1, 2.0),
    pause: (1, 2.0),
}
"""Each kind: how many of it are at work at once, and how many seconds each rests."""


def _encoded(image: int) -> bytes:
    return encode(Image.fromarray(IMAGES[image, :, :, 0]))


def _classify_request(soak: Soak, image: int) -> classifier_pb2.ClassifyRequest:
    """A request of an encoded image."""
    return classifier_pb2.ClassifyRequest(
        model=soak.reloaded.name, image=_encoded(image), top_k=TOP_K
    )


def _check_classes(soak: Soak, image: int, answer: classifier_pb2.ClassifyResponse) -> None:
    """
    See that an answer holds the best classes of the version that gave it.

    Raises:
        ValueError: If it does not.
    """
    right = soak.reloaded.scores[int(answer.model_version) - 1][image]
    best = np.argsort(-right, kind="stable")[:TOP_K]
    expected = [(int(index), float(right[index])) for index in best]
    if expected != [(one.class_index, one.probability) for one in answer.predictions]:
        raise ValueError(f"image {image}: {answer}")


def _infer_route(soak: Soak) -> str:
    return f"/v2/models/{soak.reloaded.name}/infer"


def _json(image: int) -> bytes:
    """A request of raw pixels as JSON."""
    pixels = IMAGES[[image]]
    tensor = {"name": "image", "datatype": "UINT8", "shape": pixels.shape, "data": pixels.tolist()}
    return json.dumps({"inputs": [tensor]}).encode()


async def _ask(
    soak: Soak, entry: Entry, connection: Connection, body: bytes, image: int = -1
) -> None:
    """Send one request over HTTP and put its end into the ledger."""
    soak.ledger.begin(entry, carried=0)
    try:
        answer = await connection.ask("POST", _infer_route(soak), body)
    except (OSError, EOFError, TimeoutError) as error:
        soak.ledger.end(entry, LOST, fault=repr(error))
        raise
    told = answer.json()
    if answer.status != 200:
        soak.ledger.end(entry, told["status"], has_reason="reason" in told, fault=told["error"])
        return
    found = np.array(told["outputs"][0]["data"], np.float32).reshape(-1, CLASSES)
    right = any(np.array_equal(scores[[image]], found) for scores in soak.reloaded.scores)
    soak.ledger.end(entry, OK, fault="" if right and image >= 0 else f"image {image}: {told}")
