"""A real server when the machine, the disk or its clients fail."""

import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import psutil
import pytest

from convoy.pb.convoy.v1 import classifier_pb2, classifier_pb2_grpc
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from tests.harness import tiny
from tests.harness.images import png
from tests.harness.server_process import ServerProcess
from tests.harness.transports import TRANSPORTS

EXPLICIT = ("--model-control-mode", "explicit", "--load-model", "*")

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
"""Debian's libfaketime: `make tools`."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the tiny model."""
    root = tmp_path / "repository"
    tiny.write(root)
    return root


def classify(server: ServerProcess, first: int = 3, timeout_s: float = 20) -> int:
    """Ask for one image over a connection of its own; returns the class."""
    request = classifier_pb2.ClassifyRequest(model="tiny", image=png(first), top_k=1)
    options = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.insecure_channel(server.address, options) as channel:
        stub = classifier_pb2_grpc.ClassifierServiceStub(channel)
        answer = stub.Classify(request, timeout=timeout_s, wait_for_ready=True)
        return int(answer.predictions[0].class_index)


def load(server: ServerProcess) -> None:
    """Load the newest version of the tiny model."""
    with grpc.insecure_channel(server.address) as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="tiny"))


@contextmanager
def limited(server: ServerProcess, kind: int, limit: int) -> Iterator[None]:
    """Lower a limit of the server's process while the block runs."""
    process = psutil.Process(server.process.pid)
    soft, hard = process.rlimit(kind)
    process.rlimit(kind, (limit, hard))
    try:
        yield
    finally:
        process.rlimit(kind, (soft, hard))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_out_of_file_descriptors(repository: Path, transport: str) -> None:
    """
    A flood of connections beyond the limit ends no server: who is connected is answered, and when
    the flood is over everybody is.
    """
    with ServerProcess(repository, "--transport", transport) as server, ExitStack() as flood:
        ports = [int(server.address.split(":")[1]), int(server.url.rpartition(":")[2])]
        channel = flood.enter_context(grpc.insecure_channel(server.address))
        stub = classifier_pb2_grpc.ClassifierServiceStub(channel)
        request = classifier_pb2.ClassifyRequest(model="tiny", image=png(3))
        stub.Classify(request, timeout=20)
        held = psutil.Process(server.process.pid).num_fds()
        with limited(server, resource.RLIMIT_NOFILE, held + 20):
            for number in range(200):
                client = flood.enter_context(socket.socket())
                client.setblocking(False)  # most of them are never accepted
                client.connect_ex(("127.0.0.1", ports[number % 2]))
            for _ in range(20):
                stub.Classify(request, timeout=20)
            flood.close()
            assert classify(server) == tiny.answer(3)
        assert "convoy_requests_total" in server.get("/metrics")
        assert server.stop() == 0


def test_stopped_and_continued(repository: Path) -> None:
    """
    A server that was stopped for a second continues: calls whose deadline passed fail with
    it, the others are answered.
    """
    with ServerProcess(repository) as server, grpc.insecure_channel(server.address) as channel:
        stub = classifier_pb2_grpc.ClassifierServiceStub(channel)
        request = classifier_pb2.ClassifyRequest(model="tiny", image=png(3))
        stub.Classify(request)
        server.process.send_signal(signal.SIGSTOP)
        patient = [stub.Classify.future(request, timeout=20) for _ in range(10)]
        hurried = [stub.Classify.future(request, timeout=0.3) for _ in range(10)]
        codes = {call.code() for call in hurried}
        time.sleep(1)
        server.process.send_signal(signal.SIGCONT)
        assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert {call.result().predictions[0].class_index for call in patient} == {tiny.answer(3)}
        assert server.stop() == 0


