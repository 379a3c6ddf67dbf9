"""The server's own counts, read from its metrics."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from convoy.service.telemetry.metrics import INFERENCE_METHODS


@dataclass(slots=True)
class ServerCounts:
    """
    The counts of one server.

    Attributes:
        calls: Calls by method and code.
        inferences: Those of them that infer, by model.
        images: Images that were run, by model.
        duration_s: Seconds of inference calls, by model.
        durations: Inference calls whose duration was measured, by model.
        wait_s: Seconds that calls spent in the transport, before their handler and after it.
        received: Calls that the gRPC transport received; a stream is one.
        dropped: Those of them that ended before their handler started.
        in_flight: Calls that are neither answered nor dropped.
    """

    calls: dict[str, Counter[str]] = field(default_factory=dict)
    inferences: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    duration_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    durations: Counter[str] = field(default_factory=Counter)
    wait_s: float = 0.0
    received: int = 0
    dropped: int = 0
    in_flight: int = 0

    @classmethod
    def read(cls, metrics: str) -> ServerCounts:
        """Read them from the text of `/metrics`."""
        counts = cls()
        for family in text_string_to_metric_families(metrics):
            for sample in family.samples:
                counts._add(sample.name, sample.labels, sample.value)
        return counts

    def _add(self, name: str, labels: dict[str, str], value: float) -> None:
        match name:
            case "convoy_requests_total":
                calls = self.calls.setdefault(labels["method"], Counter())
                calls[labels["code"]] += int(value)
                if labels["method"] in INFERENCE_METHODS:
                    self.inferences[labels["model"]] += int(value)
            case "convoy_batch_size_sum":
                self.images[labels["model"]] += int(value)
            case "convoy_request_duration_seconds_sum":
                self.duration_s[labels["model"]] += value
            case "convoy_request_duration_seconds_count":
                self.durations[labels["model"]] += int(value)
            case "convoy_transport_wait_seconds_sum":
                self.wait_s = value
            case "convoy_transport_calls_total":
                self.received = int(value)
            case "convoy_transport_dropped_calls_total":
                self.dropped = int(value)
            case "convoy_calls_in_flight" | "convoy_transport_waiting_calls":
                self.in_flight += int(value)
