"""Prometheus metrics: every name, label and bucket of the server in one place.

The registry is an argument. Label values come from the served models and from fixed lists, never
from a request: no client can add a series.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from convoy.artifact.estimates import Estimate
from convoy.artifact.manifest import Manifest
from convoy.service.machine.resources import memory_bytes
from convoy.service.telemetry import counting
from convoy.service.telemetry.counting import Histogram
from convoy.service.telemetry.gpu import GpuFacts

LATENCY_BUCKETS_S = (
    *(0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02),
    *(0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5),
)
"""Bounds in seconds, from a small network on a fast machine to a large one in a long queue."""

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

PHASES = ("decode", "queue", "inference", "respond")

INFERENCE_METHODS = frozenset({"Classify", "ClassifyBatch", "ModelInfer", "ModelStreamInfer"})
"""Methods whose duration is measured."""

PREDICTION_LOSSES = ("queue_full", "store_failed", "stopped", "internal_error")
"""Reasons why the prediction log loses rows."""

UNKNOWN_MODEL = "unknown"
"""Label of calls for a model that is not served; calls that name no model have an empty one."""


class ModelMetrics:
    """
    The metrics of one model, looked up once.

    Attributes:
        phase: Histogram of seconds, by phase of `PHASES`.
        batch_size: Histogram of images per run.
        padding: Counter of images that pad batches to a size that a GPU runs.
    """

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.phase = {phase: metrics.phase_duration.labels(model, phase) for phase in PHASES}
        self.batch_size = metrics.batch_size.labels(model)
        self.padding = metrics.batch_padding.labels(model)
        # A series from the start: Prometheus' `rate` misses the first increase of a new one.
        metrics.scores_not_finite.counts[model,] += 0


class Metrics:
    """
    Every metric of the server, in *registry*.

    Attributes:
        refresh: Fetches what other processes have counted; to be awaited before metrics are read.

    The label `method` is the name of an rpc, `code` the name of a gRPC status, and `reason` that of
    a `ServiceError`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        # Otherwise each series has a second one, with the time of its creation.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry
        # Our own classes where requests are counted; the library's elsewhere.
        self.requests = counting.Counter(
            "convoy_requests",
            "Calls answered, refused or failed.",
            ["model", "method", "code"],
            registry=registry,
        )
        self.request_duration = Histogram(
            "convoy_request_duration_seconds",
            "Time from the start of an inference call's handler to its answer.",
            ["model"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.phase_duration = Histogram(
            "convoy_phase_duration_seconds",
            "Time of a request in each phase.",
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
        self.batch_padding = Counter(
            "convoy_batch_padding_images",
            "Padding images that filled batches up to a size that the GPU runs.",
            ["model"],
            registry=registry,
        )
        self.scores_not_finite = counting.Counter(
            "convoy_scores_not_finite",
            "Classifications that failed because the model's scores were NaN or infinite.",
            ["model"],
            registry=registry,
        )
        self.rejected = counting.Counter(
            "convoy_rejected",
            "Requests that were refused or expired, by reason.",
            ["model", "reason"],
            registry=registry,
        )
        self.predictions_dropped = Counter(
            "convoy_prediction_log_dropped",
            "Rows that the prediction log lost, by reason.",
            ["reason"],
            registry=registry,
        )
        # From 0 on, so that the first loss is an increase.
        for reason in PREDICTION_LOSSES:
            self.predictions_dropped.labels(reason)
        self.loads = Counter(
            "convoy_model_loads",
            "Versions loaded or refused; outcome is loaded, or the reason for the failure.",
            ["model", "outcome"],
            registry=registry,
        )
        self.transport_calls = counting.Counter(
            "convoy_transport_calls",
            "Calls received by the gRPC transport, including streams, health and reflection.",
            [],
            registry=registry,
        )
        self.transport_dropped = counting.Counter(
            "convoy_transport_dropped_calls",
            "Calls that ended while waiting in the gRPC transport, before a handler saw them.",
            [],
            registry=registry,
        )
        waits = Histogram(
            "convoy_transport_wait_seconds",
            "Time that a call waits in the gRPC transport before its handler starts.",
            [],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.transport_wait = waits.labels()
        # Those that front processes fill, too.
        self.histograms = {
            "request_duration": self.request_duration,
            "phase_duration": self.phase_duration,
            "transport_wait": waits,
        }
        self.refresh: Callable[[], Awaitable[None]] = _nothing_to_refresh
        registry.register(_Families(_memory))
        # Processor time and open files, under the client library's own names.
        ProcessCollector(registry=registry)

    def refused(self, reason: str, model: str = "") -> None:
        """Count a request that was refused or expired; *model* is empty if it is not known."""
        self.rejected.counts[model, reason] += 1

    def prediction_dropped(self, reason: str, rows: int) -> None:
        """Count rows that the prediction log lost; called in any thread."""
        self.predictions_dropped.labels(reason).inc(rows)

    def watch(
        self,
        models: Callable[[], Iterable[ModelFacts]],
        not_ready: Callable[[], Iterable[tuple[str, int]]],
    ) -> None:
        """
        Publish the models' facts whenever metrics are collected.

        Args:
            models: Returns the facts of the loaded models.
            not_ready: Returns name and version of models that should be ready and are not.
        """
        self.registry.register(_Families(lambda: _models(models(), not_ready())))

    def watch_calls(self, in_flight: Callable[[], int], waiting: Callable[[], int]) -> None:
        """
        Publish the calls of the moment whenever metrics are collected.

        Args:
            in_flight: Returns the calls that handlers work on.
            waiting: Returns the calls that wait in the gRPC transport.
        """
        self.registry.register(_Families(lambda: _calls(in_flight(), waiting())))

    def watch_drift(
        self,
        indices: Callable[[], Iterable[DriftIndex]],
        counts: Callable[[], Iterable[DriftCount]],
    ) -> None:
        """Publish the drift of models whenever metrics are collected."""
        self.registry.register(_Families(lambda: _drift(indices(), counts())))

    def watch_shadows(self, shadows: Callable[[], Iterable[ShadowFacts]]) -> None:
        """Publish the facts that *shadows* returns whenever metrics are collected."""
        self.registry.register(_Families(lambda: _shadows(shadows())))

    def watch_fronts(
        self, fronts: Callable[[], Iterable[FrontFacts]], restarts: Callable[[], int]
    ) -> None:
        """
        Publish the front processes whenever metrics are collected.

        Args:
            fronts: Returns the facts of each.
            restarts: Returns the number of those that were replaced.
        """
        self.registry.register(_Families(lambda: _fronts(fronts(), restarts())))

    def watch_certificate(self, expires_at: Callable[[], float]) -> None:
        """Publish the time that *expires_at* returns, in seconds since 1970."""
        gauge = Gauge(
            "convoy_tls_certificate_expiry_timestamp_seconds",
            "Time at which the TLS certificate expires, in seconds since 1970.",
            registry=self.registry,
        )
        gauge.set_function(expires_at)

    def watch_gpus(self, gpus: Callable[[], Iterable[GpuFacts]]) -> None:
        """Publish the facts that *gpus* returns whenever metrics are collected."""
        self.registry.register(_Families(lambda: _gpus(gpus())))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """
    The facts of one loaded version that metrics publish.

    Attributes:
        provider: Execution provider that runs it.
        precision: Number format that it is computed in.
        ready: Whether it accepts requests, and can answer them.
        nodes: Number of nodes of its graph, by execution provider.
        fallback: Whether it runs on another device or provider than was preferred.
        load_s: Time that loading took, in seconds.
        device_bytes: GPU memory that it uses; 0 on a CPU.
        queue_depth: Images admitted and not yet running.
        queue_limit: Limit of the depth.
    """

    manifest: Manifest
    provider: str
    precision: str
    ready: bool
    nodes: Mapping[str, int]
    fallback: bool
    load_s: float
    device_bytes: int
    queue_depth: int
    queue_limit: int


class DriftIndex(NamedTuple):
    """The population stability index of a signal of one version, in a window of seconds."""

    model: str
    version: int
    signal: str
    window_s: float
    value: float


class DriftCount(NamedTuple):
    """The number of images in a bin of a signal, since the version was loaded."""

    model: str
    version: int
    signal: str
    bin: str
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowFacts:
    """
    The facts of one shadow that metrics publish.

    Attributes:
        version: The version of the shadow.
        share: The share of requests that it gets.
        outcomes: Number of images by outcome.
        estimates: The estimates of the comparison by measure.
    """

    model: str
    version: int
    share: float
    outcomes: Mapping[str, int]
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontFacts:
    """
    The facts of one front process that metrics publish.

    Attributes:
        index: Its place among the fronts; one that is replaced leaves it to its successor.
        up: Whether it accepts connections.
        in_flight: Calls that it is processing.
        arena_bytes: Its shared memory in use.
        resident_bytes: Its resident memory.
        cpu_s: Processor time that it has used.
    """

    index: int
    up: bool
    in_flight: int
    arena_bytes: int
    resident_bytes: int
    cpu_s: float


class _Families(Collector):
    """Families that *make* returns at each scrape, so that an unloaded version leaves no series."""

    def __init__(self, make: Callable[[], Iterable[Metric]]) -> None:
        self._make = make

    def describe(self) -> Iterator[Metric]:
        """Return nothing, so that registration reads neither models nor GPUs."""
        return iter(())

    def collect(self) -> Iterable[Metric]:
        return self._make()


async def _nothing_to_refresh() -> None:
    """Do nothing: without front processes, this process counts everything."""


def _models(
    models: Iterable[ModelFacts], not_ready: Iterable[tuple[str, int]]
) -> Iterator[GaugeMetricFamily]:
    """
    Make the gauges of the models.

    If a name has several versions, a gauge without a label for the version has the value of the
    newest; depth and limit of the queue are sums.
    """
    models = sorted(models, key=lambda facts: facts.manifest.version)
    # In ascending order of versions, the newest overwrites the others.
    newest = {facts.manifest.name: facts for facts in models}
    yield _ready(models, not_ready)
    yield from _per_version(models)
    yield from _per_name(newest)
    yield from _queues(models)


def _ready(models: Iterable[ModelFacts], not_ready: Iterable[tuple[str, int]]) -> GaugeMetricFamily:
    ready = _gauge(
        "convoy_model_ready",
        "1 if the version is ready, 0 if it should be ready but is not.",
        ["model", "version"],
    )
    for facts in models:
        ready.add_metric([facts.manifest.name, str(facts.manifest.version)], facts.ready)
    # A version that failed to load has no facts; alerts watch its gauge.
    for name, version in not_ready:
        ready.add_metric([name, str(version)], 0)
    return ready


def _per_version(models: Iterable[ModelFacts]) -> Iterator[GaugeMetricFamily]:
    info = _gauge(
        "convoy_model_info",
        "Always 1; the labels describe the served version.",
        ["model", "version", "architecture", "precision", "provider", "sha256"],
    )
    memory = _gauge(
        "convoy_model_memory_bytes",
        "Memory of a model. weights, arena_peak_at_load: as measured when the artifact was made, "
        "at the batch size in its manifest. device_at_load: GPU memory taken while it was loaded.",
        ["model", "version", "kind"],
    )
    for facts in models:
        manifest = facts.manifest
        labels = [manifest.name, str(manifest.version)]
        made = [manifest.architecture, facts.precision, facts.provider, manifest.model_sha256]
        info.add_metric([*labels, *made], 1)
        # Only artifacts that were measured when they were made state their memory.
        if manifest.memory:
            memory.add_metric([*labels, "weights"], manifest.memory.weights_bytes)
            peak = manifest.memory.arena_peak_bytes
            memory.add_metric([*labels, "arena_peak_at_load"], peak)
        # On a CPU all memory is the process's.
        if facts.device_bytes:
            memory.add_metric([*labels, "device_at_load"], facts.device_bytes)
    yield from (info, memory)


def _per_name(newest: Mapping[str, ModelFacts]) -> Iterator[GaugeMetricFamily]:
    load = _gauge("convoy_model_load_seconds", "Time taken to load the model.", ["model"])
    nodes = _gauge(
        "convoy_provider_nodes",
        "Nodes of the model's graph, by execution provider.",
        ["model", "provider"],
    )
    fallback = _gauge(
        "convoy_provider_fallback",
        "1 if the model runs on a device or provider other than the preferred one.",
        ["model"],
    )
    for name, facts in newest.items():
        load.add_metric([name], facts.load_s)
        fallback.add_metric([name], facts.fallback)
        for provider, count in facts.nodes.items():
            nodes.add_metric([name, provider], count)
    yield from (load, nodes, fallback)


def _queues(models: Iterable[ModelFacts]) -> Iterator[GaugeMetricFamily]:
    depths, limits = Counts[str](), Counts[str]()
    # While a version replaces another one, both have a queue.
    for facts in models:
        depths[facts.manifest.name] += facts.queue_depth
        limits[facts.manifest.name] += facts.queue_limit
    depth = _gauge("convoy_queue_depth", "Images admitted but not yet running.", ["model"])
    limit = _gauge(
        "convoy_queue_limit", "Maximum images in the queue; further ones are refused.", ["model"]
    )
    for name in limits:
        depth.add_metric([name], depths[name])
        limit.add_metric([name], limits[name])
    yield from (depth, limit)


def _calls(in_flight: int, waiting: int) -> Iterator[GaugeMetricFamily]:
    handled = _gauge("convoy_calls_in_flight", "Calls that handlers are processing.")
    handled.add_metric([], in_flight)
    held = _gauge(
        "convoy_transport_waiting_calls",
        "Calls waiting in the gRPC transport for their handlers.",
    )
    held.add_metric([], waiting)
    yield from (handled, held)


def _drift(
    indices: Iterable[DriftIndex], counts: Iterable[DriftCount]
) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
    index = _gauge(
        "convoy_drift_psi",
        "Population stability index of a signal against the model's baseline, in a window.",
        ["model", "version", "signal", "window"],
    )
    for one in indices:
        window = _duration(one.window_s)
        index.add_metric([one.model, str(one.version), one.signal, window], one.value)
    images = _counter(
        "convoy_drift_images",
        "Images by the bins of a signal.",
        ["model", "version", "signal", "bin"],
    )
    for count in counts:
        labels = [count.model, str(count.version), count.signal, count.bin]
        images.add_metric(labels, count.images)
    yield from (index, images)


def _duration(seconds: float) -> str:
    """Return a duration as Prometheus writes it, such as 15m or 1d."""
    units = ((86_400, "d"), (3600, "h"), (60, "m"))
    for size, unit in units:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _shadows(shadows: Iterable[ShadowFacts]) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
    names = ["model", "version"]
    share = _gauge("convoy_shadow_share", "Share of requests that the shadow gets.", names)
    images = _counter(
        "convoy_shadow_images",
        "Images of these requests: agreed or disagreed with the version that serves, failed, or "
        "dropped because the device was busy.",
        [*names, "outcome"],
    )
    estimates = _gauge(
        "convoy_shadow_estimate",
        "Comparison of the shadow with the version that serves: value, and ends of its 95 % "
        "interval.",
        [*names, "measure", "bound"],
    )
    samples = _gauge(
        "convoy_shadow_samples", "Images or runs behind an estimate.", [*names, "measure"]
    )
    for facts in shadows:
        labels = [facts.model, str(facts.version)]
        share.add_metric(labels, facts.share)
        for outcome, count in facts.outcomes.items():
            images.add_metric([*labels, outcome], count)
        for measure, estimate in facts.estimates.items():
            samples.add_metric([*labels, measure], estimate.count)
            for bound in ("value", "low", "high"):
                estimates.add_metric([*labels, measure, bound], getattr(estimate, bound))
    # Most servers have no shadow, and need no metrics of it.
    if share.samples:
        yield from (share, images, estimates, samples)


def _fronts(fronts: Iterable[FrontFacts], restarts: int) -> Iterator[Metric]:
    up = _gauge("convoy_front_up", "1 if the front process accepts connections.", ["front"])
    calls = _gauge(
        "convoy_front_calls_in_flight", "Calls that the front process is processing.", ["front"]
    )
    memory = _gauge(
        "convoy_front_memory_bytes",
        "Memory of the front process. arena: shared memory in use. resident: all of its memory.",
        ["front", "kind"],
    )
    cpu = _counter("convoy_front_cpu_seconds", "Processor time of the front process.", ["front"])
    for facts in fronts:
        labels = [str(facts.index)]
        up.add_metric(labels, facts.up)
        calls.add_metric(labels, facts.in_flight)
        memory.add_metric([*labels, "arena"], facts.arena_bytes)
        memory.add_metric([*labels, "resident"], facts.resident_bytes)
        cpu.add_metric(labels, facts.cpu_s)
    replaced = _counter(
        "convoy_front_restarts", "Front processes that had ended and were replaced."
    )
    replaced.add_metric([], restarts)
    yield from (up, calls, memory, cpu, replaced)


def _gpus(gpus: Iterable[GpuFacts]) -> Iterator[GaugeMetricFamily]:
    used = _gauge("convoy_gpu_memory_used_bytes", "GPU memory in use by all processes.", ["gpu"])
    total = _gauge("convoy_gpu_memory_total_bytes", "Total memory of the GPU.", ["gpu"])
    busy = _gauge(
        "convoy_gpu_utilization_ratio", "Fraction of time in which a kernel ran.", ["gpu"]
    )
    for gpu in gpus:
        used.add_metric([gpu.uuid], gpu.used_bytes)
        total.add_metric([gpu.uuid], gpu.total_bytes)
        busy.add_metric([gpu.uuid], gpu.utilization)
    yield from (used, total, busy)


def _memory() -> Iterator[GaugeMetricFamily]:
    text = "Current memory of the process and of its control group."
    family = _gauge("convoy_memory_bytes", text, ["kind"])
    for kind, value in memory_bytes().items():
        family.add_metric([kind], value)
    yield family


def _gauge(name: str, text: str, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _counter(name: str, text: str, labels: Sequence[str] = ()) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=labels)
