"""Tasks on Ray: a cluster, or processes on this machine. Ray repeats those whose worker ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError

from convoy.commands.bulk.bulk_error import BulkError

T = TypeVar("T")


class RayEngine:
    """
    Tasks on a Ray cluster.

    Args:
        address: Address of the cluster, or `auto`; empty for one on this machine.
        workers: Number of workers on this machine.
        device: The device that a task needs: `cuda`, `auto` (a GPU, if the cluster has any), or
            another one.
    """

    crashes: tuple[type[Exception], ...] = (WorkerCrashedError, OutOfMemoryError, NodeDiedError)

    def __init__(self, address: str, workers: int, device: str) -> None:
        options = {"address": address} if address else {"address": "local", "num_cpus": workers}
        try:
            ray.init(**options, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, ValueError) as error:
            raise BulkError(f"cannot reach a Ray cluster at {address}: {error}") from error
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        self._gpus = 1 if device == "cuda" or (device == "auto" and has_gpus) else 0

    @property
    def workers(self) -> int:
        return int(ray.cluster_resources().get("GPU" if self._gpus else "CPU", 0))

    @property
    def slots(self) -> int:
        """Two for each worker, so that none waits for the next shard."""
        return 2 * max(1, self.workers)

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        task = ray.remote(_call).options(num_cpus=1, num_gpus=self._gpus, max_retries=3)
        return _unwrapped(task.remote(function, *arguments).future())

    def close(self) -> None:
        """Cancel what runs, and end the workers on this machine."""
        ray.shutdown()


def _unwrapped(future: Future[T]) -> Future[T]:
    """Return the future of a task, with an error as the function raised it, without Ray's trace."""
    found: Future[T] = Future()

    def finish(done: Future[T]) -> None:
        # A cancelled future has no exception to pass on.
        if done.cancelled():
            found.set_exception(BulkError("Ray cancelled a task; continue with --resume"))
            return
        error = done.exception()
        if isinstance(error, RayTaskError):
            error = error.cause
        if error is None:
            found.set_result(done.result())
        else:
            found.set_exception(error)

    future.add_done_callback(finish)
    return found


def _call(function: Callable[..., T], *arguments: Any) -> T:
    return function(*arguments)
