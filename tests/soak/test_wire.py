import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from convoy.service.rpc.fast_path import INFER_PATH
from tests.harness.server_process import ServerProcess
from tests.harness.transports import TRANSPORTS
from tests.soak import checksums
from tests.soak.checksums import Checksums
from tests.soak.flow import cases
from tests.soak.latency import closed_loop
from tests.soak.ledger import OK, Ledger
from tests.soak.wire import LOST, Ended, Wire, framed, request_headers, status_of

HEADERS = request_headers(INFER_PATH)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checksums, Path]:
    """A model of two versions in a repository."""
    folder = tmp_path_factory.mktemp("repository")
    return checksums.write(folder, "sums", versions=2), folder


@pytest.fixture(scope="module", params=TRANSPORTS)
def server(
    request: pytest.FixtureRequest, model: tuple[Checksums, Path]
) -> Iterator[ServerProcess]:
    """A server of the model."""
    with ServerProcess(model[1], "--transport", request.param) as running:
        yield running


def ask(server: ServerProcess, message: bytes, headers: bytes = HEADERS) -> Ended:
    """Send one request and wait for its end."""
    with Wire(server.address) as wire:
        wire.send(headers, framed(message))
        return first_end(wire)


def first_end(wire: Wire) -> Ended:
    """Wait for the first end of a call."""
    while True:
        wire.flush()
        for ended in wire.receive():
            return ended


def test_answers_are_the_right_ones(server: ServerProcess, model: tuple[Checksums, Path]) -> None:
    """
    Every answer has the very bytes that were computed without the server, whatever the batch.
    """
    asked = cases("kind", model[0], sizes=(1, 3, 8))
    ledger = Ledger()
    calls, seconds = closed_loop(server.address, ledger, asked, in_flight=8)
    assert ledger.ended == {("kind", "ModelInfer", OK): calls}
    assert not ledger.faults
    assert calls > 0
    assert seconds > 0


def test_answers_of_another_request_are_wrong(
    server: ServerProcess, model: tuple[Checksums, Path]
) -> None:
    """
    The answer to another image, or by another version, is a fault that says what it holds.
    """
    (case, *_) = cases("kind", model[0], versions=(1,))
    other = model[0].request([0, 1], version=2).SerializeToString()
    ledger = Ledger()
    case.end(ledger, ask(server, other))
    ((told,),) = ledger.faults
    assert "2 rows: image 0 by version 2, image 1 by version 2" in told


@pytest.mark.parametrize(
    ("path", "status", "has_reason"),
    [(INFER_PATH, "NOT_FOUND", True), ("/no.such/Method", "UNIMPLEMENTED", False)],
)
def test_status(server: ServerProcess, path: str, status: str, has_reason: bool) -> None:
    """
    A call that fails has the server's status, and whether it gave a reason.
    """
    request = Checksums("unknown", ("",)).request([0]).SerializeToString()
    ended = ask(server, request, request_headers(path))
    assert (ended.status, ended.has_reason) == (status, has_reason)


def test_cancelled_call_beside_another(
    server: ServerProcess, model: tuple[Checksums, Path]
) -> None:
    """
    A call that is cancelled ends with that; the other one on its connection is answered.
    """
    message = framed(model[0].request([0]).SerializeToString())
    with Wire(server.address) as wire:
        cancelled, other = wire.send(HEADERS, message), wire.send(HEADERS, message)
        wire.cancel(cancelled)
        ended = first_end(wire)
        assert (ended.stream, ended.status, wire.open) == (other, OK, {})


def test_closed_connection() -> None:
    """
    A connection that the server closes ends all of its calls.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = Wire(f"127.0.0.1:{listener.getsockname()[1]}")
        listener.accept()[0].close()
    with wire:
        streams = [wire.send(HEADERS, framed(b"")) for _ in range(3)]
        ended = [(one.stream, one.status) for one in wire.receive()]
    assert ended == [(stream, LOST) for stream in streams]
    assert wire.closed


@pytest.mark.parametrize("name", [b"\x0bgrpc-status", bytes.fromhex("889acac8b21234da8f")])
@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"\x010", "OK"),
        (b"\x0214", "UNAVAILABLE"),
        (bytes.fromhex("8107"), "OK"),
        (bytes.fromhex("820b5f"), "UNAVAILABLE"),
    ],
)
def test_status_of_headers(name: bytes, value: bytes, status: str) -> None:
    """
    A status is read whether the server writes it as it is or in the Huffman code.
    """
    assert status_of(b"\x88\x00" + name + value) == status


def test_headers_without_a_status() -> None:
    """
    Headers that hold no status are an error, not a status.
    """
    with pytest.raises(ValueError, match="without a status"):
        status_of(b"\x00\x04name\x05value")
