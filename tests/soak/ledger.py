"""The end of every call, as its client saw it, compared with the server's own counts.

Each call that is sent ends once, with the name of a gRPC status or with `LOST`. A client that
cancels, lets its time run out or loses its connection does not learn what became of its call: the
server may count such a call, and its images, under any code. All other counts must be equal.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import grpc

from tests.soak.server_counts import ServerCounts
from tests.soak.wire import LOST

OK, CANCELLED, EXPIRED = "OK", "CANCELLED", "DEADLINE_EXCEEDED"

UNSURE = frozenset({CANCELLED, EXPIRED, LOST})
"""Ends that leave a client unsure of what the server did."""

REFUSALS = {
    *("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNIMPLEMENTED"),
    "FAILED_PRECONDITION",
}
"""Codes that refuse a call, if the server gave a reason."""

ENDING = 16
"""Calls that may end at one moment while their handlers start: the server counts them twice.

It samples its transport and takes calls that have ended, and that no handler has seen, for dropped.
"""

STREAMS = {"ModelStreamInfer"}
"""Methods of which each request counts as a call, though gRPC carries many of them in one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """
    The labels that calls are counted under.

    Attributes:
        kind: The kind of client.
        method: Name of the rpc.
        model: The model whose images are counted; empty if they are not.
        images: Images that an answer accounts for.
        may_end: Codes other than an answer or a refusal with which such calls may end.
    """

    kind: str
    method: str
    model: str = ""
    images: int = 0
    may_end: frozenset[str] = frozenset()


