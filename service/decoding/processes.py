"""Decoding in isolated processes: a decoder that crashes or hangs fails one image only."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from convoy.artifact.errors import ImageError

T = TypeVar("T")


class DecodeProcesses:
    """
    A pool of processes that decode images; one that ends is replaced.

    Args:
        processes: Number of images decoded at once.
        timeout_s: Longest time for one image, in seconds; then its process is killed.
    """

    def __init__(self, processes: int, timeout_s: float) -> None:
        # A fork would copy the threads of gRPC and ONNX Runtime in the middle of their work.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(processes, initializer=_ignore_interrupts, context=context)
        self._timeout_s = timeout_s
        self._pool.schedule(_ignore_interrupts)  # the first task starts all processes

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call *work* in a process; a crash or a hang fails with `ImageError`."""
        done: Future[T] = Future()
        running = self._pool.schedule(work, arguments, timeout=self._timeout_s)
        running.add_done_callback(lambda task: _pass_on(task, done, self._timeout_s))
        return done

    def close(self) -> None:
        """Kill the processes."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()  # kills them, which takes some 50 ms


def _pass_on(task: Future[T], done: Future[T], timeout_s: float) -> None:
    # The caller has cancelled the future that it got.
    if not done.set_running_or_notify_cancel():
        return
    error = task.exception()
    if isinstance(error, ProcessExpired):
        error = ImageError("the image crashed its decoder")
    elif isinstance(error, FutureTimeoutError):
        error = ImageError(f"the image was not decoded within {timeout_s:g} s")
    if error:
        done.set_exception(error)
    else:
        done.set_result(task.result())


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C, which the terminal sends to all processes: the server ends these."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
