"""The results of a load test as a table."""

from __future__ import annotations

from rich.console import Console

from convoy.commands.bench.load_results import Report, Step
from convoy.commands.measurement.tables import print_numbers

SHOWN = (50.0, 90.0, 99.0, 99.9, 100.0)
"""The percentiles in the table."""

LATE_MS = 10.0
"""The lag from which a note says that the generator was at its limit."""


def print_table(report: Report, console: Console) -> None:
    """Print a row for each load, and notes on the request and the failures below."""
    latencies = [f"p{p:g}" if p < 100 else "max" for p in SHOWN]
    columns = ["load", "requests", "images/s", *(f"{name} ms" for name in latencies), "failed"]
    print_numbers(columns, (_row(report, step) for step in report.steps), console)
    console.print()
    for line in _notes(report):
        console.print(line)


def _row(report: Report, step: Step) -> list[str]:
    failed = ", ".join(f"{count:,} {code}" for code, count in sorted(step.failed.items()))
    return [
        step.name,
        f"{step.requests:,}",
        f"{step.answered_per_s * report.batch_size:,.1f}",
        *(f"{step.latency(p):,.2f}" if step.latency_ms else "" for p in SHOWN),
        failed,
    ]


def _notes(report: Report) -> list[str]:
    version = f" version {report.model_version}" if report.model_version else ""
    of = "an image" if report.batch_size == 1 else f"{report.batch_size} images"
    late = [step for step in report.steps if step.lag_p99_ms > LATE_MS]
    return [
        f"{report.model}{version} of {report.server} at {report.address}, {report.measured_at}",
        f"a request is {of}, {report.input}, {report.request_bytes:,} bytes; "
        f"{report.connections} connections",
        *(f"{code}: {details}" for code, details in sorted(report.failures.items())),
        # Such a step measured the generator rather than the server.
        *(
            f"{step.name}: requests left up to {step.lag_p99_ms:.1f} ms late (p99); latency counts "
            "that, and more load than this needs another generator"
            for step in late
        ),
        *(["interrupted: the loads after these were not applied"] if report.interrupted else []),
    ]
