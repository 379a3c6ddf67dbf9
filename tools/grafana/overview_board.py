"""The dashboard of all servers and models."""

from tools.grafana.board import Board, Panel, Query
from tools.grafana.expressions import BUCKETS, MODELS, SERVERS, latency, mean, processors, rate

_SERVER_FAULTS = 'code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DATA_LOSS"'

# Without calls, a share of them is not a number: `> 0` leaves it out.
_FAILED = (
    f"(sum(rate(convoy_requests_total{{{MODELS}, {_SERVER_FAULTS}}}[$__rate_interval])) "
    f"or vector(0)) / (sum(rate(convoy_requests_total{{{MODELS}}}[$__rate_interval])) > 0)"
)

OVERVIEW = Board(
    "convoy-overview",
    "convoy: overview",
    "Traffic, errors, latency and saturation of all servers.",
    {
        "Now": (
            Panel(
                "Calls",
                "Calls per second, successful or not.",
                (Query(f"sum(rate(convoy_requests_total{{{MODELS}}}[$__rate_interval]))"),),
                unit="reqps",
                kind="number",
                width=6,
            ),
            Panel(
                "Failed",
                "Share of calls that failed for a fault of the server. Yellow: more than one in a "
                "thousand, the objective.",
                (Query(_FAILED),),
                unit="percentunit",
                kind="number",
                width=6,
                limits=(0.001, 0.01),
            ),
            Panel(
                "p99",
                "p99 of the slowest model, as clients see it. Red: above 0.5 s, the objective.",
                (Query(f"max({latency(0.99)} > 0)"),),
                unit="s",
                kind="number",
                width=6,
                limits=(0.4, 0.5),
            ),
            Panel(
                "Versions not ready",
                "Versions of models that should answer and do not, on all servers.",
                (Query(f"count(convoy_model_ready{{{MODELS}}} == 0) or vector(0)"),),
                kind="number",
                width=6,
                limits=(1, 1),
            ),
        ),
        "Traffic and errors": (
            Panel(
                "Calls by outcome",
                "Calls per second by gRPC status, over either transport.",
                (Query(rate("convoy_requests_total", "code"), "{{code}}"),),
                unit="reqps",
                kind="stacked",
            ),
            Panel(
                "Images by model",
                "Images per second that ran.",
                (Query(rate("convoy_batch_size_sum", "model"), "{{model}}"),),
                unit="cps",
                kind="stacked",
                leads_to="model",
            ),
            Panel(
                "Refused or expired",
                "Requests per second, by reason.",
                (Query(rate("convoy_rejected_total", "model, reason"), "{{model}} {{reason}}"),),
                unit="reqps",
                leads_to="model",
            ),
            Panel(
                "Error budget",
                "How fast the error budget is used by all servers and models, whichever are chosen "
                "above. At 1, the budget of a month lasts a month.",
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
                "Inference calls by the time from the start of their handler to its end.",
                (
                    Query(
                        f"sum by (le) (increase({BUCKETS}{{{MODELS}}}[$__rate_interval]))",
                        "{{le}}",
                    ),
                ),
                unit="s",
                kind="heatmap",
            ),
            Panel(
                "p99 by model",
                "p99 as clients see it: the wait in the gRPC transport and the handler.",
                (Query(latency(0.99), "{{model}}"),),
                unit="s",
                leads_to="model",
            ),
        ),
        "Saturation": (
            Panel(
                "Queues",
                "Share of the places that are taken. At 100 %, calls are refused.",
                (
                    Query(
                        f"convoy_queue_depth{{{MODELS}}} / convoy_queue_limit{{{MODELS}}}",
                        "{{model}} {{instance}}",
                    ),
                ),
                unit="percentunit",
                leads_to="model",
            ),
            Panel(
                "Waiting for the device",
                "Requests that wait for the device, on average.",
                (
                    Query(
                        rate(
                            "convoy_phase_duration_seconds_sum", "model", f'{MODELS}, phase="queue"'
                        ),
                        "{{model}}",
                    ),
                ),
                leads_to="model",
            ),
            Panel(
                "Waiting in the transport",
                "Calls that wait for their handler, on each server. If many wait while processors "
                "are idle, one process cannot take more calls.",
                (Query(f"convoy_transport_waiting_calls{{{SERVERS}}}", "{{instance}}"),),
                leads_to="device",
            ),
            Panel(
                "Calls in flight",
                "Calls in handlers, on each server.",
                (Query(f"convoy_calls_in_flight{{{SERVERS}}}", "{{instance}}"),),
                leads_to="device",
            ),
            Panel(
                "Dropped calls",
                "Calls per second that were cancelled, or expired, before their handler started.",
                (
                    Query(
                        rate("convoy_transport_dropped_calls_total", "instance", SERVERS),
                        "{{instance}}",
                    ),
                ),
                unit="reqps",
                leads_to="device",
            ),
            Panel(
                "Images per run",
                "Mean number of images in a batch. At 1, no requests share a batch.",
                (Query(mean("convoy_batch_size", "model"), "{{model}}"),),
                leads_to="model",
            ),
            Panel(
                "Processors",
                "Processor cores in use, on each server.",
                (Query(processors(f'{SERVERS}, job="convoy"'), "{{instance}}"),),
                leads_to="device",
            ),
        ),
    },
    by_model=True,
)
