"""A constant number of calls in flight on one connection, each with an answer that is known."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.rpc.fast_path import INFER_PATH
from tests.soak.checksums import IMAGES, Checksums, describe
from tests.soak.ledger import CANCELLED, OK, Entry, Ledger
from tests.soak.wire import PREFIX_BYTES, Ended, Wire, framed, request_headers

LONGEST_CANCEL_S = 0.02

# The server echoes the identifier: with the same one, all trailers have the same bytes.
ALWAYS = {"x-request-id": "soak"}


class Case(NamedTuple):
    """
    A request and its right answers.

    Attributes:
        message: The encoded request, with gRPC's prefix.
        answers: Those that are right, with gRPC's prefix.
    """

    entry: Entry
    message: bytes
    answers: frozenset[bytes]

    def end(self, ledger: Ledger, ended: Ended) -> None:
        """Put the end of such a call into *ledger*, with what is wrong with its answer."""
        wrong = ended.status == OK and ended.body not in self.answers
        fault = _told(ended.body) if wrong else ""
        ledger.end(self.entry, ended.status, has_reason=ended.has_reason, fault=fault)


class Flow:
    """
    A constant number of calls in flight on one connection.

    Args:
        cases: What is sent, at random.
        in_flight: Number of calls.
        rest_s: Pause between the end of a call and the next one in its place.
        headers: Their encoded headers, of which one is chosen for each call.
        cancels: Whether calls are cancelled after a random time of at most `LONGEST_CANCEL_S`.
    """

    def __init__(
        self,
        address: str,
        ledger: Ledger,
        cases: Sequence[Case],
        *,
        in_flight: int,
        rest_s: float = 0.0,
        headers: Sequence[bytes] = (request_headers(INFER_PATH, ALWAYS),),
        cancels: bool = False,
    ) -> None:
        self.wire = Wire(address)
        self._address = address
        self._ledger = ledger
        self._cases = cases
        self._headers = headers
        self._rest_s = rest_s
        self._cancels = cancels
        self._calls: dict[int, Case] = {}
        self._starts = [0.0] * in_flight  # heaps of times
        self._ends: list[tuple[float, int]] = []

    @property
    def in_flight(self) -> int:
        """The calls that have not ended."""
        return len(self._calls)

    def due_in(self, now: float) -> float:
        """Return the seconds until a call is to begin or to be cancelled; inf if none is."""
        due = [self._starts[0]] if self._starts else []
        due += [self._ends[0][0]] if self._ends else []
        return max(0.0, min(due, default=math.inf) - now)

    def advance(self, now: float, stopping: bool) -> None:
        """Begin and cancel the calls that are due, and write."""
        while not stopping and self._starts and self._starts[0] <= now:
            heapq.heappop(self._starts)
            self._begin(now)
        while self._ends and self._ends[0][0] <= now:
            _, stream = heapq.heappop(self._ends)
            if stream in self._calls:
                self.wire.cancel(stream)
                self._end(Ended(stream, b"", CANCELLED, False), now)
        self.wire.flush()

    def receive(self, now: float) -> None:
        """Read and account for the calls that ended."""
        for ended in self.wire.receive():
            self._end(ended, now)

    def reconnect(self) -> None:
        """Go on with a new connection, the last one being closed."""
        self.wire.close()
        self.wire = Wire(self._address)
        self._ends.clear()

    def _begin(self, now: float) -> None:
        case = random.choice(self._cases)
        stream = self.wire.send(random.choice(self._headers), case.message)
        self._calls[stream] = case
        self._ledger.begin(case.entry)
        if self._cancels:
            heapq.heappush(self._ends, (now + random.uniform(0, LONGEST_CANCEL_S), stream))

    def _end(self, ended: Ended, now: float) -> None:
        self._calls.pop(ended.stream).end(self._ledger, ended)
        heapq.heappush(self._starts, now + self._rest_s)


def cases(
    kind: str,
    model: Checksums,
    versions: Sequence[int] = (0,),
    sizes: Sequence[int] = (1,),
    may_end: Iterable[str] = (),
) -> list[Case]:
    """Return requests for each version, of so many images each; 0 is the version that is served."""
    return [
        Case(
            Entry(kind, "ModelInfer", model.name, size, frozenset(may_end)),
            framed(model.request(images, version).SerializeToString()),
            frozenset(framed(answer) for answer in model.answers(images, version)),
        )
        for version in versions
        for size in sizes
        for images in _groups(size)
    ]


def _groups(size: int) -> Iterator[list[int]]:
    """Return all images in groups, in any order."""
    images = random.sample(range(len(IMAGES)), len(IMAGES))
    return (images[first : first + size] for first in range(0, len(images), size))


def _told(body: bytes) -> str:
    try:
        return describe(pb.ModelInferResponse.FromString(body[PREFIX_BYTES:]))
    except Exception as error:  # not even a message, or not of whole rows
        return f"{error}: {body[:100]!r}"
