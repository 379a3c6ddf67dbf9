"""The server as a process: its start, its refusals to start, its end."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from convoy import AsyncClient, ConvoyError
from convoy.pb.convoy.v1 import classifier_pb2, classifier_pb2_grpc
from tests.harness import tiny
from tests.harness.images import png
from tests.harness.server_process import ServerProcess
from tests.harness.transports import TRANSPORTS

REQUEST = classifier_pb2.ClassifyRequest(model="tiny", image=png(3), top_k=1)


@pytest.fixture
def slow_repository(tmp_path: Path) -> Path:
    """A model that takes some milliseconds a batch, so that calls pile up."""
    tiny.write(tmp_path, model=tiny.graph(repeats=20), max_batch_size=4)
    return tmp_path


def run_serve(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a server that is not expected to start."""
    command = [sys.executable, "-m", "convoy", "serve", "--host", "127.0.0.1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def assert_one_clear_line(done: subprocess.CompletedProcess[str], message: str) -> None:
    """Exit code 1, one line at level error, no traceback."""
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    errors = [line for line in lines if line["level"] == "error"]
    assert len(errors) == 1
    assert message in errors[0]["message"]
    assert "traceback" not in errors[0]


class Load:
    """
    Clients that call one after the other until they are refused.

    Attributes:
        outcomes: How often each outcome was seen.
        last_answer: When the last answer came, by `time.monotonic`.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.last_answer = 0.0

    async def client(self, address: str) -> None:
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(address, options) as channel:
            stub = classifier_pb2_grpc.ClassifierServiceStub(channel)
            while True:
                try:
                    answer = await stub.Classify(REQUEST)
                except grpc.aio.AioRpcError as error:
                    reason = dict(error.trailing_metadata() or ()).get("error-reason")
                    self.outcomes[str(reason or f"{error.code().name}: {error.details()}")] += 1
                    return
                assert answer.predictions[0].class_index == tiny.answer(3)
                self.outcomes["answered"] += 1
                self.last_answer = time.monotonic()


async def watch(address: str) -> list[int]:
    """Hold a Watch open until the server ends it; returns what it said."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        return [answer.status async for answer in call]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_sigterm_under_load_loses_nothing(slow_repository: Path, transport: str) -> None:
    """
    With calls in flight and a Watch held open, each accepted call is answered, each other one
    refused with a reason, and the process ends by itself with code 0, soon after.
    """
    load = Load()
    options = ("--transport", transport, "--shutdown-grace-s", "0.5")
    with ServerProcess(slow_repository, *options) as server:
        watching = asyncio.create_task(watch(server.address))
        clients = [asyncio.create_task(load.client(server.address)) for _ in range(24)]
        async with asyncio.timeout(20):
            while load.outcomes["answered"] < 100:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        answered_before = load.outcomes["answered"]
        server.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*clients)
        code = await asyncio.to_thread(server.wait, 10)
        ended = time.monotonic()
        statuses = await watching
    assert set(load.outcomes) == {"answered", "SHUTTING_DOWN"}
    assert load.outcomes["SHUTTING_DOWN"] == 24
    assert load.outcomes["answered"] > answered_before
    assert code == 0
    assert ended - load.last_answer < 1.0
    serving = health_pb2.HealthCheckResponse
    assert statuses == [serving.SERVING, serving.NOT_SERVING]
    messages = [line["message"] for line in server.log if line["message"] != "request"]
    assert messages[-3:] == ["not ready, still serving", "refusing new calls", "stopped"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_late_calls_are_unavailable(slow_repository: Path, transport: str) -> None:
    """
    Clients that send calls until the end get answers, and then only UNAVAILABLE.
    """
    codes: Counter[str] = Counter()

    async def ask_on(address: str) -> None:
        async with AsyncClient(address) as client:
            while True:
                try:
                    await client.classify(png(3), model="tiny")
                    codes["OK"] += 1
                except ConvoyError as error:
                    codes[error.code] += 1
                    if "cannot reach" in error.message:
                        return

    with ServerProcess(slow_repository, "--transport", transport) as server:
        clients = [asyncio.create_task(ask_on(server.address)) for _ in range(8)]
        async with asyncio.timeout(30):
            while codes["OK"] < 50:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            server.process.send_signal(signal.SIGINT)
            await asyncio.gather(*clients)
        assert await asyncio.to_thread(server.wait, 10) == 0
    assert set(codes) == {"OK", "UNAVAILABLE"}


async def test_second_signal_ends_it(slow_repository: Path) -> None:
    """
    A second signal ends the server before its grace period is over.
    """
    with ServerProcess(slow_repository, "--shutdown-grace-s", "60") as server:
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while not server.find("not ready, still serving"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait, 5) == -signal.SIGTERM


def test_ctrl_c_skips_the_grace(slow_repository: Path) -> None:
    """
    A person at a terminal does not wait for balancers.
    """
    with ServerProcess(slow_repository, "--shutdown-grace-s", "60") as server:
        assert server.stop(timeout_s=5) == 0


def test_starts_without_torch(lenet_repository: Path, tmp_path: Path) -> None:
    """
    A server whose Python has no PyTorch, no onnx and none of our training code serves LeNet-5.
    """
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'torchvision', 'onnx', 'models', 'export'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from convoy.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    ports = ["--grpc-port", "0", "--http-port", "0", "--host", "127.0.0.1"]
    repository = ["--model-repository", str(lenet_repository)]
    process = subprocess.Popen(
        [sys.executable, "-c", program, "serve", *ports, *repository],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process, process.stderr as lines:
        line = next((line for line in map(json.loads, lines) if line["message"] == "ready"), None)
        assert line is not None
        with grpc.insecure_channel(f"127.0.0.1:{line['grpc_port']}") as channel:
            stub = classifier_pb2_grpc.ClassifierServiceStub(channel)
            stub.Classify(classifier_pb2.ClassifyRequest(model="lenet5", image=png(0)), timeout=10)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_cuda_that_cannot_be_had(lenet_repository: Path) -> None:
    """
    `--device cuda` without CUDA is one line and code 1.
    """
    done = run_serve("--device", "cuda", "--model-repository", str(lenet_repository))
    assert_one_clear_line(done, "CUDA")


@pytest.fixture
def taken_port() -> Iterator[str]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield str(other.getsockname()[1])


@pytest.mark.parametrize("which", ["grpc", "http", "control"])
def test_port_in_use(lenet_repository: Path, taken_port: str, which: str) -> None:
    """
    A port that is taken is one line that names it, and the flag to change.
    """
    ports = {"grpc": "0", "http": "0", "control": "0"} | {which: taken_port}
    flags = (part for name, port in ports.items() for part in (f"--{name}-port", port))
    done = run_serve(*flags, "--model-repository", str(lenet_repository))
    assert_one_clear_line(done, taken_port)
    assert_one_clear_line(done, f"the port is in use; choose another one with --{which}-port")


def test_second_server_on_the_same_ports(lenet_repository: Path) -> None:
    """
    A second server does not take half of the first one's calls.
    """
    with ServerProcess(lenet_repository) as server:
        port = server.address.split(":")[1]
        done = run_serve(
            *("--grpc-port", port, "--http-port", "0"),
            *("--model-repository", str(lenet_repository)),
        )
    assert_one_clear_line(done, port)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.onnx", b"half", "SHA-256"),
        ("manifest.json", b"{}", "Field required"),
        ("golden.npz", b"", "golden_sha256"),
        ("model.onnx.data", b"", "does not belong here"),
    ],
)
def test_damaged_artifact(
    lenet_repository: Path, tmp_path: Path, file: str, content: bytes, message: str
) -> None:
    """
    A damaged artifact is one line that names the file, and nothing is served.
    """
    shutil.copytree(lenet_repository, tmp_path, dirs_exist_ok=True)
    (tmp_path / "lenet5" / "1" / file).write_bytes(content)
    ports = ("--grpc-port", "0", "--http-port", "0")
    done = run_serve("--model-repository", str(tmp_path), *ports)
    assert_one_clear_line(done, message)
    assert file in done.stderr


