"""`convoy bench`: put load on a server and see how it bears it."""

from __future__ import annotations

import signal
import sys

from convoy.commands import command_line
from convoy.commands.bench.bench_settings import BenchSettings


def main(arguments: list[str]) -> int:
    """
    Measure, print, write; 1 if there is nothing to measure or nothing was answered.

    When it is interrupted, what there is by then gets printed and written, and it is 130.
    """
    chosen = command_line.read(BenchSettings, arguments)

    # `--help` and a typing mistake need not wait for these.
    from convoy.commands.bench.load_test import bench
    from convoy.commands.bench.target import BenchError
    from convoy.commands.classify import UsageError, find_images

    # Whoever stops a container sends SIGTERM: end as by Ctrl-C, with what was measured so far.
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
        print(f"convoy bench: {error.filename}: {error.strerror}", file=sys.stderr)
    return 1
