import re
import shutil
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from convoy.pb.convoy.v1 import classifier_pb2 as pb
from convoy.service.settings import Settings
from convoy.service.telemetry.metrics import UNKNOWN_MODEL
from tests.harness import tiny
from tests.harness.http import get
from tests.harness.images import png
from tests.harness.server import Running, Serve
from tests.harness.transports import FRONTS

DOCS = Path(__file__).parents[2] / "docs"

# Dashboards and alerts are built on these: a change here breaks them.
NAMES_AND_LABELS = {
    "convoy_batch_padding_images": {"model"},
    "convoy_batch_size": {"model"},
    "convoy_calls_in_flight": set(),
    "convoy_memory_bytes": {"kind"},
    "convoy_model_info": {"model", "version", "architecture", "precision", "provider", "sha256"},
    "convoy_model_load_seconds": {"model"},
    "convoy_model_loads": {"model", "outcome"},
    "convoy_model_memory_bytes": {"model", "version", "kind"},
    "convoy_model_ready": {"model", "version"},
    "convoy_phase_duration_seconds": {"model", "phase"},
    "convoy_prediction_log_dropped": {"reason"},
    "convoy_provider_fallback": {"model"},
    "convoy_provider_nodes": {"model", "provider"},
    "convoy_queue_depth": {"model"},
    "convoy_queue_limit": {"model"},
    "convoy_rejected": {"model", "reason"},
    "convoy_request_duration_seconds": {"model"},
    "convoy_requests": {"model", "method", "code"},
    "convoy_scores_not_finite": {"model"},
    "convoy_transport_calls": set(),
    "convoy_transport_dropped_calls": set(),
    "convoy_transport_wait_seconds": set(),
    "convoy_transport_waiting_calls": set(),
}

OF_FRONTS = {
    "convoy_front_calls_in_flight": {"front"},
    "convoy_front_cpu_seconds": {"front"},
    "convoy_front_memory_bytes": {"front", "kind"},
    "convoy_front_restarts": set(),
    "convoy_front_up": {"front"},
}
"""Only of servers with front processes."""

OF_DRIFT = {
    "convoy_drift_images": {"model", "version", "signal", "bin"},
    "convoy_drift_psi": {"model", "version", "signal", "window"},
}
"""Only of servers with --drift."""

OF_SHADOWS = {
    "convoy_shadow_estimate": {"model", "version", "measure", "bound"},
    "convoy_shadow_images": {"model", "version", "outcome"},
    "convoy_shadow_samples": {"model", "version", "measure"},
    "convoy_shadow_share": {"model", "version"},
}
"""Only while there is a shadow."""

GPU_METRICS = ("memory_used_bytes", "memory_total_bytes", "utilization_ratio")

CERTIFICATE_EXPIRY = "convoy_tls_certificate_expiry_timestamp_seconds"
"""Only of servers with TLS."""


