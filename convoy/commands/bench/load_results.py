"""The results of a load test: plain data, written as JSON with the names here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

PERCENTILES = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0)
"""The percentiles of latency that a result keeps; 0 is the minimum and 100 the maximum."""

OK = "OK"


class Answer(NamedTuple):
    """
    The times of one request, in seconds on one clock.

    Attributes:
        due_s: The time at which it was due.
        sent_s: The time at which it left.
        done_s: The time at which its answer, or its failure, arrived.
        code: The name of the gRPC status code.
    """

    due_s: float
    sent_s: float
    done_s: float
    code: str


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Part):
    """
    The results of one load.

    Attributes:
        concurrency: The requests in flight all the time; None in an open loop.
        rate_per_s: The requests due per second, on average; None in a closed loop.
        requests: The number of requests that were due in the measured time.
        answered_per_s: The successful answers in that time, per second.
        failed: The number of failed requests, by their gRPC status.
        latency_ms: The latency of the successful requests, from the time when each was due, by
            percentile; empty if there are none.
        lag_p99_ms: The delay with which requests left. A large value means that the generator, not
            the server, was at its limit.
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
        """The load, in words."""
        if self.concurrency is not None:
            return f"{self.concurrency} in flight"
        return f"{self.rate_per_s:g}/s"

    def latency(self, percentile: float) -> float:
        """Return one of `PERCENTILES`, in milliseconds; nan if no request was successful."""
        return self.latency_ms.get(f"p{percentile:g}", math.nan)


class Report(_Part):
    """
    The results of a load test.

    Attributes:
        server: The name and version that the server reports.
        input: The tensors of a request, in words.
        request_bytes: The mean size of a request.
        arrivals: The spacing of the requests of an open loop: "poisson" or "constant".
        failures: The message of the first failure of each gRPC status.
        interrupted: Whether the test was ended before the last load.
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
    """Summarize the requests that were due from *start_s* (included) to *end_s* (excluded)."""
    # Latency and failures: of the requests due in the window, whenever they were answered.
    due = [answer for answer in answers if start_s <= answer.due_s < end_s]
    well = [answer for answer in due if answer.code == OK]
    # Throughput: of the answers received in the window, whenever their requests were due.
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
    # "higher" gives a latency that was measured, not one interpolated between two.
    found = np.percentile(seconds, PERCENTILES, method="higher")
    return {f"p{p:g}": round(1000 * float(s), 4) for p, s in zip(PERCENTILES, found, strict=True)}
