"""Thousands of mutated images and messages, against a real server process."""

import random
import struct
import zlib

import pytest

from convoy.pb.inference import grpc_service_pb2 as pb
from tests.fuzz.campaign import CLASSIFY, SUITES, Case, attack, fault_of, request_cases
from tests.fuzz.mutations import PNG_SIGNATURE, spoil_bytes, spoil_message, with_checksums
from tests.fuzz.seeds import corpus
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.server_process import ServerProcess
from tests.harness.transports import FRONTS, TRANSPORTS

COUNT = 5000


@pytest.mark.slow
@pytest.mark.parametrize("transport", [*TRANSPORTS, FRONTS])
@pytest.mark.parametrize("suite", SUITES)
async def test_mutants(suite: str, transport: str) -> None:
    """
    Each is answered or refused with a reason, soon; nothing is opened that is not listed, and the
    server is as before.
    """
    options = ("--front-processes", "2") if transport == FRONTS else ("--transport", transport)
    with ServerProcess(LENET_REPOSITORY, *options) as server:
        ledger = await attack(server, SUITES[suite](seed=COUNT), COUNT)
        if transport == FRONTS:
            assert "convoy_front_restarts_total 0.0" in server.get("/metrics")
        assert server.stop() == 0
    assert ledger.faults == []
    assert ledger.outcomes.total() == COUNT
    # Neither all sound nor all refused: the mutants are near to what is read.
    assert COUNT * 0.05 < ledger.outcomes["OK"] < COUNT * 0.5


def test_same_dice_same_mutants() -> None:
    """
    A campaign can be repeated.
    """
    first, second = request_cases(1), request_cases(1)
    assert [next(first) for _ in range(200)] == [next(second) for _ in range(200)]


@pytest.mark.parametrize(
    ("outcome", "image", "is_fault"),
    [
        ("OK", b"BM...", False),
        ("OK", b"8BPS", True),
        ("INVALID_ARGUMENT INVALID_IMAGE", b"8BPS", False),
        ("INVALID_ARGUMENT without a reason", b"", True),
        ("INTERNAL INFERENCE_FAILED", b"", True),
        ("UNKNOWN without a reason", b"", True),
        ("DEADLINE_EXCEEDED without a reason", b"", True),
        ("DEADLINE_EXCEEDED REQUEST_EXPIRED", b"", False),
    ],
)
def test_faults(outcome: str, image: bytes, is_fault: bool) -> None:
    """
    A fault is an answer to what is not listed, an error of the server's, or no word for too long.
    """
    assert bool(fault_of(Case(CLASSIFY, b"", image), outcome)) is is_fault


def test_checksums_are_repaired() -> None:
    """
    A PNG with another pixel is whole again; what is cut stays cut.
    """
    png = corpus("images")["grey.png"]
    spoilt = bytearray(png)
    spoilt[16:20] = struct.pack(">I", 13)  # the width
    repaired = with_checksums(bytes(spoilt))
    assert repaired[29:33] == struct.pack(">I", zlib.crc32(repaired[12:29])) != png[29:33]
    assert with_checksums(png) == png
    assert with_checksums(PNG_SIGNATURE + b"\xff" * 9) == PNG_SIGNATURE + b"\xff" * 9


@pytest.mark.parametrize("kind", ["images", "requests"])
def test_mutants_differ(kind: str) -> None:
    """
    Most mutations of bytes change something, also of an empty seed.
    """
    dice, seeds = random.Random(0), corpus(kind)
    for name, data in seeds.items():
        changed = sum(spoil_bytes(dice, data, seeds) != data for _ in range(100))
        assert changed > 40, name


def test_fields_are_mutated_at_any_depth() -> None:
    """
    The fields of a request change, and those of the messages within it.
    """
    dice, sound = random.Random(0), corpus("requests")["ModelInfer.full"]
    models, shapes, parameters = set(), set(), set()
    for _ in range(500):
        message = pb.ModelInferRequest.FromString(sound)
        spoil_message(dice, message)
        models.add(message.model_name)
        shapes |= {tuple(tensor.shape[:9]) for tensor in message.inputs}
        parameters |= {str(one.parameters) for one in message.outputs}
    assert min(len(models), len(shapes), len(parameters)) > 5
