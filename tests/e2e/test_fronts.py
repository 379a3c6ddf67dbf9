"""A real server with front processes: what it survives, and whose answers it gives to whom."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import socket
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

from convoy.pb.convoy.v1 import classifier_pb2_grpc
from convoy.pb.convoy.v1.classifier_pb2 import ClassifyBatchRequest
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from convoy.service.security.tokens import Token
from tests.harness import echo
from tests.harness.http2 import Http2Connection
from tests.harness.images import encode
from tests.harness.server_process import ServerProcess

OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)

WAITING = ("--max-queue-delay-ms", "60000")
"""Requests wait until they fill a batch: none of a test that sends fewer is answered."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the model that echoes pixels."""
    root = tmp_path / "repository"
    echo.write(root)
    return root


@pytest.fixture
def waiting(repository: Path) -> Iterator[ServerProcess]:
    """A server with two fronts, in which requests wait for a full batch."""
    with ServerProcess(repository, "--front-processes", "2", *WAITING) as server:
        yield server


@pytest.fixture
def server(repository: Path) -> Iterator[ServerProcess]:
    """A server with two fronts."""
    with ServerProcess(repository, "--front-processes", "2") as server:
        yield server


def fronts(server: ServerProcess) -> list[psutil.Process]:
    """Return the front processes that run."""
    return psutil.Process(server.process.pid).children()


def connect(server: ServerProcess) -> grpc.aio.Channel:
    """Open a connection of its own: it leads to one of the fronts."""
    return grpc.aio.insecure_channel(server.address, OWN_CONNECTION)


def request(identity: int, *, encoded: bool = False) -> pb.ModelInferRequest:
    """Return a request with the image of *identity*, as a tensor or as a PNG."""
    image = echo.image(identity)
    made = pb.ModelInferRequest(model_name="echo")
    raw = image.tobytes()
    made.inputs.add(name="image", datatype="UINT8", shape=image.shape)
    if encoded:
        data = encode(Image.fromarray(image[0, :, :, 0]))
        raw = len(data).to_bytes(4, "little") + data
        made.inputs[0].datatype, made.inputs[0].shape[:] = "BYTES", [1]
    made.raw_input_contents.append(raw)
    return made


def check(response: pb.ModelInferResponse, identity: int) -> None:
    """Check that a response answers the image of *identity*."""
    values = np.frombuffer(response.raw_output_contents[0], np.float32).reshape(1, -1)
    np.testing.assert_array_equal(values, echo.logits(echo.image(identity)))


async def infer(server: ServerProcess, identity: int, **fields: Any) -> None:
    """Send one request over a connection of its own, and check its answer."""
    async with connect(server) as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        check(await stub.ModelInfer(request(identity, **fields), timeout=60), identity)


async def status(call: Any) -> grpc.StatusCode:
    """Return the status with which *call* ends."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def sample(server: ServerProcess, name: str) -> float:
    """Return the sum of a metric's series."""
    lines = (line.split() for line in server.get("/metrics").splitlines())
    return sum(float(line[-1]) for line in lines if line[0].partition("{")[0] == name)


def refusals(server: ServerProcess) -> set[tuple[object, object]]:
    """Return method and reason of the calls that the log reports as failed."""
    return {(line["method"], line["reason"]) for line in server.find("request")}


def http_status(url: str) -> int:
    """Return the status of an answer over HTTP."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


async def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait until *condition* holds."""
    async with asyncio.timeout(timeout_s):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - another process changes
            await asyncio.sleep(0.02)


Calls = list[tuple[Any, grpc.aio.Channel]]


def begin_calls(server: ServerProcess, count: int) -> Calls:
    """Begin calls, each over a connection of its own, so that both fronts get some."""
    calls = []
    for identity in range(count):
        channel = connect(server)
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls.append((stub.ModelInfer(request(identity), timeout=100), channel))
    return calls


async def close_all(calls: Calls) -> None:
    for _, channel in calls:
        await channel.close()


