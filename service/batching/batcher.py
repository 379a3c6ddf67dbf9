"""The asyncio shell around the scheduler: waits for requests, runs batches, hands out answers.

One `Batcher` per device. The blocking call that runs a batch happens in an executor, a few at a
time; the event loop only decides and delivers. A failure reaches a caller as an exception, never
as a cancellation: grpcio leaves a client hanging whose handler raises `CancelledError` of its own
accord.
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
from convoy.service.call import NO_TIMES, BatchTimes, Outputs, Request
from convoy.service.errors import InferenceError, ShuttingDownError

logger = logging.getLogger(__name__)


class Runner(Protocol):
    """Runs the batches of one model."""

    def run(self, items: Sequence[Any], /) -> tuple[Sequence[Outputs], BatchTimes]:
        """Run the items of a batch; return the outputs of each, in the same order. Blocks."""


OnBatch = Callable[[int, BatchTimes], None]
"""Called on the event loop for each batch that ran, with its images."""


class _Done(NamedTuple):
    """A run that has ended, in event-loop time: outputs and times, or the error that it raised."""

    started: float
    ended: float
    outputs: Sequence[Outputs] = ()
    times: BatchTimes = NO_TIMES
    error: Exception | None = None


class _Model:
    """
    A model that is open.

    Attributes:
        running: Batches of it that run now.
        idle: Set as soon as nothing of it runs, once somebody waits for that.
    """

    __slots__ = ("idle", "on_batch", "runner", "running")

    def __init__(self, runner: Runner, on_batch: OnBatch) -> None:
        self.runner = runner
        self.on_batch = on_batch
        self.running = 0
        self.idle: asyncio.Future[None] | None = None


class Batcher:
    """
    Runs the batches of all models of one device.

    Use as an async context manager: leaving it answers what was admitted, then stops.

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
        self._closing = True
        self._start_due()
        try:
            await self._ended.wait()
        finally:
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
            policy: The rules by which its batches leave; needs no more cores than there are.
            run_s: Seconds that runs took so far, by their images.
        """
        queue = self._scheduler.open(policy)
        for images, seconds in run_s.items():
            queue.learn(seconds, images)
        self._models[queue] = _Model(runner, on_batch)
        return queue

    async def close(self, queue: ModelQueue) -> None:
        """
        Remove a model whose requests are all answered or withdrawn.

        Returns when nothing of it runs any more: a batch may run on for clients that have
        disconnected.
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
        Offer *request* and wait until it was answered.

        Cancelling the call withdraws the request, at whatever stage it is. An error that
        *prepare* raises is raised here.

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
        answered = self._loop.create_future()
        request.on_done = partial(_wake_up, answered)
        self._admit(queue, request)
        try:
            if prepare is not None:
                request.item = await prepare()
            if not request.done:
                self._enqueue(queue, request)
            await answered
        except BaseException:
            self.withdraw(queue, request)
            raise
        if request.error:
            try:
                raise request.error
            finally:
                # Its traceback leads back to the request: a cycle would wait for the garbage
                # collector.
                request.error = None

    def offer(self, queue: ModelQueue, request: Request) -> None:
        """
        Admit a request that has its item, and do not wait.

        `Request.on_done` is called when it was answered or has failed; never before this returns.

        Raises:
            QueueFullError, DeadlineUnmeetableError, RequestExpiredError, ShuttingDownError: As
                `submit`.
        """
        self._admit(queue, request)
        self._enqueue(queue, request)

    def withdraw(self, queue: ModelQueue, request: Request) -> None:
        """Give back the place of a request for which nobody waits any more."""
        request.withdraw()
        queue.remove(request)
        self._wake_if_closing()

    def _admit(self, queue: ModelQueue, request: Request) -> None:
        if self._closing:
            raise ShuttingDownError("the server is shutting down")
        self._scheduler.admit(queue, request, self._loop.time())
        if request.deadline < math.inf:
            # The scheduler looks only when the device is free, which may be too late for the
            # client to learn why.
            request.expiry = self._loop.call_at(request.deadline, self._expire, queue, request)

    def _enqueue(self, queue: ModelQueue, request: Request) -> None:
        self._scheduler.enqueue(queue, request, self._loop.time())
        self._wake()

    def _expire(self, queue: ModelQueue, request: Request) -> None:
        queue.expire(request)
        self._wake_if_closing()

    def _wake_if_closing(self) -> None:
        if self._closing:  # and the queues may be empty now
            self._wake()

    def _wake(self) -> None:
        """Look for batches that are due, after everything else that the event loop has to do."""
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._start_due)

    def _start_due(self) -> None:
        """Start every batch that is due, and arrange for the next one."""
        self._woken = False
        if self._timer:
            self._timer.cancel()
            self._timer = None
        now, ran_inline = self._loop.time(), False
        while not ran_inline and (
            batch := self._scheduler.next_batch(now, ignore_delay=self._closing)
        ):
            self._models[batch.queue].running += 1
            self._running += 1
            if batch.images <= batch.queue.policy.inline_size:
                self._run_inline(batch)
                ran_inline = True
            else:
                self._run_in_thread(batch, ())
        due_in = self._scheduler.due_in(now)
        # The next batch is due at a later time.
        if 0 < due_in < math.inf:
            self._timer = self._loop.call_later(due_in, self._start_due)
        # It is due now: take it after whatever else the event loop has to do. Without an inline
        # run before it, it waits for cores, and the end of a run starts it.
        elif ran_inline and due_in == 0:
            self._wake()
        if self._closing and not self._running and self._scheduler.empty:
            self._ended.set()

    def _run_inline(self, batch: Batch) -> None:
        """Run *batch* here and now."""
        self._ran(batch, (), _run(self._models[batch.queue].runner, batch, self._loop), inline=True)

    def _run_in_thread(self, batch: Batch, rest: Sequence[Batch]) -> None:
        """Run *batch*, then *rest*, on the cores that it was given."""
        runner, loop = self._models[batch.queue].runner, self._loop
        try:
            ran = partial(self._ran, batch, rest)
            self._executor.submit(_run_and_tell, runner, batch, loop, ran)
        except RuntimeError as error:  # the executor is closed
            now = loop.time()
            loop.call_soon(self._ran, batch, rest, _Done(now, now, error=error))

    def _ran(
        self, batch: Batch, rest: Sequence[Batch], done: _Done, *, inline: bool = False
    ) -> None:
        """Let the device go on, then answer every request of *batch*."""
        queue = batch.queue
        started = self._scheduler.cores.start_of(queue.policy, done.started, done.ended)
        if done.error:
            queue.charge(done.ended - started)
            rest = [*_isolated(batch, done.error), *rest]
        else:
            queue.charge(done.ended - started, batch.images)
            self._models[queue].on_batch(batch.images, done.times)
        if rest:
            self._run_in_thread(rest[0], rest[1:])
        else:
            self._release(queue)
            if not inline:  # or it is called from there
                self._start_due()
        for request, outputs in zip(batch.requests, done.outputs, strict=not done.error):
            if not request.done:
                request.answer(outputs, started, done.ended, batch.images, done.times)

    def _release(self, queue: ModelQueue) -> None:
        """Free the cores of a batch of *queue*."""
        model = self._models[queue]
        model.running -= 1
        self._running -= 1
        if not model.running and model.idle:
            model.idle.set_result(None)
        self._scheduler.cores.release(queue.policy)


