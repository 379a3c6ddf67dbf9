"""The dashboard of memory, processors and GPUs."""

from tools.grafana.board import Board, Panel, Query

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