async def test_killed_front(waiting: ServerProcess) -> None:
    """
    A front that is killed takes its own calls along; the others are answered, it is replaced, and
    nothing of its requests is left.
    """
    count = echo.MAX_BATCH_SIZE // 2
    calls = begin_calls(waiting, count)
    await until(lambda: sample(waiting, "convoy_queue_depth") == count)
    fronts(waiting)[0].kill()
    await until(lambda: sample(waiting, "convoy_front_restarts_total") == 1)
    await until(lambda: sample(waiting, "convoy_front_up") == 2)
    left = int(sample(waiting, "convoy_queue_depth"))
    assert 0 < left < count
    # They fill the batch of those that are left.
    calls += begin_calls(waiting, echo.MAX_BATCH_SIZE - left)
    ends = Counter([await status(call) for call, _ in calls])
    lost = count - left
    assert ends == {
        grpc.StatusCode.OK: echo.MAX_BATCH_SIZE,
        grpc.StatusCode.UNAVAILABLE: lost,
    }
    for name in ("convoy_calls_in_flight", "convoy_queue_depth", "convoy_front_calls_in_flight"):
        assert sample(waiting, name) == 0
    # Each call is counted, however it ended.
    for name in ("convoy_requests_total", "convoy_request_duration_seconds_count"):
        assert sample(waiting, name) == echo.MAX_BATCH_SIZE + lost
    await close_all(calls)


async def test_killed_front_with_several_images(repository: Path) -> None:
    """
    A call of several images that ends with its front is counted once.
    """
    with ServerProcess(repository, "--front-processes", "1", *WAITING) as server:
        images = [encode(Image.fromarray(echo.image(n)[0, :, :, 0])) for n in range(3)]
        async with connect(server) as channel:
            stub = classifier_pb2_grpc.ClassifierServiceStub(channel)
            call = stub.ClassifyBatch(ClassifyBatchRequest(model="echo", images=images))
            await until(lambda: sample(server, "convoy_queue_depth") == 3)
            fronts(server)[0].kill()
            assert await status(call) is grpc.StatusCode.UNAVAILABLE
        await until(lambda: sample(server, "convoy_front_restarts_total") == 1)
        assert sample(server, "convoy_requests_total") == 1


async def test_killed_engine(waiting: ServerProcess) -> None:
    """
    Calls in flight fail with UNAVAILABLE when the engine is killed, and the fronts end.
    """
    calls = begin_calls(waiting, 4)
    await until(lambda: sample(waiting, "convoy_queue_depth") == 4)
    left = fronts(waiting)
    waiting.process.kill()
    assert {await status(call) for call, _ in calls} == {grpc.StatusCode.UNAVAILABLE}
    _, alive = await asyncio.to_thread(psutil.wait_procs, left, 20)
    assert not alive
    await close_all(calls)


async def test_front_that_stands_still(server: ServerProcess) -> None:
    """
    A front that stands still holds up neither the others nor the metrics, and is replaced.
    """
    fronts(server)[0].suspend()
    answered = 0
    # Some connections lead to the front that stands still.
    for identity in range(6):
        async with connect(server) as channel:
            stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            ended = await status(stub.ModelInfer(request(identity), timeout=1))
            answered += ended is grpc.StatusCode.OK
    assert answered > 0
    await until(lambda: sample(server, "convoy_front_restarts_total") == 1)
    await until(lambda: sample(server, "convoy_front_up") == 2)
    for identity in range(8):
        await infer(server, identity)


async def test_drain(repository: Path) -> None:
    """
    SIGTERM to every process, as service managers send it, loses no call.
    """
    options = (
        "--front-processes",
        "2",
        "--shutdown-grace-s",
        "0.2",
        "--max-queue-delay-ms",
        "5000",
    )
    with ServerProcess(repository, *options) as server:
        calls = begin_calls(server, 6)
        await until(lambda: sample(server, "convoy_queue_depth") == 6)
        for process in [*fronts(server), psutil.Process(server.process.pid)]:
            process.send_signal(signal.SIGTERM)
        for identity, (call, _) in enumerate(calls):
            check(await call, identity)
        await close_all(calls)
        assert await asyncio.to_thread(server.wait) == 0
        assert not server.find("cutting off the calls that are still in flight")


async def test_open_streams_do_not_hold_the_end(server: ServerProcess) -> None:
    """
    Ctrl-C ends a stream of health, which a front forwards, and the server ends soon.
    """
    async with connect(server) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        answer = await watch.read()
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        left = fronts(server)
        started = time.monotonic()
        assert await asyncio.to_thread(server.stop) == 0
        # A grace period that a stream holds up would last five seconds.
        assert time.monotonic() - started < 5
        while (answer := await watch.read()) is not grpc.aio.EOF:
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert not any(process.is_running() for process in left)


async def test_no_front(server: ServerProcess) -> None:
    """
    Without any front the server is not ready, as no call reaches it; it is when one is replaced.
    """
    ready = f"{server.url}/v2/health/ready"
    for front in fronts(server):
        front.kill()
    await until(lambda: http_status(ready) == 503)
    await until(lambda: http_status(ready) == 200)
    await infer(server, 1)


