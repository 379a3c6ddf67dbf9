"""The kinds of client that a soak mixes: correct ones, faulty ones, and some that disconnect.

A client does one thing and returns; the soak calls it again. What it sent, and how that ended, is
in the ledger when it returns.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from PIL import Image

from convoy.artifact.files import read_artifact
from convoy.pb.convoy.v1 import classifier_pb2, classifier_pb2_grpc
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from tests.fuzz.campaign import Case, image_cases, request_cases
from tests.fuzz.seeds import MODEL
from tests.harness.http import Connection, request
from tests.harness.images import encode
from tests.harness.lenet import LENET
from tests.soak.ledger import OF_HTTP, Ledger, Outcome

OTHER = "other"
"""A second model, which comes and goes."""

STREAM = 20
BURST = 300
"""Requests of a stream, and of a burst: more than the queue takes."""

REST_S = 0.02
"""Time that strange clients rest, so that most requests are sound ones."""

HTTP_INFER = f"/v2/models/{MODEL}/infer"

MUTATED = ("/Classify", "/ClassifyBatch", "/ModelInfer")
"""Methods whose messages are mutated: the others would change what the server serves."""


@dataclass(slots=True)
class Soak:
    """
    The state that all clients share.

    Attributes:
        dice: Decides what they do.
        images: Pixels `[1, H, W, C]` that are asked for.
        classes: What the model answers to each.
    """

    ledger: Ledger
    address: str
    url: str
    channel: grpc.aio.Channel
    dice: random.Random
    images: list[np.ndarray] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    mutants: Iterator[Case] = field(init=False)

    def __post_init__(self) -> None:
        golden = read_artifact(LENET).golden
        self.images = [image[np.newaxis] for image in golden.images]
        self.classes = golden.logits.argmax(axis=1).tolist()
        self.mutants = self._mutants()

    @property
    def classifier(self) -> Any:
        """Stub of our own service."""
        return classifier_pb2_grpc.ClassifierServiceStub(self.channel)

    @property
    def inference(self) -> Any:
        """Stub of the Open Inference Protocol."""
        return grpc_service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    def _mutants(self) -> Iterator[Case]:
        kinds = image_cases(1), request_cases(1)
        while True:
            case = next(self.dice.choice(kinds))
            if case.path.endswith(MUTATED):
                yield case


Client = Callable[[Soak], Awaitable[None]]


async def infer(soak: Soak) -> None:
    """Send raw pixels."""
    which = soak.dice.randrange(len(soak.images))
    with soak.ledger.request("infer", "ModelInfer"):
        check(soak, which, await soak.inference.ModelInfer(infer_request(soak, which)))


async def classify(soak: Soak) -> None:
    """Send an encoded image."""
    with soak.ledger.request("classify", "Classify"):
        answer = await soak.classifier.Classify(classify_request(soak))
        if len(answer.predictions) != 3:
            raise ValueError(f"{len(answer.predictions)} predictions")


async def classify_batch(soak: Soak) -> None:
    """Send several images at once, one of them invalid."""
    images = [classify_request(soak).image, b"no image", classify_request(soak).image]
    batch = classifier_pb2.ClassifyBatchRequest(model=MODEL, images=images)
    with soak.ledger.request("batch", "ClassifyBatch"):
        outcomes = (await soak.classifier.ClassifyBatch(batch)).outcomes
        reasons = [outcome.error.reason for outcome in outcomes]
        expected = ("", "INVALID_IMAGE", "")
        if not all(
            one in (right, "QUEUE_FULL") for one, right in zip(reasons, expected, strict=True)
        ):
            raise ValueError(f"outcomes {reasons}")


async def stream(soak: Soak) -> None:
    """Send some requests in a stream; now and then disconnect in its middle."""
    asked = [soak.dice.randrange(len(soak.images)) for _ in range(STREAM)]
    leaves_after = soak.dice.choice((STREAM, STREAM, STREAM, soak.dice.randrange(STREAM)))
    soak.ledger.sent["stream", "ModelStreamInfer"] += STREAM
    left = STREAM
    try:
        call = soak.inference.ModelStreamInfer(infer_request(soak, which) for which in asked)
        for which in asked[:leaves_after]:
            answer = await call.read()
            if answer.error_message:
                soak.ledger.end("stream", "ModelStreamInfer", Outcome.REFUSED)
            else:
                check(soak, which, answer.infer_response)
                soak.ledger.end("stream", "ModelStreamInfer", Outcome.ANSWERED)
            left -= 1
        call.cancel()
    except (grpc.aio.AioRpcError, ValueError) as error:
        soak.ledger.end("stream", "ModelStreamInfer", Outcome.FAILED, repr(error))
        left -= 1
    finally:
        soak.ledger.end("stream", "ModelStreamInfer", Outcome.CANCELLED, count=left)


async def http(soak: Soak) -> None:
    """Send JSON over a connection of its own, a few times; now and then hang up."""
    async with Connection(soak.url) as connection:
        for _ in range(20):
            which = soak.dice.randrange(len(soak.images))
            await http_ask(soak, connection, "http", json_body(soak, which), soak.classes[which])
        soak.ledger.sent["http", "ModelInfer"] += 1
        await connection.send(request("POST", HTTP_INFER, json_body(soak, 0)))
        soak.ledger.end("http", "ModelInfer", Outcome.CANCELLED)


async def bad_http(soak: Soak) -> None:
    """Send JSON that is cut somewhere."""
    body = json_body(soak, 0)
    async with Connection(soak.url) as connection:
        for _ in range(20):
            await http_ask(soak, connection, "bad http", body[: soak.dice.randrange(len(body))])
            await asyncio.sleep(REST_S)


async def bad(soak: Soak) -> None:
    """Send a mutated image or message."""
    case = next(soak.mutants)
    method: Callable[..., Awaitable[bytes]] = soak.channel.unary_unary(case.path)
    with soak.ledger.request("bad", case.path.rpartition("/")[2]):
        await method(case.message)


async def leave(soak: Soak) -> None:
    """Cancel a call some milliseconds after it began."""
    with soak.ledger.request("leave", "Classify"):
        call = soak.classifier.Classify(classify_request(soak))
        asyncio.get_running_loop().call_later(soak.dice.uniform(0, 0.05), call.cancel)
        try:
            await call
        except asyncio.CancelledError:
            # It is the call's: told as every other outcome is.
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata()
            ) from None
    await asyncio.sleep(REST_S)


async def hurry(soak: Soak) -> None:
    """Give the server a few milliseconds only."""
    which = soak.dice.randrange(len(soak.images))
    with soak.ledger.request("hurry", "ModelInfer"):
        timeout = soak.dice.uniform(0.0005, 0.1)
        answer = await soak.inference.ModelInfer(infer_request(soak, which), timeout=timeout)
        check(soak, which, answer)
    await asyncio.sleep(REST_S)


async def burst(soak: Soak) -> None:
    """Send more at once than the queue takes, then rest."""

    async def one(which: int) -> None:
        with soak.ledger.request("burst", "ModelInfer"):
            check(soak, which, await soak.inference.ModelInfer(infer_request(soak, which)))

    await asyncio.gather(*(one(number % len(soak.images)) for number in range(BURST)))
    await asyncio.sleep(0.5)


async def reload(soak: Soak) -> None:
    """Load another version of the model that is asked; unload the other model and load it again."""
    for version in (1, 2):
        asked = pb.RepositoryModelLoadRequest(model_name=MODEL)
        policy = {"version_policy": {"specific": {"versions": [version]}}}
        asked.parameters["config"].string_param = json.dumps(policy)
        with soak.ledger.request("reload", "RepositoryModelLoad"):
            await soak.inference.RepositoryModelLoad(asked)
        with soak.ledger.request("reload", "RepositoryModelUnload"):
            await soak.inference.RepositoryModelUnload(
                pb.RepositoryModelUnloadRequest(model_name=OTHER)
            )
        with soak.ledger.request("reload", "RepositoryModelLoad"):
            await soak.inference.RepositoryModelLoad(
                pb.RepositoryModelLoadRequest(model_name=OTHER)
            )
        await asyncio.sleep(0.5)


async def ask_other(soak: Soak) -> None:
    """Ask the model that comes and goes."""
    which = soak.dice.randrange(len(soak.images))
    asked = infer_request(soak, which)
    asked.model_name = OTHER
    with soak.ledger.request("other model", "ModelInfer"):
        check(soak, which, await soak.inference.ModelInfer(asked))
    await asyncio.sleep(0.01)


async def look(soak: Soak) -> None:
    """Read the server's metadata, statistics and metrics."""
    with soak.ledger.request("look", "RepositoryIndex"):
        await soak.inference.RepositoryIndex(pb.RepositoryIndexRequest())
    with soak.ledger.request("look", "ModelStatistics"):
        await soak.inference.ModelStatistics(pb.ModelStatisticsRequest())
    await asyncio.sleep(0.2)


