"""The outcome of every request, compared with the server's counts.

Each request that is sent ends once: answered, refused, expired, cancelled, or failed with a reason.
A client that leaves does not learn whether its request was answered, so the server's counts of a
method may differ from the client's by as many as left or expired.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from prometheus_client.parser import text_string_to_metric_families


class Outcome(enum.StrEnum):
    """The end of a request, as its client saw it."""

    ANSWERED = "answered"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"


REFUSALS = {
    *("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNIMPLEMENTED"),
    "FAILED_PRECONDITION",
}
"""Codes that refuse a request, if the server gave a reason."""

OF_HTTP = {
    200: Outcome.ANSWERED,
    **dict.fromkeys((400, 404, 413, 429, 501, 503), Outcome.REFUSED),
    504: Outcome.EXPIRED,
}

SEEN_SO = {
    "OK": Outcome.ANSWERED,
    "DEADLINE_EXCEEDED": Outcome.EXPIRED,
    "CANCELLED": Outcome.CANCELLED,
}
"""Outcome that the client of a call saw, by the code under which the server counts it."""


class Ledger:
    """
    The account.

    Attributes:
        sent: Requests by kind of client and method.
        ended: Those of them that ended, by kind, method and outcome.
        reasons: Why requests failed, by kind.
    """

    def __init__(self) -> None:
        self.sent: Counter[tuple[str, str]] = Counter()
        self.ended: Counter[tuple[str, str, Outcome]] = Counter()
        self.reasons: Counter[str] = Counter()

    def end(self, kind: str, method: str, outcome: Outcome, why: str = "", count: int = 1) -> None:
        """Note how *count* requests ended."""
        self.ended[kind, method, outcome] += count
        if outcome is Outcome.FAILED and count:
            self.reasons[f"{kind}: {why[:200]}"] += count

    @contextmanager
    def request(self, kind: str, method: str) -> Iterator[None]:
        """Surround one request; an error that ends it is its outcome, and goes no further."""
        self.sent[kind, method] += 1
        try:
            yield
        except grpc.aio.AioRpcError as error:
            self.end(kind, method, *outcome_of(error))
        except Exception as error:
            self.end(kind, method, Outcome.FAILED, repr(error))
        except BaseException:  # the soak ends
            self.end(kind, method, Outcome.CANCELLED)
            raise
        else:
            self.end(kind, method, Outcome.ANSWERED)

    def by_kind(self) -> dict[str, dict[str, int]]:
        """Requests sent, and each outcome of theirs, by kind."""
        table: dict[str, dict[str, int]] = {}
        for (kind, _), count in self.sent.items():
            row = table.setdefault(kind, {"sent": 0} | {one.value: 0 for one in Outcome})
            row["sent"] += count
        for (kind, _, outcome), count in self.ended.items():
            table[kind][outcome.value] += count
        return table

    def of_method(self, method: str) -> Counter[str]:
        """Requests of a method, sent and by outcome."""
        counts: Counter[str] = Counter()
        for (_, name), count in self.sent.items():
            counts["sent"] += count if name == method else 0
        for (_, name, outcome), count in self.ended.items():
            counts[outcome.value] += count if name == method else 0
        return counts

    def problems(self, metrics: str) -> list[str]:
        """Return the counts that do not add up, here or against the server's *metrics*."""
        found = [f"failed: {count} x {reason}" for reason, count in self.reasons.items()]
        for kind, row in self.by_kind().items():
            if row["sent"] != sum(row.values()) - row["sent"]:
                found.append(f"{kind}: not every request ended once: {row}")
        server = counted(metrics)
        for method in sorted({name for _, name in self.sent} | server.keys()):
            found += _compared(method, self.of_method(method), server.get(method, Counter()))
        return found


def outcome_of(error: grpc.aio.AioRpcError) -> tuple[Outcome, str]:
    """Return the outcome of a failed call, and its message."""
    code = error.code().name
    if code in ("DEADLINE_EXCEEDED", "CANCELLED"):
        return SEEN_SO[code], ""
    reason = dict(error.trailing_metadata() or ()).get("error-reason")
    refused = code in REFUSALS and reason is not None
    return (Outcome.REFUSED if refused else Outcome.FAILED), f"{code} {reason} {error.details()}"


def counted(metrics: str) -> dict[str, Counter[str]]:
    """Return the server's counts, by method and outcome."""
    counts: dict[str, Counter[str]] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples if family.name == "convoy_requests" else ():
            code = sample.labels["code"]
            refused = Outcome.REFUSED if code in REFUSALS else Outcome.FAILED
            seen = SEEN_SO.get(code, refused)
            counts.setdefault(sample.labels["method"], Counter())[seen.value] += int(sample.value)
    return counts


def _compared(method: str, client: Counter[str], server: Counter[str]) -> list[str]:
    unknown = client["cancelled"] + client["expired"]
    told = f"{method}: clients {dict(client)}, the server {dict(server)}"
    sound = (
        client["sent"] - unknown <= server.total() <= client["sent"]
        and client["answered"] <= server["answered"] <= client["answered"] + unknown
        and client["refused"] <= server["refused"] <= client["refused"] + unknown
        and server["failed"] == client["failed"]
    )
    return [] if sound else [told]