@pytest.mark.parametrize("repository", ["nowhere", "empty"])
def test_no_models(tmp_path: Path, repository: str) -> None:
    """
    A repository without models is one line.
    """
    (tmp_path / "empty").mkdir()
    ports = ("--grpc-port", "0", "--http-port", "0")
    done = run_serve("--model-repository", str(tmp_path / repository), *ports)
    assert_one_clear_line(done, repository)


async def test_two_signals_at_once(slow_repository: Path) -> None:
    """
    A second signal is not lost, even right after the first.
    """
    with ServerProcess(slow_repository, "--shutdown-grace-s", "60") as server:
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(server.wait, 5) in (-signal.SIGTERM, -signal.SIGINT)


def test_signal_while_loading(lenet_repository: Path) -> None:
    """
    A server that is stopped before it is ready exits with code 0, even if loading hangs.
    """
    program = (
        "import sys, threading, convoy.service.serving.loader\n"
        "def hang(*arguments):\n"
        "    print('loading', flush=True)\n"
        "    threading.Event().wait()\n"
        "convoy.service.serving.loader.Loader.load = hang\n"
        "from convoy.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    ports = ["--grpc-port", "0", "--http-port", "0", "--host", "127.0.0.1"]
    repository = ["--model-repository", str(lenet_repository)]
    process = subprocess.Popen(
        [sys.executable, "-c", program, "serve", *ports, *repository],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout as output, process.stderr as lines:
        assert output.readline() == "loading\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        messages = [json.loads(line)["message"] for line in lines]
    assert messages == ["stopped", "ending although threads are still busy"]


def test_writes_nothing_in_the_home_folder(lenet_repository: Path, tmp_path: Path) -> None:
    """
    ONNX Runtime's telemetry, which keeps an identifier in the home folder, is off.
    """
    environment = {"HOME": str(tmp_path), "PATH": os.defpath}
    with ServerProcess(lenet_repository, environment=environment) as server:
        server.get("/metrics")
    assert list(tmp_path.rglob("*")) == []


def test_http_client_that_does_not_read(lenet_repository: Path) -> None:
    """
    A client that never reads its answers does not hold the end of the server.
    """
    with ServerProcess(lenet_repository) as server:
        port = server.find("ready")[0]["http_port"]
        with socket.create_connection(("127.0.0.1", int(str(port)))) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(0.5)
            with suppress(TimeoutError):
                for _ in range(3000):
                    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert server.stop(timeout_s=5) == 0


def test_silent_connections_do_not_hold_the_end(lenet_repository: Path) -> None:
    """
    Connections that never finish their handshake do not keep the server open.
    """
    with ServerProcess(lenet_repository) as server:
        port = int(server.address.split(":")[1])
        with (
            socket.create_connection(("127.0.0.1", port)),
            socket.create_connection(("127.0.0.1", port)) as half,
        ):
            half.sendall(b"PRI * HTTP/2.0\r\n")
            started = time.monotonic()
            assert server.stop(timeout_s=10) == 0
            assert time.monotonic() - started < 3


def test_memory(lenet_repository: Path) -> None:
    """
    A server with LeNet-5 stays below 200 MB, after some load, too.
    """
    with ServerProcess(lenet_repository) as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = classifier_pb2_grpc.ClassifierServiceStub(channel)
            request = classifier_pb2.ClassifyBatchRequest(model="lenet5", images=[png(0)] * 256)
            for _ in range(5):
                stub.ClassifyBatch(request)
        assert psutil.Process(server.process.pid).memory_info().rss < 200e6


@pytest.mark.slow
def test_idle_server_does_not_spin(lenet_repository: Path) -> None:
    """
    After some load, an idle server's threads wake fewer than 30 times a second over 10 s.

    Wake-ups do not depend on the machine; `make bench` measures the processor time that they take.
    """
    with ServerProcess(lenet_repository) as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = classifier_pb2_grpc.ClassifierServiceStub(channel)
            request = classifier_pb2.ClassifyRequest(model="lenet5", image=png(0))
            for _ in range(100):
                stub.Classify(request)
        time.sleep(1)
        before = _wake_ups(server.process.pid)
        time.sleep(10)
        assert _wake_ups(server.process.pid) - before < 300


def _wake_ups(pid: int) -> int:
    """Return how often the threads of a process have stopped to wait."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(
        int(line.split()[1])
        for thread in threads
        for line in (thread / "status").read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )
