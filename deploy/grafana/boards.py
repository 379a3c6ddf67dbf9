"""What the dashboards show: every panel, its query and its legend. How they look: `generate.py`.

`$model` is the model that a viewer chose. Whatever several panels or alerts share is a recording
rule in `deploy/prometheus/rules.yml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["lines", "stacked", "heatmap", "number", "table"]


@dataclass(frozen=True, slots=True)
class Query:
    """
    One query of a panel.

    Attributes:
        legend: Name of each of its series, with labels in `{{ }}`.
        needs: Where only there is data: a GPU, or a control group with a limit of memory.
    """

    expr: str
    legend: str = ""
    needs: Literal["", "gpu", "limit"] = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """
    One panel.

    Attributes:
        about: What a reader sees in it.
        unit: Grafana's name of the unit.
        width: Of 24.
    """

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = "lines"
    width: int = 12


@dataclass(frozen=True, slots=True)
class Board:
    """
    One dashboard.

    Attributes:
        uid: Grafana's identifier, and the name of the file.
        rows: Panels, by the title of their row.
        by_model: Whether a viewer chooses a model.
    """

    uid: str
    title: str
    about: str
    rows: dict[str, tuple[Panel, ...]]
    by_model: bool = False


OVERVIEW = Board(
    "convoy-overview",
    "convoy: overview",
    "Traffic, errors, latency and saturation of all servers.",
    {
        "Now": (
            Panel(
                "Calls",
                "Calls a second, whatever their end.",
                (Query("sum(model_code:convoy_requests:rate1m)"),),
                unit="reqps",
                kind="number",
                width=6,
            ),
            Panel(
                "Failed",
                "Share of the calls of 5 minutes that failed for a fault of the server.",
                (Query("job:convoy_errors:ratio_rate5m"),),
                unit="percentunit",
                kind="number",
                width=6,
            ),
            Panel(
                "p99",
                "Of the slowest model: 99 of 100 answers took less.",
                (Query("max(model:convoy_request_duration_seconds:p99_1m)"),),
                unit="s",
                kind="number",
                width=6,
            ),
            Panel(
                "Versions that answer",
                "Of all models, on all servers.",
                (Query("sum(convoy_model_ready)"),),
                kind="number",
                width=6,
            ),
        ),
        "Traffic and errors": (
            Panel(
                "Calls by outcome",
                "Calls a second by gRPC status, over either transport.",
                (Query("sum by (code) (model_code:convoy_requests:rate1m)", "{{code}}"),),
                unit="reqps",
                kind="stacked",
            ),
            Panel(
                "Images by model",
                "Images a second that ran.",
                (Query("model:convoy_images:rate1m", "{{model}}"),),
                unit="cps",
                kind="stacked",
            ),
            Panel(
                "Refused or expired",
                "Requests a second, by reason.",
                (
                    Query(
                        "sum by (model, reason) (model_reason:convoy_rejected:rate1m)",
                        "{{model}} {{reason}}",
                    ),
                ),
                unit="reqps",
            ),
            Panel(
                "Error budget",
                "Share of the calls that failed for a fault of the server; 1 in the objective's "
                "unit uses up the budget exactly.",
                (
                    Query(
                        "job:convoy_errors:ratio_rate5m"
                        " / (1 - scalar(convoy:availability:objective))",
                        "5 minutes",
                    ),
                    Query(
                        "job:convoy_errors:ratio_rate1h"
                        " / (1 - scalar(convoy:availability:objective))",
                        "1 hour",
                    ),
                ),
            ),
        ),
        "Latency": (
            Panel(
                "Latency of all models",
                "Inference calls of each minute, by the time from arrival to answer.",
                (
                    Query(
                        "sum by (le) (increase(convoy_request_duration_seconds_bucket[1m]))",
                        "{{le}}",
                    ),
                ),
                unit="s",
                kind="heatmap",
            ),
            Panel(
                "p99 by model",
                "99 of 100 answers took less; the line is the objective.",
                (
                    Query("model:convoy_request_duration_seconds:p99_1m", "{{model}}"),
                    Query("convoy:latency_seconds:objective", "objective"),
                ),
                unit="s",
            ),
        ),
        "Saturation": (
            Panel(
                "Queues",
                "Share of the places that are taken; at 1 calls are refused.",
                (Query("instance_model:convoy_queue:ratio", "{{model}} {{instance}}"),),
                unit="percentunit",
            ),
            Panel(
                "Waiting",
                "Requests that wait for the device, on average.",
                (Query("model:convoy_queue_seconds:rate1m", "{{model}}"),),
            ),
            Panel(
                "Images per run",
                "How full batches are; 1 means that nobody shares one.",
                (Query("model:convoy_batch_size:mean1m", "{{model}}"),),
            ),
            Panel(
                "Processors",
                "Processor seconds a second of each server.",
                (
                    Query(
                        'sum by (instance) (rate(process_cpu_seconds_total{job="convoy"}[1m]))',
                        "{{instance}}",
                    ),
                ),
            ),
        ),
    },
)

MODEL = Board(
    "convoy-model",
    "convoy: model",
    "One model: where its time goes, its batches, its queue, its memory.",
    {
        "Served": (
            Panel(
                "Versions",
                "What answers, and where it runs.",
                (Query('convoy_model_info{model="$model"}'),),
                kind="table",
                width=24,
            ),
        ),
        "Time": (
            Panel(
                "Where the time goes",
                "Mean of each phase of a request: decoding, waiting, running, answering.",
                (
                    Query(
                        'model_phase:convoy_phase_duration_seconds:mean1m{model="$model"}',
                        "{{phase}}",
                    ),
                ),
                unit="s",
                kind="stacked",
            ),
            Panel(
                "Latency",
                "From arrival to answer.",
                tuple(
                    Query(
                        f'model:convoy_request_duration_seconds:{quantile}_1m{{model="$model"}}',
                        quantile,
                    )
                    for quantile in ("p50", "p95", "p99")
                ),
                unit="s",
            ),
            Panel(
                "Slowest phases",
                "99 of 100 requests spent less in each.",
                (
                    Query(
                        'model_phase:convoy_phase_duration_seconds:p99_1m{model="$model"}',
                        "{{phase}}",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "Calls",
                "Calls a second by gRPC status.",
                (Query('model_code:convoy_requests:rate1m{model="$model"}', "{{code}}"),),
                unit="reqps",
                kind="stacked",
            ),
        ),
        "Batches and queue": (
            Panel(
                "Sizes of batches",
                "Runs of each minute by their images.",
                (
                    Query(
                        'sum by (le) (increase(convoy_batch_size_bucket{model="$model"}[1m]))',
                        "{{le}}",
                    ),
                ),
                kind="heatmap",
            ),
            Panel(
                "Queue",
                "Images that wait, on each server; at the limit calls are refused.",
                (
                    Query('convoy_queue_depth{model="$model"}', "{{instance}}"),
                    Query('max(convoy_queue_limit{model="$model"})', "limit"),
                ),
            ),
        ),
        "Memory": (
            Panel(
                "Memory by its manifest",
                "Measured when the artifact was made.",
                (
                    Query(
                        'max by (version, kind) (convoy_model_memory_bytes{model="$model"})',
                        "version {{version}}, {{kind}}",
                    ),
                ),
                unit="bytes",
            ),
            Panel(
                "Loading",
                "Time from the file to the first answer, of the newest version.",
                (Query('convoy_model_load_seconds{model="$model"}', "{{instance}}"),),
                unit="s",
            ),
        ),
    },
    by_model=True,
)

DEVICE = Board(
    "convoy-device",
    "convoy: device",
    "Memory, processors and GPUs of each server, and where graphs run.",
    {
        "Server": (
            Panel(
                "Memory",
                "Of the process and of its control group, now and at most.",
                (Query('convoy_memory_bytes{kind!="cgroup_limit"}', "{{instance}} {{kind}}"),),
                unit="bytes",
            ),
            Panel(
                "Memory that is left",
                "Share of the control group's limit.",
                (Query("instance:convoy_memory_headroom:ratio", "{{instance}}", needs="limit"),),
                unit="percentunit",
            ),
            Panel(
                "Processors",
                "Processor seconds a second.",
                (Query('rate(process_cpu_seconds_total{job="convoy"}[1m])', "{{instance}}"),),
            ),
            Panel(
                "Open files",
                "Connections and files of the process, and how many it may have.",
                (
                    Query('process_open_fds{job="convoy"}', "{{instance}}"),
                    Query('process_max_fds{job="convoy"}', "{{instance}} limit"),
                ),
            ),
        ),
        "Where graphs run": (
            Panel(
                "Nodes by provider",
                "Nodes of each graph, by the execution provider that runs them.",
                (
                    Query(
                        "max by (model, provider) (convoy_provider_nodes)",
                        "{{model}} {{provider}}",
                    ),
                ),
            ),
            Panel(
                "Fallbacks",
                "1 where a model does not run on the preferred device.",
                (Query("convoy_provider_fallback", "{{model}} {{instance}}"),),
            ),
        ),
        "GPU": (
            Panel(
                "GPU memory",
                "What all processes hold, and what there is.",
                (
                    Query("convoy_gpu_memory_used_bytes", "{{gpu}} used", needs="gpu"),
                    Query("convoy_gpu_memory_total_bytes", "{{gpu}} total", needs="gpu"),
                ),
                unit="bytes",
            ),
            Panel(
                "GPU utilisation",
                "Share of the time in which a kernel ran.",
                (Query("convoy_gpu_utilization_ratio", "{{gpu}}", needs="gpu"),),
                unit="percentunit",
            ),
        ),
    },
)

BOARDS = (OVERVIEW, MODEL, DEVICE)
