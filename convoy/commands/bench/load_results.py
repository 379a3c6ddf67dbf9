"""What a load generator saw: plain data, written as JSON by the names here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

PERCENTILES = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0)
"""Of latencies, that are kept; 0 is the least and 100 the most."""

OK = "OK"


class Answer(NamedTuple):
    """
    One request, in seconds on one clock.

    Attributes:
        due_s: When it was to leave.
        sent_s: When it left.
        done_s: When its answer, or its failure, was there.
        code: Name of the gRPC status code.
    """

    due_s: float
    sent_s: float
    done_s: float
    code: str


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Part):
    """
    One load, put on for some time.

    Attributes:
        concurrency: Requests on their way all the time; None in an open loop.
        rate_per_s: Requests that were to leave per second, on average; None in a closed loop.
        requests: How many were due while it was measured, whatever became of them.
        answered_per_s: Requests answered well in that time, per second.
        failed: How many of the requests failed, by their gRPC status.
        latency_ms: Of requests that were answered well, from the time when each was due, by
            percentile; empty if there are none.
        lag_p99_ms: How late requests left. Much of it says that the generator, not the server, was
            at its limit.
    """

    concurrency: int | None
    rate_per_s: float | None
    seconds: float
    requests: int
    answered_per_s: float
    failed: dict[str, int]
    latency_ms: dict[str, float]
    lag_p99_ms: float

    @property
    def name(self) -> str:
        """The load, for people."""
        if self.concurrency is not None:
            return f"{self.concurrency} in flight"
        return f"{self.rate_per_s:g}/s"

    def latency(self, percentile: float) -> float:
        """One of `PERCENTILES`, in milliseconds; nan if nothing was answered well."""
        return self.latency_ms.get(f"p{percentile:g}", math.nan)


class Report(_Part):
    """
    All of it.

    Attributes:
        server: Name and version, as the server gives them.
        input: What a request held.
        request_bytes: Mean size of a request.
        arrivals: How requests of an open loop followed each other.
        failures: What the first failure of each gRPC status said.
        interrupted: Whether it was ended before the last load.
    """

    schema_version: Literal[1] = 1
    measured_at: str
    address: str
    server: str
    model: str
    model_version: str
    input: str
    batch_size: int
    request_bytes: int
    connections: int
    timeout_s: float
    arrivals: str
    seed: int
    steps: tuple[Step, ...]
    failures: dict[str, str]
    interrupted: bool = False


def summarize(
    answers: Sequence[Answer],
    start_s: float,
    end_s: float,
    *,
    concurrency: int | None = None,
    rate_per_s: float | None = None,
) -> Step:
    """Sum up the requests that were due from *start_s* to *end_s*."""
    due = [answer for answer in answers if start_s <= answer.due_s < end_s]
    well = [answer for answer in due if answer.code == OK]
    done = sum(answer.code == OK and start_s <= answer.done_s < end_s for answer in answers)
    return Step(
        concurrency=concurrency,
        rate_per_s=rate_per_s,
        seconds=end_s - start_s,
        requests=len(due),
        answered_per_s=done / (end_s - start_s),
        failed=dict(Counter(answer.code for answer in due if answer.code != OK)),
        latency_ms=_percentiles_ms([answer.done_s - answer.due_s for answer in well]),
        lag_p99_ms=_percentiles_ms([answer.sent_s - answer.due_s for answer in due]).get("p99", 0),
    )


def _percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    # A latency that was seen, not one between two.
    found = np.percentile(seconds, PERCENTILES, method="higher")
    return {f"p{p:g}": round(1000 * float(s), 4) for p, s in zip(PERCENTILES, found, strict=True)}
