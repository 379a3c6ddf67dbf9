"""The dashboard of models."""

from tools.grafana.board import Board, Panel, Query
from tools.grafana.expressions import BUCKETS, MODELS, latency, mean, quantile, rate

_PHASES = "convoy_phase_duration_seconds"

_PADDING = rate("convoy_batch_padding_images_total", "model")

MODEL = Board(
    "convoy-model",
    "convoy: model",
    "The time, batches, queue and memory of models.",
    {
        "Served": (
            Panel(
                "Versions",
                "The versions that are served, and where they run.",
                (Query(f"convoy_model_info{{{MODELS}}}"),),
                kind="table",
                width=24,
            ),
        ),
        "Time": (
            Panel(
                "Where the time goes",
                "Mean time of each phase of a request: decoding, waiting, running, answering.",
                (Query(mean(_PHASES, "phase"), "{{phase}}"),),
                unit="s",
                kind="stacked",
            ),
            Panel(
                "Latency",
                "As clients see it: the wait in the gRPC transport, which all models share, and "
                "the handler.",
                (
                    Query(latency(0.5), "{{model}} p50"),
                    Query(latency(0.95), "{{model}} p95"),
                    Query(latency(0.99), "{{model}} p99"),
                    Query(quantile(0.99, BUCKETS, "model, le"), "{{model}} p99 of the handler"),
                ),
                unit="s",
            ),
            Panel(
                "Slowest phases",
                "p99 of each phase.",
                (Query(quantile(0.99, f"{_PHASES}_bucket", "phase, le"), "{{phase}}"),),
                unit="s",
            ),
            Panel(
                "Calls",
                "Calls per second by gRPC status.",
                (Query(rate("convoy_requests_total", "code"), "{{code}}"),),
                unit="reqps",
                kind="stacked",
            ),
        ),
        "Batches and queue": (
            Panel(
                "Sizes of batches",
                "Runs by their number of images.",
                (
                    Query(
                        f"sum by (le) (increase(convoy_batch_size_bucket{{{MODELS}}}"
                        "[$__rate_interval]))",
                        "{{le}}",
                    ),
                ),
                kind="heatmap",
            ),
            Panel(
                "Queue",
                "Images that wait, on each server.",
                (Query(f"convoy_queue_depth{{{MODELS}}}", "{{model}} {{instance}}"),),
                leads_to="device",
            ),
            Panel(
                "Images per run",
                "Mean number of images in a batch. At 1, no requests share a batch.",
                (Query(mean("convoy_batch_size", "model"), "{{model}}"),),
            ),
            Panel(
                "Padding",
                "Share of the images in batches that a GPU adds to reach a size it knows. On a "
                "CPU: 0.",
                (
                    Query(
                        f"{_PADDING} / ({rate('convoy_batch_size_sum', 'model')} + {_PADDING})",
                        "{{model}}",
                    ),
                ),
                unit="percentunit",
            ),
        ),
        "Drift": (
            Panel(
                "Drift",
                "Largest population stability index of each signal against the model's baseline. "
                "Above 0.2, the requests have changed. Needs --drift.",
                (
                    Query(
                        f"max by (model, signal, window) (convoy_drift_psi{{{MODELS}}})",
                        "{{model}} {{signal}} {{window}}",
                    ),
                ),
            ),
            Panel(
                "Classes",
                "Images per second by their most probable class. Needs --drift.",
                (
                    Query(
                        f'sum by (bin) (rate(convoy_drift_images_total{{{MODELS}, signal="class"}}'
                        "[$__rate_interval]))",
                        "{{bin}}",
                    ),
                ),
                unit="cps",
                kind="stacked",
            ),
        ),
        "Shadow": (
            Panel(
                "Agreement of the shadow",
                "Share of images with the same most probable class as in the version that serves, "
                "with its 95 % interval.",
                (
                    Query(
                        "max by (model, version, bound) "
                        f'(convoy_shadow_estimate{{{MODELS}, measure="agreement"}})',
                        "{{model}} version {{version}}, {{bound}}",
                    ),
                ),
                unit="percentunit",
            ),
            Panel(
                "Images of the shadow",
                "Images per second that agreed, disagreed or failed, and those that the device had "
                "no time for.",
                (
                    Query(
                        "sum by (model, version, outcome) "
                        f"(rate(convoy_shadow_images_total{{{MODELS}}}[$__rate_interval]))",
                        "{{model}} version {{version}}, {{outcome}}",
                    ),
                ),
                unit="cps",
                kind="stacked",
            ),
        ),
        "Memory": (
            Panel(
                "Memory",
                "Weights and arena according to the manifest; on a GPU, also the memory that "
                "loading took.",
                (
                    Query(
                        f"max by (model, version, kind) (convoy_model_memory_bytes{{{MODELS}}})",
                        "{{model}} version {{version}}, {{kind}}",
                    ),
                ),
                unit="bytes",
            ),
            Panel(
                "Loading",
                "Time to load the newest version: from the file to the first answer.",
                (Query(f"convoy_model_load_seconds{{{MODELS}}}", "{{model}} {{instance}}"),),
                unit="s",
                leads_to="device",
            ),
        ),
    },
    by_model=True,
)
