"""The dashboard of memory, processors and GPUs."""

from tools.grafana.board import Board, Panel, Query
from tools.grafana.expressions import SERVERS, processors

_PROCESS = f'{SERVERS}, job="convoy"'

_WORKING_SET, _LIMIT = (
    f'sum without (kind) (convoy_memory_bytes{{{SERVERS}, kind="{kind}"}})'
    for kind in ("cgroup_working_set", "cgroup_limit")
)

DEVICE = Board(
    "convoy-device",
    "convoy: device",
    "Memory, processors and GPUs of each server, and where graphs run.",
    {
        "Server": (
            Panel(
                "Memory",
                "Memory of the process and of its control group, now and at most.",
                (
                    Query(
                        f'convoy_memory_bytes{{{SERVERS}, kind!="cgroup_limit"}}',
                        "{{instance}} {{kind}}",
                    ),
                ),
                unit="bytes",
            ),
            Panel(
                "Memory in use",
                "Share of the control group's limit, without the page cache that the kernel drops "
                "first. At 100 %, the kernel kills the process.",
                (
                    Query(
                        f"{_WORKING_SET} / {_LIMIT}",
                        "{{instance}}",
                        needs="limit",
                    ),
                ),
                unit="percentunit",
            ),
            Panel(
                "Processors",
                "Processor cores in use.",
                (Query(processors(_PROCESS), "{{instance}}"),),
            ),
            Panel(
                "Open files",
                "Open connections and files of the process, as a share of its limit.",
                (
                    Query(
                        f"process_open_fds{{{_PROCESS}}} / process_max_fds{{{_PROCESS}}}",
                        "{{instance}}",
                    ),
                ),
                unit="percentunit",
            ),
        ),
        "Where graphs run": (
            Panel(
                "Nodes by provider",
                "Nodes of each graph, by the execution provider that runs them.",
                (
                    Query(
                        f"max by (model, provider) (convoy_provider_nodes{{{SERVERS}}})",
                        "{{model}} {{provider}}",
                    ),
                ),
                leads_to="model",
            ),
            Panel(
                "Fallbacks",
                "1 if a model does not run on the preferred device or provider.",
                (Query(f"convoy_provider_fallback{{{SERVERS}}}", "{{model}} {{instance}}"),),
                leads_to="model",
            ),
        ),
        "GPU, as the server sees it": (
            Panel(
                "GPU memory",
                "Memory that all processes hold, as a share of the GPU's.",
                (
                    Query(
                        f"convoy_gpu_memory_used_bytes{{{SERVERS}}} "
                        f"/ convoy_gpu_memory_total_bytes{{{SERVERS}}}",
                        "{{instance}} {{gpu}}",
                        needs="gpu",
                    ),
                ),
                unit="percentunit",
            ),
            Panel(
                "GPU utilisation",
                "Share of the time in which a kernel ran.",
                (
                    Query(
                        f"convoy_gpu_utilization_ratio{{{SERVERS}}}",
                        "{{instance}} {{gpu}}",
                        needs="gpu",
                    ),
                ),
                unit="percentunit",
            ),
        ),
        "GPU, by NVIDIA's DCGM exporter": (
            Panel(
                "Temperature",
                "Temperature of each GPU.",
                (Query("DCGM_FI_DEV_GPU_TEMP", "{{Hostname}} {{gpu}}", needs="dcgm"),),
                unit="celsius",
            ),
            Panel(
                "Power",
                "Power that each GPU draws.",
                (Query("DCGM_FI_DEV_POWER_USAGE", "{{Hostname}} {{gpu}}", needs="dcgm"),),
                unit="watt",
            ),
            Panel(
                "Clock",
                "Clock of the streaming multiprocessors.",
                (Query("DCGM_FI_DEV_SM_CLOCK * 1e6", "{{Hostname}} {{gpu}}", needs="dcgm"),),
                unit="hertz",
            ),
            Panel(
                "Errors (XID)",
                "Number of the last error of each GPU; 0 if there was none. NVIDIA's documentation "
                "explains the numbers.",
                (Query("DCGM_FI_DEV_XID_ERRORS", "{{Hostname}} {{gpu}}", needs="dcgm"),),
            ),
        ),
    },
)
