"""Decodes in processes of their own: a decoder that crashes or hangs takes one image with it."""

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
    A pool of decoding processes; one that ends is replaced.

    Args:
        processes: Images decoded at once.
        timeout_s: Longest time for one image, in seconds; its process is killed then.
    """

    def __init__(self, processes: int, timeout_s: float) -> None:
        # Not forked: threads of gRPC and ONNX Runtime would be copied in the middle of their work.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(processes, initializer=_ignore_interrupts, context=context)
        self._timeout_s = timeout_s
        self._pool.schedule(_ignore_interrupts)  # the first one starts all processes

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Do *work* on an image; fails as that does, and with `ImageError` for crash and hang."""
        done: Future[T] = Future()
        running = self._pool.schedule(work, arguments, timeout=self._timeout_s)
        running.add_done_callback(lambda ran: _pass_on(ran, done, self._timeout_s))
        return done

    def close(self) -> None:
        """End the processes, whatever they do."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()  # kills them, which takes some 50 ms


def _pass_on(ran: Future[T], done: Future[T], timeout_s: float) -> None:
    if not done.set_running_or_notify_cancel():
        return
    error = ran.exception()
    if isinstance(error, ProcessExpired):
        error = ImageError("the image crashed its decoder")
    elif isinstance(error, FutureTimeoutError):
        error = ImageError(f"the image was not decoded within {timeout_s:g} s")
    if error:
        done.set_exception(error)
    else:
        done.set_result(ran.result())


def _ignore_interrupts() -> None:
    """Ctrl-C goes to all processes of a terminal; when these end is the server's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
