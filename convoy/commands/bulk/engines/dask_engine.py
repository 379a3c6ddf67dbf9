"""Workers of Dask: a cluster, or processes on this machine. Nannies restart those that end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import dask
from distributed import Client, KilledWorker, LocalCluster

from convoy.commands.bulk.bulk_error import BulkError

T = TypeVar("T")

_SETTINGS = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}
"""Dask's settings for a cluster on this machine, where the model needs the processors.

By default, Dask samples the stack of each worker every 10 ms and checks the delay of each event
loop every 20 ms. It also makes the C library return the memory of each image to the system, so that
the next image needs new pages. Together, this takes a tenth of a processor (docs/explanation/
benchmarks.md, "Bulk classification").
"""


class DaskEngine:
    """
    Futures on a Dask cluster.

    Args:
        address: Address of its scheduler; empty for a cluster on this machine.
        workers: Number of workers on this machine.
    """

    crashes: tuple[type[Exception], ...] = (KilledWorker,)

    def __init__(self, address: str, workers: int) -> None:
        self._cluster = None if address else _local_cluster(workers)
        try:
            self._client = Client(address or self._cluster)
        except OSError as error:
            raise BulkError(f"cannot reach a Dask scheduler at {address}: {error}") from error
        self._executor = self._client.get_executor(pure=False)

    @property
    def workers(self) -> int:
        return len(self._threads())

    @property
    def slots(self) -> int:
        """Two for each thread, so that none waits for the next shard."""
        return 2 * max(1, sum(self._threads().values()))

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        future: Future[T] = self._executor.submit(function, *arguments)
        return future

    def close(self) -> None:
        """Cancel what runs, and end the workers on this machine."""
        self._executor.shutdown(wait=False)
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _threads(self) -> dict[str, int]:
        found: dict[str, int] = self._client.nthreads()
        return found


def _local_cluster(workers: int) -> LocalCluster:
    with dask.config.set(_SETTINGS):
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            # A shard needs the memory of a few batches: Dask's limit would only end workers early.
            memory_limit=0,
            dashboard_address=None,
            # The error of a shard is the command's last line, without Dask's traces before it.
            silence_logs=logging.CRITICAL,
        )