async def scrape(running: Running) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Every sample of /metrics, by its name."""
    status, text = await get(f"{running.url}/metrics")
    assert status == 200
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


async def ask_for_everything(running: Running) -> None:
    """Make one call of each kind that the metrics show."""
    await running.classifier.Classify(pb.ClassifyRequest(model="tiny", image=png(0)))
    for model, image in (("tiny", b"x"), ("no such model", b"x")):
        with pytest.raises(grpc.aio.AioRpcError):
            await running.classifier.Classify(pb.ClassifyRequest(model=model, image=image))
    await running.classifier.ClassifyBatch(
        pb.ClassifyBatchRequest(model="tiny", images=[png(1), png(2), b"x"])
    )
    await running.classifier.ListModels(pb.ListModelsRequest())


async def test_failed_inference_is_no_rejection(running: Running) -> None:
    """
    A request that reached the model and failed there was not refused.
    """
    with pytest.raises(grpc.aio.AioRpcError):
        await running.classifier.Classify(pb.ClassifyRequest(model="tiny", image=png(tiny.POISON)))
    samples = await scrape(running)
    assert "convoy_rejected_total" not in samples
    assert samples["convoy_requests_total"][0][0]["code"] == "INTERNAL"


@pytest.mark.with_fronts
async def test_names_and_labels(running: Running, transport: str) -> None:
    """
    Every metric has the name and the labels that dashboards expect, and a help text.
    """
    await ask_for_everything(running)
    _, text = await get(f"{running.url}/metrics")
    found = {
        family.name: {key for sample in family.samples for key in sample.labels} - {"le"}
        for family in text_string_to_metric_families(text)
        if family.name.startswith("convoy_")
    }
    assert found == NAMES_AND_LABELS | (OF_FRONTS if transport == FRONTS else {})
    assert len(re.findall(r"^# HELP convoy_\S+ \S", text, re.MULTILINE)) == len(found)
    assert "_created" not in text
    assert "process_cpu_seconds_total" in text


def test_documented() -> None:
    """
    The table of the documentation has every metric, with its labels, and no other.
    """
    text = (DOCS / "reference/metrics.md").read_text()
    rows = re.findall(r"^\| `(convoy_\w+)` \| ([\w, ]*)\|", text, re.MULTILINE)
    documented = {name.removesuffix("_total"): set(re.findall(r"\w+", s)) for name, s in rows}
    assert f"`{UNKNOWN_MODEL}`" in text
    of_gpus = {f"convoy_gpu_{what}": {"gpu"} for what in GPU_METRICS}
    of_some = OF_FRONTS | OF_DRIFT | OF_SHADOWS | of_gpus | {CERTIFICATE_EXPIRY: set()}
    assert documented == NAMES_AND_LABELS | of_some


def test_named() -> None:
    """
    Each metric and option that the documentation names elsewhere exists, Triton's table and the
    advice to tune included.
    """
    pages = ("reference/metrics.md", "how-to/alerts.md", "how-to/monitoring.md", "how-to/tune.md")
    text = "\n".join((DOCS / page).read_text() for page in pages)
    of_gpus = {f"convoy_gpu_{what}" for what in GPU_METRICS}
    known = {*NAMES_AND_LABELS, *OF_FRONTS, *OF_DRIFT, *OF_SHADOWS, *of_gpus, CERTIFICATE_EXPIRY}
    named = set(re.findall(r"(?<![:\w])convoy_[a-z_]+[a-z]", text))
    assert {re.sub("_(total|sum|count|bucket)$", "", name) for name in named} <= known
    advice = (DOCS / "how-to/tune.md").read_text().split("## Settings to change")[1]
    options = {option.replace("-", "_") for option in re.findall(r"--([a-z][a-z-]+)", advice)}
    assert len(options) > 8
    assert options - {"p99_ms", "rate"} <= set(Settings.model_fields)


async def test_calls_are_counted(running: Running) -> None:
    """
    Each call is counted once, under its outcome; an unknown model's name makes no series.
    """
    await ask_for_everything(running)
    samples = await scrape(running)
    counts = {tuple(labels.values()): n for labels, n in samples["convoy_requests_total"]}
    assert counts == {
        ("OK", "Classify", "tiny"): 1,
        ("INVALID_ARGUMENT", "Classify", "tiny"): 1,
        ("NOT_FOUND", "Classify", "unknown"): 1,
        ("OK", "ClassifyBatch", "tiny"): 1,
        ("OK", "ListModels", ""): 1,
    }
    rejected = {tuple(labels.values()): n for labels, n in samples["convoy_rejected_total"]}
    assert rejected == {
        ("tiny", "INVALID_IMAGE"): 2,
        ("unknown", "MODEL_NOT_FOUND"): 1,
    }
    durations = {
        labels["model"]: n for labels, n in samples["convoy_request_duration_seconds_count"]
    }
    assert durations == {"tiny": 3, "unknown": 1}


@pytest.mark.with_fronts
async def test_images_are_counted(running: Running) -> None:
    """
    The phases count images, the batch sizes add up to the images that ran.
    """
    await ask_for_everything(running)
    samples = await scrape(running)
    phases = {labels["phase"]: n for labels, n in samples["convoy_phase_duration_seconds_count"]}
    assert phases == {"decode": 3, "queue": 3, "inference": 3, "respond": 3}
    assert samples["convoy_batch_size_sum"] == [({"model": "tiny"}, 3)]


async def test_models_and_memory(serve: Serve) -> None:
    """
    The model's identity, provider and memory are there, and the memory of the process.
    """
    async with serve(device="cpu") as running:
        samples = await scrape(running)
    ((info, value),) = samples["convoy_model_info"]
    assert value == 1
    assert (info["model"], info["version"], info["precision"]) == ("tiny", "1", "float32")
    assert info["provider"] == "CPUExecutionProvider"
    assert len(info["sha256"]) == 64
    assert samples["convoy_model_ready"] == [({"model": "tiny", "version": "1"}, 1)]
    assert samples["convoy_provider_fallback"] == [({"model": "tiny"}, 0)]
    memory = {labels["kind"]: n for labels, n in samples["convoy_model_memory_bytes"]}
    assert memory == {"weights": 4000, "arena_peak_at_load": 1000}
    live = {labels["kind"]: n for labels, n in samples["convoy_memory_bytes"]}
    assert live["peak_resident"] >= live["resident"] > 10_000_000


async def test_version_that_cannot_be_served(serve: Serve, tmp_path: Path) -> None:
    """
    The version has a series as not ready, for alerts, until the repository has it no
    more.
    """
    tiny.write(tmp_path, "broken")
    (tmp_path / "broken/1/model.onnx").write_bytes(b"no graph")
    async with serve(model_control_mode="poll", repository_poll_s=0.05) as running:
        labels = {"model": "broken", "version": "1"}
        assert running.sample("convoy_model_ready", **labels) == 0
        assert running.sample("convoy_model_ready", model="tiny", version="1") == 1
        shutil.rmtree(tmp_path / "broken")
        await running.until(lambda: running.sample("convoy_model_ready", **labels) is None)


async def test_openmetrics(running: Running) -> None:
    """
    A scraper that asks for OpenMetrics gets it.
    """
    _, text = await get(f"{running.url}/metrics", Accept="application/openmetrics-text")
    assert text.endswith("# EOF\n")
