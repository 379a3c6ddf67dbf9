"""The dashboard of one model."""

from tools.grafana.board import Board, Panel, Query

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
                "As clients see it: the wait in the gRPC transport, which all models share, and "
                "the handler.",
                (
                    *(
                        Query(
                            f'model:convoy_latency_seconds:{quantile}_1m{{model="$model"}}',
                            quantile,
                        )
                        for quantile in ("p50", "p95", "p99")
                    ),
                    Query(
                        'model:convoy_request_duration_seconds:p99_1m{model="$model"}',
                        "p99 of the handler",
                    ),
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
            Panel(
                "Images per run",
                "1 means that nobody shares a run.",
                (Query('model:convoy_batch_size:mean1m{model="$model"}', "mean"),),
            ),
            Panel(
                "Filled up",
                "Share of what a GPU runs that fills batches up to a size it knows; 0 on a CPU.",
                (
                    Query(
                        'sum(rate(convoy_batch_padding_images_total{model="$model"}[1m])) / '
                        '(sum(rate(convoy_batch_size_sum{model="$model"}[1m])) + '
                        'sum(rate(convoy_batch_padding_images_total{model="$model"}[1m])))',
                        "share",
                    ),
                ),
                unit="percentunit",
            ),
        ),
        "Memory": (
            Panel(
                "Memory",
                "Weights and arena by its manifest; on a GPU also what it took when it was loaded.",
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