class Ledger:
    """
    The account.

    Attributes:
        sent: Calls by kind of client and method.
        ended: Those of them that ended, by kind, method and code.
        carried: Calls that gRPC carries, by kind: none of HTTP, and a stream's as one.
        images: Images by model and the code of their call.
        local: Calls by kind that their client ended, perhaps before they were sent.
        faults: Ends that should not be, with their number.
    """

    def __init__(self) -> None:
        self.sent: Counter[tuple[str, str]] = Counter()
        self.ended: Counter[tuple[str, str, str]] = Counter()
        self.carried: Counter[tuple[str]] = Counter()
        self.images: Counter[tuple[str, str]] = Counter()
        self.local: Counter[tuple[str]] = Counter()
        self.faults: Counter[tuple[str]] = Counter()

    def begin(self, entry: Entry, count: int = 1, carried: int | None = None) -> None:
        """
        Note that *count* calls are sent.

        Args:
            carried: The number of gRPC's calls that carry them, if it is another one.
        """
        self.sent[entry.kind, entry.method] += count
        self.carried[(entry.kind,)] += count if carried is None else carried

    def end(
        self,
        entry: Entry,
        code: str,
        *,
        has_reason: bool = False,
        fault: str = "",
        local: bool = False,
        count: int = 1,
    ) -> None:
        """
        Note that *count* calls ended.

        Args:
            has_reason: Whether the server gave a reason.
            fault: What is wrong with the answer; the details of any other end.
            local: Whether the client may have ended the call before it was sent.
        """
        self.ended[entry.kind, entry.method, code] += count
        if entry.images:
            self.images[entry.model, code] += entry.images * count
        # Bytes that were written are lost with their connection, too.
        if local or code == LOST:
            self.local[(entry.kind,)] += count
        sound = code in entry.may_end or (code in REFUSALS and has_reason)
        # An answer is at fault if there is something to say about it, another end if it is no
        # refusal and was not to be expected.
        if (fault if code == OK else not sound) and count:
            self.faults[(f"{entry.kind}: {code} {fault[:300]}",)] += count

    @contextmanager
    def call(self, entry: Entry) -> Iterator[list[int]]:
        """
        Surround one call of gRPC's client; an error that ends it goes no further.

        Yields:
            A list to which the images of an answer may be added, if they are not the entry's.
        """
        self.begin(entry)
        images: list[int] = []
        try:
            yield images
        except grpc.aio.AioRpcError as error:
            code, has_reason = (
                error.code().name,
                "error-reason" in (error.trailing_metadata() or ()),
            )
            ended_here = code in (CANCELLED, EXPIRED)
            code = LOST if code == "UNAVAILABLE" and not has_reason else code
            told = error.details() or ""
            self.end(entry, code, has_reason=has_reason, fault=told, local=ended_here)
        except Exception as error:
            self.end(entry, OK, fault=repr(error))
        else:
            self.end(replace(entry, images=sum(images)) if images else entry, OK)

    @property
    def unsure(self) -> int:
        """The calls of which the client does not know what the server did."""
        return sum(count for (_, _, code), count in self.ended.items() if code in UNSURE)

    def add(self, other: Ledger) -> None:
        """Add the counts of another account."""
        for name, counts in vars(self).items():
            counts.update(getattr(other, name))

    def dump(self) -> str:
        """Return the account as one line of JSON, which `load` reads."""
        return json.dumps(
            {
                name: [[*key, count] for key, count in kept.items()]
                for name, kept in vars(self).items()
            }
        )

    @classmethod
    def load(cls, line: str | bytes) -> Ledger:
        """Return the account that `dump` wrote."""
        ledger = cls()
        for name, rows in json.loads(line).items():
            getattr(ledger, name).update({tuple(key): count for *key, count in rows})
        return ledger

    def by_kind(self) -> dict[str, Counter[str]]:
        """Return the calls that were sent, and those that ended with each code, by kind."""
        table: dict[str, Counter[str]] = {}
        for (kind, _), count in self.sent.items():
            table.setdefault(kind, Counter())["sent"] += count
        for (kind, _, code), count in self.ended.items():
            table.setdefault(kind, Counter())[code] += count
        return table

    def of_method(self, method: str) -> Counter[str]:
        """Return how many calls of a method ended with each code."""
        counts: Counter[str] = Counter()
        for (_, name, code), count in self.ended.items():
            if name == method:
                counts[code] += count
        return counts

    def problems(self, server: ServerCounts) -> list[str]:
        """Return the counts that do not add up, here or against the server's."""
        found = [f"{count} x {fault}" for (fault,), count in self.faults.items()]
        for kind, row in self.by_kind().items():
            if row["sent"] != row.total() - row["sent"]:
                found.append(f"{kind}: not every call ended once: {dict(row)}")
        for method in sorted({name for _, name in self.sent} | server.calls.keys()):
            found += self._calls_of(method, server)
        found += self._transported(server)
        for model in sorted({model for model, _ in self.images}):
            found += self._images_of(model, server)
        return found

    def _calls_of(self, method: str, server: ServerCounts) -> list[str]:
        """Compare the calls of one method by their codes."""
        client, counted = self.of_method(method), server.calls.get(method, Counter[str]())
        unsure = _total(client, UNSURE)
        sound = client.total() - unsure <= counted.total() <= client.total() and all(
            client[code] <= counted[code] <= client[code] + unsure
            for code in (client.keys() | counted.keys()) - UNSURE
        )
        told = f"{method}: clients {dict(client)}, the server {dict(counted)}"
        return [] if sound else [told]

    def _transported(self, server: ServerCounts) -> list[str]:
        """Compare the calls that reached the server, and those that no handler saw."""
        found = []
        carried = self.carried.total()
        over_grpc = sum(count for (kind,), count in self.local.items() if self.carried[(kind,)])
        # Those that their clients ended themselves may never have been sent.
        if not carried - over_grpc <= server.received <= carried:
            found.append(f"gRPC carried {carried} calls; the server received {server.received}")
        # Of the calls that no code counts, those are left that gRPC dropped, and HTTP's.
        missing = self._not_counted(server) - (carried - server.received)
        over_http = self.local.total() - over_grpc
        if not missing - over_http <= server.dropped <= missing + ENDING:
            found.append(f"{missing} calls are not counted; the server dropped {server.dropped}")
        if server.durations != server.inferences:
            found.append(f"{server.inferences} inferred; {server.durations} have a duration")
        if server.in_flight:
            found.append(f"{server.in_flight} calls are in flight after the last one")
        return found

    def _not_counted(self, server: ServerCounts) -> int:
        """Return how many calls the server counts under no code, without requests of streams."""
        methods = {method for _, method in self.sent} - STREAMS
        sent = sum(self.of_method(method).total() for method in methods)
        return sent - sum(server.calls[method].total() for method in methods & server.calls.keys())

    def _images_of(self, model: str, server: ServerCounts) -> list[str]:
        """Compare the images that a model ran with those that were answered."""
        client = Counter({code: n for (name, code), n in self.images.items() if name == model})
        ran, answered = server.images[model], client[OK]
        sound = answered <= ran <= answered + _total(client, UNSURE)
        told = f"images of {model}: clients {dict(client)}, the server ran {ran}"
        return [] if sound else [told]


def _total(counts: Counter[str], codes: Iterable[str]) -> int:
    return sum(counts[code] for code in codes)
