"""The dashboard of all servers and models."""

from tools.grafana.board import Board, Panel, Query

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
                "Of the slowest model: 99 of 100 clients waited less.",
                (Query("max(model:convoy_latency_seconds:p99_1m)"),),
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
                "Time in handlers",
                "Inference calls of each minute, by the time from the handler's start to the end.",
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
                "99 of 100 clients waited less, in the gRPC transport and in the handler; the line "
                "is the objective.",
                (
                    Query("model:convoy_latency_seconds:p99_1m", "{{model}}"),
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
                "Waiting in the transport",
                "Calls that wait for their handler, on each server. Many, while processors are not "
                "busy, mean that one process cannot take more calls.",
                (Query("convoy_transport_waiting_calls", "{{instance}}"),),
            ),
            Panel(
                "Calls in flight",
                "Calls in handlers, on each server.",
                (Query("convoy_calls_in_flight", "{{instance}}"),),
            ),
            Panel(
                "Dropped calls",
                "Calls a second that were cancelled, or expired, before their handler started.",
                (
                    Query(
                        "sum by (instance) (rate(convoy_transport_dropped_calls_total[1m]))",
                        "{{instance}}",
                    ),
                ),
                unit="reqps",
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
