"""`convoy bench`: put load on a server and measure its latency and throughput."""

from __future__ import annotations

import signal
import sys

from convoy.commands.bench.bench_settings import BenchSettings
from convoy.commands.command_line import UsageError, command
from convoy.commands.output_files import explain


@command(BenchSettings)
def main(chosen: BenchSettings) -> int:
    """
    Measure, print and write; return 1 if there is nothing to measure or nothing was answered.

    After an interruption, print and write the loads that are complete, and return 130.
    """
    # These take a moment to import: --help and a wrong flag do not wait for them.
    from convoy.commands.bench.load_test import bench
    from convoy.commands.bench.target import BenchError
    from convoy.commands.image_files import find_images

    # Containers are stopped with SIGTERM; handle it like Ctrl-C, and keep what was measured.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        images = list(find_images(chosen.images))
        if chosen.mlperf:
            from convoy.commands.bench import mlperf

            return mlperf.run(chosen, images)
        return bench(chosen, images)
    except (BenchError, UsageError) as error:
        print(f"convoy bench: {error}", file=sys.stderr)
    except OSError as error:
        print(f"convoy bench: {explain(error)}", file=sys.stderr)
    return 1
