"""Processor time of the engine per request of a front: `python -m bench.front_engine`; prints JSON.

A child process (`bench/front_client.py`) sends records as a front does, and does nothing else. The
model answers at once, so that only the engine's own work is measured: records, admission, queue,
scheduler, joining tensors, outputs and answers. The least of several rounds is the figure that
other work disturbs least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.sleeping_models import write_models
from convoy.service.app import Server
from convoy.service.lifecycle import Phase
from convoy.service.serving.fronts.arena import make_arena
from convoy.service.serving.fronts.front_session import Session
from convoy.service.serving.fronts.snapshot import Snapshot
from convoy.service.serving.served_model import ServedModel
from convoy.service.settings import Settings
from convoy.service.telemetry.batch_record import NO_TIMES, BatchTimes, Outputs

ARENA_BYTES = 64 * 2**20
ROUNDS = 5


class _AtOnce:
    """A runner that joins its tensors, and answers with zeros."""

    def __init__(self, outputs: Sequence[str], classes: int) -> None:
        self._scores = np.zeros((1024, classes), np.float32)
        self._outputs = outputs

    def run(self, items: Sequence[npt.NDArray[Any]]) -> tuple[list[Outputs], BatchTimes]:
        if len(items) > 1:
            np.concatenate(items)
        parts, at = [], 0
        for item in items:
            rows = self._scores[at : at + len(item)]
            parts.append(dict.fromkeys(self._outputs, rows))
            at += len(item)
        return parts, NO_TIMES


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--repository", type=Path, default=Path("build/fronts"))
    options = parser.parse_args()
    if not options.repository.exists():
        write_models(options.repository)
    print(json.dumps(asyncio.run(_measure(options.repository, options.requests)), indent=2))
    return 0


async def _measure(repository: Path, requests: int) -> dict[str, dict[str, float]]:
    settings = Settings(
        model_repository=str(repository), host="127.0.0.1", grpc_port=0, http_port=0, device="cpu"
    )
    server = Server(settings)
    await server.startup()
    await server.load()
    found: dict[str, dict[str, float]] = {}
    for name in ("lenet5", "sleeping"):
        model = server.registry.get(name)
        outputs = [output.name for output in model.manifest.outputs]
        runner = _AtOnce(outputs, len(model.manifest.labels))
        server.batcher._models[model._queue].runner = runner
        for kind in ("tensor", "reserved"):
            for in_flight in (8, 64):
                rounds = [
                    await _round(server, model, kind, in_flight, requests) for _ in range(ROUNDS)
                ]
                found[f"{name}, {kind}, {in_flight} in flight"] = {
                    "least_us": round(min(rounds), 1),
                    "median_us": round(sorted(rounds)[ROUNDS // 2], 1),
                }
    await server.stop()
    return found


async def _round(
    server: Server, model: ServedModel, kind: str, in_flight: int, requests: int
) -> float:
    """Return the microseconds of processor time per request."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arena, lost = make_arena(ARENA_BYTES), asyncio.Event()
    session = Session(ours, arena, server.metrics, None, lost.set, server.shadows.observe_slot)
    snapshot = Snapshot(
        number=1, started=True, phase=Phase.SERVING, log_level=20, models=[], versions={}
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.front_client"),
        *map(str, (theirs.fileno(), int(kind == "reserved"), in_flight, requests)),
        pass_fds=(theirs.fileno(),),
    )
    theirs.close()
    # The child reads the snapshot when it has started.
    session.send_snapshot(snapshot, {1: model})
    while not session.listens:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.01)
    started = time.process_time()
    await lost.wait()
    spent = time.process_time() - started
    session.close()
    os.close(arena)
    await process.wait()
    return 1e6 * spent / requests


if __name__ == "__main__":
    raise SystemExit(main())
