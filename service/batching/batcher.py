"""The asyncio shell around the scheduler: waits for requests, runs batches, delivers answers.

Each device has one `Batcher`. Batches run in an executor, as the call blocks; the event loop only
decides and delivers. A failure reaches a caller as an exception, never as a cancellation: when a
handler raises `CancelledError` itself, grpcio never answers its client.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Protocol

from convoy.service.batching.queue import Batch, BatchPolicy, ModelQueue
from convoy.service.batching.scheduler import Scheduler
from convoy.service.call import Request
from convoy.service.errors import InferenceError, ShuttingDownError
from convoy.service.telemetry.batch_record import NO_TIMES, BatchTimes, Outputs

logger = logging.getLogger(__name__)

SHADOW_QUIET_S = 60.0
"""Minimum time between two logged failures of a shadow, in seconds."""


class Runner(Protocol):
    """Runs the batches of one model."""

    def run(self, items: Sequence[Any], /) -> tuple[Sequence[Outputs], BatchTimes]:
        """Run the items of a batch; return the outputs of each, in the same order. Blocks."""


OnBatch = Callable[[int, BatchTimes], None]
"""Called on the event loop after each successful run, with the number of images of the batch."""


class _Run(NamedTuple):
    """A run that has ended, in event-loop time: outputs and times, or the error that it raised."""

    started: float
    ended: float
    outputs: Sequence[Outputs] = ()
    times: BatchTimes = NO_TIMES
    error: Exception | None = None


class _Model:
    """
    An open model.

    Attributes:
        running: Number of its batches that run now.
        idle: Resolved when none runs any more; None until `Batcher.close` waits for that.
        quiet_s: Minimum time between two logged failures, in seconds.
        quiet_until: Time before which no further failure is logged, in event-loop time.
    """

    __slots__ = ("idle", "on_batch", "quiet_s", "quiet_until", "runner", "running")

    def __init__(self, runner: Runner, on_batch: OnBatch) -> None:
        self.runner = runner
        self.on_batch = on_batch
        self.running = 0
        self.idle: asyncio.Future[None] | None = None
        self.quiet_s = 0.0
        self.quiet_until = -math.inf


class Batcher:
    """
    Runs the batches of all models of one device.

    Use as an async context manager; its exit answers the admitted requests, then stops.

    Args:
        executor: Runs batches; has a thread for each core.
        cores: Cores of the device. Each run takes as many as its model's policy says.
    """

    def __init__(self, executor: Executor, cores: int = 1) -> None:
        self._executor = executor
        self._scheduler = Scheduler(cores)
        self._models: dict[ModelQueue, _Model] = {}
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.TimerHandle | None = None
        self._woken = False
        self._hurries = False
        self._closing = False
        self._running = 0
        self._ended = asyncio.Event()

    async def __aenter__(self) -> Batcher:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hurries = self._closing = True
        self._start_due()
        try:
            await self._ended.wait()
        finally:  # requests are left if the wait was cancelled
            self._scheduler.fail_all(ShuttingDownError("the server is shutting down"))

    def open(
        self,
        runner: Runner,
        policy: BatchPolicy,
        run_s: Mapping[int, float] = MappingProxyType({}),
        on_batch: OnBatch = lambda images, times: None,
    ) -> ModelQueue:
        """
        Add a model.

        Args:
            runner: If it raises, the batch is run again in halves until only the requests that
                fail alone have failed.
            policy: The rules by which its batches are formed. Needs no more cores than the device
                has.
            run_s: Measured seconds of a run, by number of images.
        """
        queue = self._scheduler.open(policy)
        for images, seconds in run_s.items():
            queue.learn(seconds, images)
        self._models[queue] = _Model(runner, on_batch)
        return queue

    def hurry(self) -> None:
        """Let no request wait for others from now on: the server drains, and few will come."""
        self._hurries = True
        self._wake()

    def set_shadow(self, queue: ModelQueue, is_shadow: bool) -> None:
        """Make a model a shadow, or an ordinary one; see `Scheduler`."""
        self._scheduler.set_shadow(queue, is_shadow)
        # The comparison counts the failures of a shadow, and no client needs their causes.
        model = self._models[queue]
        model.quiet_s, model.quiet_until = SHADOW_QUIET_S if is_shadow else 0.0, -math.inf

    async def close(self, queue: ModelQueue) -> None:
        """
        Remove a model whose requests are all answered or withdrawn.

        Returns when none of its batches runs: one may go on after its clients have disconnected.
        """
        model = self._models[queue]
        if model.running:
            model.idle = self._loop.create_future()
            await model.idle
        self._scheduler.close(queue)
        del self._models[queue]

    async def submit(
        self,
        queue: ModelQueue,
        request: Request,
        prepare: Callable[[], Awaitable[Any]] | None = None,
    ) -> None:
        """
        Offer *request* and wait until it is answered.

        Cancellation withdraws the request at any stage. An error that *prepare* raises is raised
        here.

        Args:
            prepare: Makes the item, such as by decoding an image, once the request has a place;
                None if the request has its item.

        Raises:
            QueueFullError: If too many images are waiting.
            DeadlineUnmeetableError: If it cannot be answered before its deadline.
            RequestExpiredError: If its deadline passes in the queue.
            ShuttingDownError: If the batcher is closing.
            InferenceError: If the model failed on the item.
        """
        ended = request.ending()
        self.admit(queue, request)
        try:
            if prepare is not None:
                await request.prepare(prepare(), ended)
            # It fails during the preparation if its deadline passes.
            if not request.done:
                self.enqueue(queue, request)
            await ended
        except BaseException:
            self.withdraw(queue, request)
            raise
        request.raise_failure()

    def offer(self, queue: ModelQueue, request: Request) -> None:
        """
        Admit a request that has its item, without waiting.

        `Request.on_done` is called when it is answered or fails, never before this returns.

        Raises:
            QueueFullError, DeadlineUnmeetableError, RequestExpiredError, ShuttingDownError: As
                `submit`.
        """
        self.admit(queue, request)
        self.enqueue(queue, request)

    def withdraw(self, queue: ModelQueue, request: Request) -> None:
        """Free the place of a request whose client has disconnected."""
        request.withdraw()
        queue.remove(request)
        self._wake_after_removal()

    def admit(self, queue: ModelQueue, request: Request) -> None:
        """
        Give *request* a place, before it has its item.

        Raises:
            QueueFullError, DeadlineUnmeetableError, RequestExpiredError, ShuttingDownError: As
                `submit`.
        """
        if self._closing:
            raise ShuttingDownError("the server is shutting down")
        self._scheduler.admit(queue, request, self._loop.time())
        if request.deadline < math.inf:
            # The scheduler checks deadlines only when the device is free. That may be so late that
            # the client has given up before it receives the error.
            request.expiry = self._loop.call_at(request.deadline, self._expire, queue, request)

    def enqueue(self, queue: ModelQueue, request: Request) -> None:
        """Let an admitted request, which has its item and is not done, wait for the device."""
        self._scheduler.enqueue(queue, request, self._loop.time())
        self._wake()

    def _expire(self, queue: ModelQueue, request: Request) -> None:
        queue.expire(request)
        self._wake_after_removal()

    def _wake_after_removal(self) -> None:
        # It may have been the last request before closing, or the last that a shadow waited for.
        if self._closing or self._scheduler.shadow_waits:
            self._wake()

    def _wake(self) -> None:
        """Check for due batches, after the callbacks that the event loop has scheduled already."""
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._start_due)

    def _start_due(self) -> None:
        """Start every batch that is due, and schedule the next check."""
        self._woken = False
        if self._timer:
            self._timer.cancel()
            self._timer = None
        now, ran_inline = self._loop.time(), False
        # At most one inline run: other callbacks of the event loop must not wait for several.
        while not ran_inline and (
            batch := self._scheduler.next_batch(now, ignore_delay=self._hurries)
        ):
            model = self._models[batch.queue]
            model.running += 1
            self._running += 1
            if batch.images <= batch.queue.policy.inline_size:
                self._finish(batch, (), _run(model.runner, batch, self._loop), inline=True)
                ran_inline = True
            else:
                self._run_in_thread(batch, ())
        due_in = self._scheduler.due_in(now)
        # The next batch is due at a later time.
        if 0 < due_in < math.inf:
            self._timer = self._loop.call_later(due_in, self._start_due)
        # It is due now: take it after other callbacks of the event loop. Without an inline run
        # before it, it waits for cores, and the end of a run starts it.
        elif ran_inline and due_in == 0:
            self._wake()
        if self._closing and not self._running and self._scheduler.empty:
            self._ended.set()

    def _run_in_thread(self, batch: Batch, rest: Sequence[Batch]) -> None:
        """Run *batch*, then *rest*, on the cores that the scheduler gave it."""
        runner, loop = self._models[batch.queue].runner, self._loop
        try:
            finish = partial(self._finish, batch, rest)
            self._executor.submit(_run_and_report, runner, batch, loop, finish)
        except RuntimeError as error:  # the executor is closed
            now = loop.time()
            loop.call_soon(self._finish, batch, rest, _Run(now, now, error=error))

    def _finish(
        self, batch: Batch, rest: Sequence[Batch], run: _Run, *, inline: bool = False
    ) -> None:
        """Start the next run, then answer the requests of *batch*."""
        queue = batch.queue
        started = self._scheduler.cores.start_of(queue.policy, run.started, run.ended)
        if run.error:
            queue.charge(run.ended - started)
            rest = [*self._isolated(batch, run.error), *rest]
        else:
            queue.charge(run.ended - started, batch.images)
            self._models[queue].on_batch(batch.images, run.times)
        # Parts of a failed batch keep its cores until the last one has run.
        if rest:
            self._run_in_thread(rest[0], rest[1:])
        else:
            self._release(batch)
            # After an inline run, `_start_due` itself goes on.
            if not inline:
                self._start_due()
        for request, outputs in zip(batch.requests, run.outputs, strict=not run.error):
            # A client may have disconnected during the run.
            if not request.done:
                request.answer(outputs, started, run.ended, batch.images, run.times)

    def _isolated(self, batch: Batch, error: Exception) -> list[Batch]:
        """Split a batch that failed into halves; fail a request that failed alone."""
        # Any of several requests may be the cause.
        if len(batch.requests) > 1:
            return _halves(batch)
        model, now = self._models[batch.queue], self._loop.time()
        if now >= model.quiet_until:
            model.quiet_until = now + model.quiet_s
            logger.error("inference failed", exc_info=error)
        batch.requests[0].fail(InferenceError("the model failed on this input"))
        return []

    def _release(self, batch: Batch) -> None:
        """Free the cores of a batch."""
        model = self._models[batch.queue]
        model.running -= 1
        self._running -= 1
        if not model.running and model.idle and not model.idle.done():
            model.idle.set_result(None)
        self._scheduler.release(batch)


def _halves(batch: Batch) -> list[Batch]:
    """Split a batch that failed; leave out requests whose clients have disconnected."""
    requests = batch.requests
    logger.warning("batch failed, running its halves", extra={"requests": len(requests)})
    middle = len(requests) // 2
    halves = (requests[:middle], requests[middle:])
    waiting = [[request for request in half if not request.done] for half in halves]
    return [
        Batch(batch.queue, half, sum(request.images for request in half))
        for half in waiting
        if half
    ]


def _run_and_report(
    runner: Runner, batch: Batch, loop: asyncio.AbstractEventLoop, finish: Callable[[_Run], None]
) -> None:
    """Run *batch* in a thread, and pass the result to the event loop."""
    loop.call_soon_threadsafe(finish, _run(runner, batch, loop))


def _run(runner: Runner, batch: Batch, loop: asyncio.AbstractEventLoop) -> _Run:
    """Run *batch* and measure it."""
    items = [request.item for request in batch.requests]
    started = loop.time()
    try:
        outputs, times = runner.run(items)
        if len(outputs) != len(items):
            raise RuntimeError(f"{len(items)} items gave {len(outputs)} results")
    except Exception as error:  # a runtime may raise any
        return _Run(started, loop.time(), error=error)
    return _Run(started, loop.time(), outputs, times)
