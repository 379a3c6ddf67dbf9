"""Prometheus metrics: every name, label and bucket of the server in one place.

The registry is an argument. Label values come from the models that are served and from fixed
lists, never from a request: whatever a stranger sends, the number of series stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from artifact.manifest import Manifest
from service.resources import memory_bytes

LATENCY_BUCKETS_S = (
    *(0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02),
    *(0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5),
)
"""Bounds in seconds: from a small network on a fast machine to a large one in a long queue."""

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

PHASES = ("decode", "queue", "inference", "respond")

UNKNOWN_MODEL = "unknown"
"""Label of calls that ask for a model that is not served; that of calls for no model is empty."""


class ModelMetrics:
    """
    The children of one model, looked up once.

    Attributes:
        phase: Histogram in seconds, by phase of `PHASES`.
        batch_size: Histogram of images per run.
    """

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.phase = {phase: metrics.phase_duration.labels(model, phase) for phase in PHASES}
        self.batch_size = metrics.batch_size.labels(model)


class Metrics:
    """
    Every metric of the server, in *registry*.

    Label `method` is the rpc's name; `code` is the name of a gRPC status; `reason` is that of a
    `ServiceError`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        # Each series would otherwise have a second one that says when it began.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry
        self.requests = Counter(
            "convoy_requests",
            "Calls answered, refused or failed.",
            ["model", "method", "code"],
            registry=registry,
        )
        self.request_duration = Histogram(
            "convoy_request_duration_seconds",
            "From the arrival of an inference call to its answer.",
            ["model"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.phase_duration = Histogram(
            "convoy_phase_duration_seconds",
            "Where the time of a request went.",
            ["model", "phase"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.batch_size = Histogram(
            "convoy_batch_size",
            "Images per run of the model.",
            ["model"],
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self.rejected = Counter(
            "convoy_rejected",
            "Requests that were refused or expired, by reason.",
            ["model", "reason"],
            registry=registry,
        )
        self._queue_depth = _gauge(
            registry, "convoy_queue_depth", "Images admitted and not yet running.", "model"
        )
        self._ready = _gauge(
            registry, "convoy_model_ready", "1 if the version answers.", "model", "version"
        )
        self._info = _gauge(
            registry,
            "convoy_model_info",
            "Always 1; the labels say what is served.",
            *("model", "version", "architecture", "precision", "provider", "sha256"),
        )
        self._load = _gauge(
            registry, "convoy_model_load_seconds", "Time that loading took.", "model"
        )
        self._memory = _gauge(
            registry,
            "convoy_model_memory_bytes",
            "Measured when the artifact was made, at the batch size that its manifest states.",
            *("model", "version", "kind"),
        )
        self._nodes = _gauge(
            registry,
            "convoy_provider_nodes",
            "Nodes of the model's graph, by execution provider.",
            *("model", "provider"),
        )
        self._fallback = _gauge(
            registry,
            "convoy_provider_fallback",
            "1 if the model runs on another device than was preferred.",
            "model",
        )
        registry.register(_Memory())
        ProcessCollector(registry=registry)

    def model_loaded(
        self,
        manifest: Manifest,
        *,
        provider: str,
        nodes: Mapping[str, int],
        fallback: bool,
        load_s: float,
        queue_depth: Callable[[], float],
    ) -> None:
        """Publish what is known of a model once it is loaded."""
        name, number = manifest.name, str(manifest.version)
        self._info.labels(
            name,
            number,
            manifest.architecture,
            manifest.precision,
            provider,
            manifest.model_sha256,
        ).set(1)
        self._load.labels(name).set(load_s)
        self._fallback.labels(name).set(fallback)
        self._queue_depth.labels(name).set_function(queue_depth)
        self._ready.labels(name, number).set(1)
        for node_provider, count in nodes.items():
            self._nodes.labels(name, node_provider).set(count)
        if memory := manifest.memory:
            self._memory.labels(name, number, "weights").set(memory.weights_bytes)
            self._memory.labels(name, number, "arena_peak_at_load").set(memory.arena_peak_bytes)

    def model_stopped(self, manifest: Manifest) -> None:
        """Publish that a model takes no more requests."""
        self._ready.labels(manifest.name, str(manifest.version)).set(0)


class _Memory(Collector):
    """`convoy_memory_bytes`, read when it is asked for."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "convoy_memory_bytes",
            "Memory of the process and of its control group, now.",
            labels=["kind"],
        )
        for kind, value in memory_bytes().items():
            family.add_metric([kind], value)
        yield family


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, labels, registry=registry)
