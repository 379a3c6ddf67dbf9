"""MLPerf's load generator in place of ours, with its Server and Offline scenarios.

The rules of a submission (https://github.com/mlcommons/inference_policies) require more than a
scenario: MLPerf's data and weights, 600 s, an accuracy run. This module makes the load alone.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlperf_loadgen

from convoy.commands.bench.bench_settings import BenchSettings
from convoy.commands.bench.load_results import OK
from convoy.commands.bench.target import Sender, Target, find
from convoy.consoles import plain_console

OFFLINE_IN_FLIGHT = 64
"""Samples in flight in the Offline scenario, which issues all samples at once."""

SUMMARY_FILE = "mlperf_log_summary.txt"


def run(settings: BenchSettings, images: Sequence[Path]) -> int:
    """
    Run MLPerf's test, and print its summary.

    Returns:
        The exit code: 1 if the result is not valid by MLPerf's rules, or if a request failed, for
        which MLPerf has no notion.

    Raises:
        BenchError: If there is nothing to measure.
        OSError: If a file cannot be read or written.
    """
    settings.mlperf_logs.mkdir(parents=True, exist_ok=True)
    # The library cannot be stopped, and a part of its test has no meaning: Ctrl-C ends the process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    failed = asyncio.run(_measure(settings, images))
    summary = (settings.mlperf_logs / SUMMARY_FILE).read_text(encoding="utf-8")
    console = plain_console()
    console.print(summary.rstrip())
    for code, count in sorted(failed.items()):
        console.print(f"{count:,} requests failed: {code}")
    return int(bool(failed) or "Result is : VALID" not in summary)


async def _measure(settings: BenchSettings, images: Sequence[Path]) -> Counter[str]:
    target = await find(settings, images)
    async with Sender(target, settings) as send:
        in_flight = OFFLINE_IN_FLIGHT if settings.mlperf == "offline" else sys.maxsize
        system = _System(send, target, in_flight)
        await asyncio.to_thread(_start_test, system, len(target.requests), settings)
    return system.failed


class _System:
    """
    The system under test, in MLPerf's terms.

    Attributes:
        failed: The number of failed requests, by their gRPC status.
    """

    def __init__(self, send: Sender, target: Target, in_flight: int) -> None:
        self.failed: Counter[str] = Counter()
        self._send = send
        self._requests = target.requests
        self._loop = asyncio.get_running_loop()
        self._places = asyncio.Semaphore(in_flight)
        self._tasks: set[asyncio.Task[None]] = set()

    def issue(self, samples: Sequence[Any]) -> None:
        """Start samples; called in MLPerf's thread."""
        # Copied, as the event loop reads them after this call has returned.
        pairs = [(sample.id, sample.index) for sample in samples]
        self._loop.call_soon_threadsafe(self._start, pairs)

    def _start(self, pairs: Sequence[tuple[int, int]]) -> None:
        for identifier, index in pairs:
            task = asyncio.create_task(self._answer(identifier, self._requests[index]))
            self._tasks.add(task)  # the event loop alone would not keep it alive
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, identifier: int, request: bytes) -> None:
        async with self._places:
            code = await self._send.send(request)
        if code != OK:
            self.failed[code] += 1
        # Complete even if it failed: MLPerf would wait for it forever.
        mlperf_loadgen.QuerySamplesComplete([mlperf_loadgen.QuerySampleResponse(identifier, 0, 0)])


def _start_test(system: _System, samples: int, settings: BenchSettings) -> None:
    """Run the whole test, blocking this thread."""
    under_test = mlperf_loadgen.ConstructSUT(system.issue, lambda: None)
    library = mlperf_loadgen.ConstructQSL(samples, samples, lambda _: None, lambda _: None)
    log = mlperf_loadgen.LogSettings()
    log.log_output.outdir = str(settings.mlperf_logs)
    log.log_output.copy_summary_to_stdout = False
    log.enable_trace = False
    try:
        mlperf_loadgen.StartTestWithLogSettings(under_test, library, _test(settings), log)
    finally:
        mlperf_loadgen.DestroyQSL(library)
        mlperf_loadgen.DestroySUT(under_test)


def _test(settings: BenchSettings) -> Any:
    (rate_per_s,) = settings.rate
    test = mlperf_loadgen.TestSettings()
    test.mode = mlperf_loadgen.TestMode.PerformanceOnly
    test.min_duration_ms = round(1000 * settings.seconds)
    test.min_query_count = 1
    if settings.mlperf == "offline":
        test.scenario = mlperf_loadgen.TestScenario.Offline
        test.offline_expected_qps = rate_per_s
    else:
        test.scenario = mlperf_loadgen.TestScenario.Server
        test.server_target_qps = rate_per_s
        test.server_target_latency_ns = round(1e6 * settings.p99_ms)
        test.server_target_latency_percentile = 0.99
    return test