async def test_no_place_for_the_socket(repository: Path, tmp_path: Path) -> None:
    """
    A temporary folder with a name that is too long for a socket is one line, with the remedy.
    """
    folder = tmp_path / ("d" * 100)
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder)}  # noqa: TID251 - it needs the usual ones
    server = ServerProcess(repository, "--front-processes", "1", environment=environment)
    assert await asyncio.to_thread(server.wait) == 1
    assert "set TMPDIR" in str(server.log[-1]["message"])
    # Nothing is left.
    assert not list(folder.iterdir())


class Protected:
    """The files of a server with TLS and tokens, and what a client needs."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        self.certificate, self.key, self.tokens = (
            folder / name for name in ("tls.crt", "tls.key", "tokens")
        )
        self.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key)
        record, token = Token.make("someone", ["infer"])
        self.tokens.write_text(record.line)
        self.tokens.chmod(0o600)
        self.credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        self.metadata = (("authorization", f"Bearer {token}"),)

    @property
    def options(self) -> list[str]:
        """Return the options of the server."""
        return [
            f"--tls-certificate={self.certificate}",
            f"--tls-key={self.key}",
            f"--token-file={self.tokens}",
        ]


async def test_tls_and_tokens(repository: Path, tmp_path: Path) -> None:
    """
    Fronts speak TLS and check tokens, of calls that they answer and of those that they forward.
    """
    protected = Protected(tmp_path)
    with ServerProcess(repository, "--front-processes", "2", *protected.options) as server:
        async with grpc.aio.secure_channel(server.address, protected.credentials) as channel:
            stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            known = protected.metadata
            check(await stub.ModelInfer(request(7), metadata=known), 7)
            metadata = pb.ModelMetadataRequest(name="echo")
            assert (await stub.ModelMetadata(metadata, metadata=known)).name == "echo"
            refused = [stub.ModelInfer(request(7)), stub.ModelMetadata(metadata)]
            assert {await status(call) for call in refused} == {grpc.StatusCode.UNAUTHENTICATED}
            index = stub.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=known)
            assert await status(index) is grpc.StatusCode.PERMISSION_DENIED
        # As in one process, each of them is counted and logged.
        await until(lambda: len(refusals(server)) == 3)
        assert refusals(server) == {
            ("ModelInfer", "UNAUTHENTICATED"),
            ("ModelMetadata", "UNAUTHENTICATED"),
            ("RepositoryIndex", "PERMISSION_DENIED"),
        }


async def test_new_front_with_damaged_files(repository: Path, tmp_path: Path) -> None:
    """
    A front that is replaced while its files are damaged uses the contents that the others use.
    """
    protected = Protected(tmp_path)
    with ServerProcess(repository, "--front-processes", "1", *protected.options) as server:
        for file in (protected.certificate, protected.key, protected.tokens):
            file.write_text("half of a")
        fronts(server)[0].kill()
        async with grpc.aio.secure_channel(server.address, protected.credentials) as channel:
            stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            answer = stub.ModelInfer(
                request(7), metadata=protected.metadata, wait_for_ready=True, timeout=30
            )
            check(await answer, 7)


async def test_messages_that_do_not_arrive(repository: Path) -> None:
    """
    Calls that a front forwards are ended, too, if their message is not there in time.
    """
    options = ("--front-processes", "1", "--grpc-message-timeout-s", "1")
    with ServerProcess(repository, *options) as server:
        async with Http2Connection(server.address) as connection:
            for path in (
                "/convoy.v1.ClassifierService/ListModels",
                "/grpc.health.v1.Health/Check",
                "/grpc.health.v1.Health/Watch",
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            ):
                await connection.send_part_of_message(path, 2**20)
            await until(lambda: len(connection.ended) == 4, timeout_s=20)
        assert refusals(server) == {("ListModels", "REQUEST_TOO_SLOW")}
        assert sample(server, "convoy_rejected_total") == 1
        await infer(server, 1)


async def test_forwarded_calls_are_counted_once(server: ServerProcess) -> None:
    """
    The transport's counter counts a call that a front forwards once.
    """
    async with connect(server) as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(3):
            await stub.ServerLive(pb.ServerLiveRequest())
    await until(lambda: sample(server, "convoy_transport_calls_total") >= 3)
    await asyncio.sleep(1.5)  # an idle server looks once a second
    assert sample(server, "convoy_transport_calls_total") == 3


async def test_last_predictions(repository: Path, tmp_path: Path) -> None:
    """
    Predictions are logged to the last, although the collector of traces does not answer.
    """
    log = tmp_path / "log"
    options = ("--prediction-log", str(log), "--prediction-log-share", "1", "--traces", "calls")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        collector = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {
            **os.environ,  # noqa: TID251 - it needs the usual ones
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
        }
        with ServerProcess(
            repository, "--front-processes", "1", *options, environment=environment
        ) as server:
            await infer(server, 1)
            assert await asyncio.to_thread(server.stop) == 0
    assert list(log.rglob("part-*"))


async def test_names_of_modules_in_the_working_directory(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A file in the folder from which the server is started hides no module from its fronts.
    """
    (tmp_path / "grpc.py").write_text("raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    program = ("-P", "-m", "convoy")
    with ServerProcess(repository, "--front-processes", "1", program=program) as server:
        await infer(server, 1)


async def keep_asking(
    server: ServerProcess, identities: Iterator[int], ends: Counter[str], until_s: float
) -> None:
    """Send requests over one connection after the other, cancel some, and check every answer."""
    while time.monotonic() < until_s:
        async with connect(server) as channel:
            stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            for _ in range(random.randrange(1, 60)):
                identity = next(identities)
                made = request(identity, encoded=random.random() < 0.3)
                call = stub.ModelInfer(made, timeout=20, wait_for_ready=True)
                if random.random() < 0.1:
                    await asyncio.sleep(random.random() * 0.01)
                    call.cancel()
                try:
                    check(await call, identity)
                    ends["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    ends[error.code().name] += 1
                except asyncio.CancelledError:
                    ends["CANCELLED"] += 1


async def keep_killing(server: ServerProcess, until_s: float) -> None:
    """Kill fronts, let others stand still for a moment, and load the model anew."""
    async with connect(server) as channel:
        while time.monotonic() < until_s:
            await asyncio.sleep(random.random())
            # One of them serves at any time.
            if await asyncio.to_thread(sample, server, "convoy_front_up") == 2:
                victim = random.choice(fronts(server))
                with suppress(ProcessLookupError):  # it was killed
                    os.kill(victim.pid, random.choice([signal.SIGKILL, signal.SIGSTOP]))
                    await asyncio.sleep(random.random() * 0.3)
                    os.kill(victim.pid, signal.SIGCONT)
            stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            load = pb.RepositoryModelLoadRequest(model_name="echo")
            await status(stub.RepositoryModelLoad(load, timeout=5))


async def until_healthy(server: ServerProcess) -> None:
    """Check the model's health; ask again if the front is killed meanwhile, or stands still."""
    async with asyncio.timeout(20):
        while True:
            async with connect(server) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                check_model = health_pb2.HealthCheckRequest(service="echo")
                try:
                    answer = await stub.Check(check_model, timeout=1)
                except grpc.aio.AioRpcError as error:
                    lost = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                    assert error.code() in lost  # noqa: PT017 - the other outcome is fine, too
                else:
                    assert answer.status == health_pb2.HealthCheckResponse.SERVING
                    return


@pytest.mark.slow
async def test_no_answer_goes_astray(repository: Path) -> None:
    """
    Under kills, cancellations and reloads, every answer belongs to its image, the server stays
    healthy, and in the end nothing is in use.
    """
    explicit = ["--model-control-mode", "explicit", "--load-model", "*"]
    with ServerProcess(repository, "--front-processes", "2", *explicit) as server:
        until_s, ends, identities = time.monotonic() + 20, Counter[str](), itertools.count(1)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_killing(server, until_s))
            for _ in range(12):
                tasks.create_task(keep_asking(server, identities, ends, until_s))
            while time.monotonic() < until_s:
                await asyncio.sleep(0.5)
                await until_healthy(server)
        assert ends["OK"] > 100, ends
        assert set(ends) <= {"OK", "UNAVAILABLE", "CANCELLED"}, ends
        await until(lambda: sample(server, "convoy_front_up") == 2)
        await until(lambda: sample(server, "convoy_calls_in_flight") == 0)
        assert sample(server, "convoy_queue_depth") == 0
        lines = server.get("/metrics").splitlines()
        arenas = [
            line for line in lines if line.startswith("convoy_front_memory") and "arena" in line
        ]
        assert [float(line.split()[1]) for line in arenas] == [0, 0]
        for identity in range(8):
            await infer(server, identity, encoded=True)
