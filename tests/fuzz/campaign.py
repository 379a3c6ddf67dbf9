"""Sends mutated images and messages to a real server, and reports the outcomes.

`python -m tests.fuzz.campaign images --count 100000` prints a ledger as JSON; its exit code is 1 if
the server was at fault once, and what it was sent is kept in `build/mutants/`. The same seed makes
the same mutants.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import grpc
import psutil

from convoy.commands.bench.target import open_channel
from convoy.commands.connection import ConnectionSettings
from convoy.pb.convoy.v1 import classifier_pb2
from convoy.pb.inference import grpc_service_pb2 as pb
from tests.fuzz.mutations import spoil_bytes, spoil_image, spoil_message
from tests.fuzz.seeds import MODEL, all_images, corpus
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.server_process import ServerProcess

IN_FLIGHT = 16

TIMEOUT_S = 30.0
"""A call that takes longer hangs."""

REFUSALS = {"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "FAILED_PRECONDITION"}
"""Codes that a request may get that should not have been sent."""

BY_ITS_OWN_TERMS = {"DEADLINE_EXCEEDED REQUEST_EXPIRED", "RESOURCE_EXHAUSTED DEADLINE_UNMEETABLE"}
"""Codes that a request may get that allows the server a microsecond."""

LISTED = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|BM|RIFF|GIF8[79]a|II|MM|....ftyp", re.DOTALL)
"""First bytes of files in the formats that are opened."""

MUTANTS = Path("build/mutants")

CLASSIFY = "/convoy.v1.ClassifierService/Classify"

METHODS = {
    method.name: (f"/{service.full_name}/{method.name}", method.input_type)
    for module in (classifier_pb2, pb)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


class Case(NamedTuple):
    """
    One call.

    Attributes:
        image: What is to be decoded, if that is what it is about.
    """

    path: str
    message: bytes
    image: bytes = b""


class Ledger(NamedTuple):
    """
    The outcomes of the calls of a campaign.

    Attributes:
        outcomes: Calls by their code and reason.
        faults: What the server should not have done.
        resident_mb: Memory of the server and its fronts after a fifth of the calls, and after all.
    """

    outcomes: Counter[str]
    faults: list[str]
    resident_mb: list[float]


def image_cases(seed: int) -> Iterator[Case]:
    """Mutated images for `Classify`, without end."""
    dice, seeds = random.Random(seed), all_images()
    while True:
        image = spoil_image(dice, dice.choice(list(seeds.values())), seeds)
        request = classifier_pb2.ClassifyRequest(model=MODEL, image=image)
        yield Case(CLASSIFY, request.SerializeToString(), image)


def request_cases(seed: int) -> Iterator[Case]:
    """Mutated messages for every unary method, without end: their fields, their bytes, or both."""
    dice, seeds = random.Random(seed), corpus("requests")
    while True:
        name, data = dice.choice(list(seeds.items()))
        path, kind = METHODS[name.partition(".")[0]]
        message = kind._concrete_class.FromString(data)
        which = dice.randrange(3)
        if which:
            spoil_message(dice, message)
        data = message.SerializeToString()
        yield Case(path, spoil_bytes(dice, data, seeds) if which < 2 else data)


SUITES = {"images": image_cases, "requests": request_cases}


async def attack(server: ServerProcess, cases: Iterable[Case], count: int) -> Ledger:
    """Send *count* of *cases*, `IN_FLIGHT` at a time, and see that the server is as before."""
    ledger = Ledger(Counter(), [], [])
    process, left = psutil.Process(server.process.pid), iter(islice(cases, count))

    async def client(channel: grpc.aio.Channel) -> None:
        for case in left:
            outcome = await send(channel, case)
            ledger.outcomes[outcome] += 1
            if fault := fault_of(case, outcome):
                ledger.faults.append(f"{keep(case, len(ledger.faults))}: {fault}")
            if ledger.outcomes.total() in (count // 5, count):
                ledger.resident_mb.append(resident_mb(process))

    async with open_channel(ConnectionSettings(address=server.address)) as channel:
        before = await sound_answer(channel)
        await asyncio.gather(*(client(channel) for _ in range(IN_FLIGHT)))
        if await sound_answer(channel) != before:
            ledger.faults.append("a sound request is answered differently now")
    ledger.faults.extend(f"log: {line}" for line in server.log if line.get("level") == "error")
    ledger.faults.extend(f"log: {line}" for line in server.log if "level" not in line)
    return ledger


def resident_mb(server: psutil.Process) -> float:
    """Return the resident memory of a server and its fronts, in MB."""
    processes = [server, *server.children()]
    return round(sum(process.memory_info().rss for process in processes) / 1e6, 1)


def keep(case: Case, number: int) -> Path:
    """Write a message to `MUTANTS`."""
    MUTANTS.mkdir(parents=True, exist_ok=True)
    path = MUTANTS / f"{case.path.rpartition('/')[2]}.{number}"
    path.write_bytes(case.message)
    return path


async def send(channel: grpc.aio.Channel, case: Case) -> str:
    """Send one message; returns code and reason."""
    try:
        await _method(channel, case.path)(case.message, timeout=TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        reason = dict(error.trailing_metadata() or ()).get("error-reason", "without a reason")
        return f"{error.code().name} {reason!s}"
    return "OK"


def fault_of(case: Case, outcome: str) -> str:
    """Return a description of the server's fault, or an empty string if there is none."""
    code, _, reason = outcome.partition(" ")
    if code == "OK":
        opened = case.image and not LISTED.match(case.image)
        return "an image of a format that is not listed was opened" if opened else ""
    told = reason != "without a reason"
    return "" if (code in REFUSALS and told) or outcome in BY_ITS_OWN_TERMS else outcome


async def sound_answer(channel: grpc.aio.Channel) -> list[bytes]:
    """Return the server's answer to a correct request."""
    path, _ = METHODS["ModelInfer"]
    answer = await _method(channel, path)(corpus("requests")["ModelInfer.raw"])
    return list(pb.ModelInferResponse.FromString(answer).raw_output_contents)


def _method(channel: grpc.aio.Channel, path: str) -> Callable[..., Awaitable[bytes]]:
    """A method that takes and gives bytes."""
    method: Callable[..., Awaitable[bytes]] = channel.unary_unary(path)
    return method


def main() -> int:
    """Run one suite; 1 if the server was at fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transport", choices=("grpcio", "native"), default="grpcio")
    parser.add_argument("--front-processes", type=int, default=0)
    given = parser.parse_args()
    started = time.monotonic()
    options = ("--transport", given.transport, "--front-processes", str(given.front_processes))
    with ServerProcess(LENET_REPOSITORY, *options) as server:
        ledger = asyncio.run(attack(server, SUITES[given.suite](given.seed), given.count))
    told = vars(given) | ledger._asdict() | {"seconds": round(time.monotonic() - started)}
    print(json.dumps(told, indent=2))
    return int(bool(ledger.faults))


if __name__ == "__main__":
    sys.exit(main())
