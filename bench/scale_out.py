"""The throughput that a second replica adds: `python -m bench.scale_out`; prints JSON.

Each replica has one processor of its own and serves a ResNet-18; clients balance over one replica
and over two, in turn.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console

from bench.race.convoy_servers import photo
from bench.race.networks import write_networks
from convoy import Client
from convoy.commands.measurement.intervals import of_median
from convoy.commands.measurement.progress import progress_bar
from tests.harness.server_process import ServerProcess

ROOT = Path("build/race/models")
MODEL = "resnet18"
PAIRS = 10
SECONDS = 4.0
CALLERS = 16


def main() -> int:
    """Measure and print."""
    console = Console(emoji=False, stderr=True)
    write_networks(ROOT, console)
    options = ("--model-control-mode", "explicit", "--load-model", MODEL, "--device", "cpu")
    with ExitStack() as stack:
        addresses = []
        usual = os.sched_getaffinity(0)
        for processor in sorted(usual)[:2]:
            # The server inherits the processor; two replicas on one would share it.
            os.sched_setaffinity(0, {processor})
            addresses.append(stack.enter_context(ServerProcess(ROOT, *options)).address)
        os.sched_setaffinity(0, usual)
        one, two = [], []
        with progress_bar(console) as progress:
            for number in range(PAIRS):
                progress("one replica, two", number, PAIRS)
                # In pairs, so that a disturbance of the machine meets both.
                one.append(_images_per_s(addresses[:1]))
                two.append(_images_per_s(addresses))
    ratios = np.divide(two, one).tolist()
    figures = {
        "model": MODEL,
        "pairs": PAIRS,
        "one_replica_per_s": round(statistics.median(one), 1),
        "two_replicas_per_s": round(statistics.median(two), 1),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_95": [round(bound, 2) for bound in of_median(ratios)],
    }
    print(json.dumps(figures, indent=2))
    return 0


def _images_per_s(addresses: Sequence[str]) -> float:
    counts = [0] * CALLERS
    image = photo()
    with Client("ipv4:" + ",".join(addresses), balance=True) as client:
        client.classify(image, model=MODEL)  # connects before the clock runs
        ends = time.perf_counter() + SECONDS

        def call(place: int) -> None:
            while time.perf_counter() < ends:
                client.classify(image, model=MODEL)
                counts[place] += 1

        started = time.perf_counter()
        threads = [threading.Thread(target=call, args=[place]) for place in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