def _wake_up(answered: asyncio.Future[None], request: Request) -> None:
    if not answered.done():
        answered.set_result(None)


def _isolated(batch: Batch, error: Exception) -> list[Batch]:
    """Cut a batch that failed into halves; fail a request that failed alone."""
    requests = batch.requests
    if len(requests) > 1:
        logger.warning("batch failed, running its halves", extra={"requests": len(requests)})
        middle = len(requests) // 2
        halves = (requests[:middle], requests[middle:])
        waiting = [[request for request in half if not request.done] for half in halves]
        return [
            Batch(batch.queue, half, sum(request.images for request in half))
            for half in waiting
            if half
        ]
    logger.error("inference failed", exc_info=error)
    requests[0].fail(InferenceError("the model failed on this input"))
    return []


def _run_and_tell(
    runner: Runner, batch: Batch, loop: asyncio.AbstractEventLoop, ran: Callable[[_Done], None]
) -> None:
    """Run *batch* in a thread, and pass the result to the event loop."""
    loop.call_soon_threadsafe(ran, _run(runner, batch, loop))


def _run(runner: Runner, batch: Batch, loop: asyncio.AbstractEventLoop) -> _Done:
    """Run *batch* and measure it."""
    items = [request.item for request in batch.requests]
    started = loop.time()
    try:
        outputs, times = runner.run(items)
        if len(outputs) != len(items):
            raise RuntimeError(f"{len(items)} items gave {len(outputs)} results")
    except Exception as error:  # of the model's own, whatever it is
        return _Done(started, loop.time(), error=error)
    return _Done(started, loop.time(), outputs, times)