async def die(soak: Soak) -> None:
    """Let a process ask for a while, then kill it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak.victim", soak.address),
        stdout=asyncio.subprocess.PIPE,
        process_group=0,
    )
    try:
        await asyncio.sleep(soak.dice.uniform(2, 6))
    finally:
        process.send_signal(signal.SIGKILL)
        told, _ = await process.communicate()
        ended = {Outcome.ANSWERED: b"a", Outcome.REFUSED: b"r", Outcome.FAILED: b"f"}
        counts = {outcome: told.count(letter) for outcome, letter in ended.items()}
        sent = told.count(b"s")
        counts[Outcome.CANCELLED] = sent - sum(counts.values())
        soak.ledger.sent["die", "ModelInfer"] += sent
        for outcome, count in counts.items():
            soak.ledger.end("die", "ModelInfer", outcome, "in the process", count)
    await asyncio.sleep(2)


CLIENTS: dict[Client, int] = {
    infer: 8,
    classify: 4,
    classify_batch: 1,
    stream: 2,
    http: 1,
    bad_http: 1,
    bad: 4,
    leave: 2,
    hurry: 2,
    burst: 1,
    reload: 1,
    ask_other: 1,
    look: 1,
    die: 1,
}
"""Each kind, and how many of it are at work at once."""


def infer_request(soak: Soak, which: int) -> pb.ModelInferRequest:
    """A request of raw pixels."""
    image = soak.images[which]
    asked = pb.ModelInferRequest(model_name=MODEL)
    asked.inputs.add(name="image", datatype="UINT8", shape=image.shape)
    asked.raw_input_contents.append(image.tobytes())
    return asked


def classify_request(soak: Soak) -> classifier_pb2.ClassifyRequest:
    """A request of an encoded image."""
    image = encode(Image.fromarray(soak.dice.choice(soak.images)[0, :, :, 0]))
    return classifier_pb2.ClassifyRequest(model=MODEL, image=image, top_k=3)


def json_body(soak: Soak, which: int) -> bytes:
    """A request of raw pixels as JSON."""
    image = soak.images[which]
    tensor = {"name": "image", "datatype": "UINT8", "shape": image.shape, "data": image.tolist()}
    return json.dumps({"inputs": [tensor], "outputs": [{"name": "logits"}]}).encode()


def check(soak: Soak, which: int, answer: pb.ModelInferResponse) -> None:
    """
    See that an answer is the one to this image.

    Raises:
        ValueError: If it is not.
    """
    logits = np.frombuffer(answer.raw_output_contents[0], np.float32)
    if logits.argmax() != soak.classes[which]:
        raise ValueError(f"class {logits.argmax()}, not {soak.classes[which]}")


async def http_ask(
    soak: Soak, connection: Connection, kind: str, body: bytes, expected: int | None = None
) -> None:
    """Send one request over HTTP and put its outcome into the ledger."""
    soak.ledger.sent[kind, "ModelInfer"] += 1
    outcome, why = Outcome.CANCELLED, ""
    try:
        answer = await connection.ask("POST", HTTP_INFER, body)
        outcome = OF_HTTP.get(answer.status, Outcome.FAILED)
        why = f"{answer.status} {answer.body[:100]!r}"
        if outcome is Outcome.ANSWERED:
            logits = answer.json()["outputs"][0]["data"]
            if expected != int(np.argmax(logits)):
                outcome, why = Outcome.FAILED, f"class {np.argmax(logits)}, not {expected}"
    except (OSError, EOFError, TimeoutError) as error:
        outcome, why = Outcome.FAILED, repr(error)
        raise
    finally:
        soak.ledger.end(kind, "ModelInfer", outcome, why)