def test_vanished_repository(repository: Path) -> None:
    """
    A loaded model serves on without its files; loading fails with a reason until they are back.
    """
    with ServerProcess(repository, *EXPLICIT) as server:
        away = repository.rename(repository.with_name("away"))
        assert classify(server) == tiny.answer(3)
        with pytest.raises(grpc.RpcError) as failed:
            load(server)
        assert failed.value.code() in (
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.FAILED_PRECONDITION,
        )
        assert classify(server) == tiny.answer(3)
        away.rename(repository)
        load(server)
        assert classify(server) == tiny.answer(3)


def test_full_disk_of_the_graph_cache(repository: Path, tmp_path: Path) -> None:
    """
    A graph that cannot be kept is still served, and nothing half-written is left.
    """
    cache = tmp_path / "graphs"
    with ServerProcess(repository, *EXPLICIT, "--graph-cache", str(cache)) as server:
        tiny.write(repository, model=tiny.large_graph())
        with limited(server, resource.RLIMIT_FSIZE, 10_000):
            load(server)
        assert '"2"' in server.get("/v2/models/tiny")
        assert classify(server) == tiny.answer(3)
    assert list(cache.iterdir()) == []


def test_full_disk_of_the_repository_cache(repository: Path, tmp_path: Path) -> None:
    """
    A version that cannot be copied from its store is refused with a reason; what served goes on,
    and once there is room the version is loaded.
    """
    copies = tmp_path / "copies"
    options = (*EXPLICIT, "--repository-cache", str(copies))
    with ServerProcess(f"file://{repository}", *options) as server:
        tiny.write(repository, model=tiny.large_graph())
        with limited(server, resource.RLIMIT_FSIZE, 10_000):
            with pytest.raises(grpc.RpcError) as failed:
                load(server)
            assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert classify(server) == tiny.answer(3)
            assert not list(copies.rglob(".copying-*"))
        load(server)
        assert '"2"' in server.get("/v2/models/tiny")
        assert classify(server) == tiny.answer(3)


def test_clock_jumps(repository: Path, tmp_path: Path) -> None:
    """
    Deadlines and queues go by a clock that nobody sets: a jump of the other by years is not
    noticed.
    """
    if FAKETIME is None:
        pytest.skip("libfaketime is not installed: make tools")
    offset = tmp_path / "offset"
    offset.write_text("+0")
    environment = {
        "PATH": os.defpath,
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with ServerProcess(repository, "--log-requests", environment=environment) as server:
        for jump in ("+0", "+1000d", "-1000d", "+0"):
            offset.write_text(jump)
            assert [classify(server, first) for first in range(5)] == list(range(5))
        assert server.stop() == 0
    years = {str(line["time"])[:4] for line in server.log}
    assert len(years) > 1  # it was really moved


def test_fatal_error_ends_the_process(repository: Path) -> None:
    """
    With --exit-on-fatal-error a server whose device is lost ends with code 1, for whoever starts it
    again.
    """
    program = (
        "import sys, convoy.service.serving.watchdog, convoy.service.runtime.cpu\n"
        "run = convoy.service.runtime.cpu.CpuRunner.run\n"
        "def lose(runner, items):\n"
        "    if max(item.max() for item in items) > 100:\n"
        "        convoy.service.runtime.cpu.CpuRunner.run = fail\n"
        "    return run(runner, items)\n"
        "def fail(runner, items):\n"
        "    raise RuntimeError('CUDA failure 719: unspecified launch failure')\n"
        "convoy.service.runtime.cpu.CpuRunner.run = lose\n"
        "from convoy.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    with ServerProcess(repository, "--exit-on-fatal-error", program=("-c", program)) as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = classifier_pb2_grpc.ClassifierServiceStub(channel)
            stub.Classify(classifier_pb2.ClassifyRequest(model="tiny", image=png(150)), timeout=10)
            with pytest.raises(grpc.RpcError):
                stub.Classify(
                    classifier_pb2.ClassifyRequest(model="tiny", image=png(3)), timeout=10
                )
        assert server.wait(10) == 1
    assert server.find("the model can no longer run")
    assert server.find("stopping after a fatal error")
