"""Processes on this machine. Each has a pool of its own, so that a crash is one shard's."""

from __future__ import annotations

import multiprocessing
import queue
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from convoy.bulk.child_process import follow_parent

T = TypeVar("T")


class LocalEngine:
    """
    Worker processes.

    Args:
        workers: Number of processes.
    """

    crashes: tuple[type[Exception], ...] = (BrokenProcessPool,)

    def __init__(self, workers: int) -> None:
        self.workers = self.slots = workers
        self._idle: queue.SimpleQueue[ProcessPoolExecutor] = queue.SimpleQueue()
        self._pools: list[ProcessPoolExecutor] = []
        for _ in range(workers):
            self._idle.put(self._pool())

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        pool = self._idle.get()
        try:
            future = pool.submit(function, *arguments)
        except BrokenProcessPool:  # its process was killed between two shards
            pool.shutdown(wait=False)
            pool = self._pool()
            future = pool.submit(function, *arguments)
        future.add_done_callback(lambda done: self._free(pool, done))
        return future

    def close(self) -> None:
        """Kill the processes."""
        for process in multiprocessing.active_children():
            process.kill()
        # A pool that is not shut down is in the way of the interpreter's end.
        for pool in list(self._pools):  # a callback may replace one that was killed
            pool.shutdown()

    def _free(self, pool: ProcessPoolExecutor, done: Future[Any]) -> None:
        if isinstance(done.exception(), BrokenProcessPool):
            pool.shutdown(wait=False)
            pool = self._pool()
        self._idle.put(pool)

    def _pool(self) -> ProcessPoolExecutor:
        # A fork would copy the threads of ONNX Runtime and gRPC in the middle of their work.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(1, context, _start)
        self._pools.append(pool)
        return pool


class _WithoutPandas:
    """
    A finder that refuses pandas.

    Arrow imports it, if installed, to recognise its types, which takes a third of a worker's start.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("a worker needs no pandas", name=name)


def _start() -> None:
    """Initialise the process of a worker."""
    follow_parent()
    sys.meta_path.insert(0, _WithoutPandas)
