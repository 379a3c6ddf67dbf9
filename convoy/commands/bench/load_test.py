"""`convoy bench` from its settings to its table and files."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from convoy.artifact.whole_files import write_whole
from convoy.commands.bench.bench_settings import BenchSettings
from convoy.commands.bench.load_results import Report, Step, summarize
from convoy.commands.bench.load_table import print_table
from convoy.commands.bench.loops import arrivals, closed_loop, open_loop
from convoy.commands.bench.target import Sender, find
from convoy.commands.measurement.progress import Progress, progress_bar
from convoy.commands.output_files import prepare
from convoy.consoles import plain_console

DEFAULT_CONCURRENCY = (1, 4, 16, 64)
"""The loads if the settings name none."""


def bench(settings: BenchSettings, images: Sequence[Path]) -> int:
    """
    Measure, and print, write and draw the results.

    Returns:
        The exit code: 130 if the test was interrupted, 1 if no request was answered.

    Raises:
        BenchError: If there is nothing to measure.
        OSError: If a file cannot be read or written.
        KeyboardInterrupt: If the test was interrupted before the first load was complete.
    """
    prepare(settings.json_file, settings.plot)
    report = asyncio.run(measure(settings, images))
    print_table(report, plain_console())
    if settings.json_file:
        write_whole(settings.json_file, report.model_dump_json(indent=2) + "\n")
    is_answered = any(step.latency_ms for step in report.steps)
    if settings.plot and is_answered:
        from convoy.commands.bench.load_figure import draw  # matplotlib takes a second to import

        draw(report, settings.plot)
    elif settings.plot:
        print(f"{settings.plot} is not drawn: no request was answered", file=sys.stderr)
    if report.interrupted:
        return 130
    # Failures under load are a result, not an error; no answer at all is one.
    return 0 if is_answered else 1


async def measure(settings: BenchSettings, images: Sequence[Path]) -> Report:
    """
    Put on each load of *settings*, one after the other.

    After a cancellation, return the loads that are complete, if there are any.

    Raises:
        BenchError: If there is nothing to measure.
        OSError: If one of *images* cannot be read.
    """
    target = await find(settings, images)
    steps: list[Step] = []
    interrupted = False
    with progress_bar(plain_console(stderr=True)) as show:
        async with Sender(target, settings) as send:
            try:
                await _put_on_all(send, settings, steps, show)
            except asyncio.CancelledError:
                if not steps:  # nothing to report: the command ends like any other
                    raise
                interrupted = True
    return Report(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        address=settings.address,
        server=target.server,
        model=target.model,
        model_version=target.model_version,
        input=target.input,
        batch_size=settings.batch_size,
        request_bytes=round(sum(map(len, target.requests)) / len(target.requests)),
        connections=settings.connections,
        timeout_s=settings.timeout_s,
        arrivals=settings.arrivals,
        seed=settings.seed,
        steps=tuple(steps),
        failures=send.failures,
        interrupted=interrupted,
    )


async def _put_on_all(
    send: Sender, settings: BenchSettings, steps: list[Step], show: Progress
) -> None:
    # --rate replaces the closed loops, also the default ones.
    closed: Sequence[int] = () if settings.rate else settings.concurrency or DEFAULT_CONCURRENCY
    total = len(closed) + len(settings.rate)
    for in_flight in closed:
        show(f"{in_flight} in flight", len(steps), total)
        steps.append(await _closed(send, in_flight, settings))
    for rate_per_s in settings.rate:
        show(f"{rate_per_s:g} requests/s", len(steps), total)
        steps.append(await _open(send, rate_per_s, settings))


async def _closed(send: Sender, in_flight: int, settings: BenchSettings) -> Step:
    start = asyncio.get_running_loop().time() + settings.warmup_s
    answers = await closed_loop(send, in_flight, settings.warmup_s + settings.seconds)
    return summarize(answers, start, start + settings.seconds, concurrency=in_flight)


async def _open(send: Sender, rate_per_s: float, settings: BenchSettings) -> Step:
    seconds = settings.warmup_s + settings.seconds
    due = arrivals(settings.arrivals, rate_per_s, seconds, settings.seed)
    start = asyncio.get_running_loop().time() + settings.warmup_s
    answers = await open_loop(send, due)
    return summarize(answers, start, start + settings.seconds, rate_per_s=rate_per_s)
