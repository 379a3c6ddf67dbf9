"""The asyncio shell around the scheduler: waits for requests, runs batches, hands out answers.

One `Batcher` per device. The blocking call that runs a batch happens in an executor, a few at a
time; the event loop only decides and delivers. Failure reaches a caller as an exception on its
future, never as a cancellation: grpcio leaves a client hanging whose handler raises
`CancelledError` of its own accord.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Generic, NamedTuple, TypeVar, cast

from convoy.service.batching.queue import DEFAULT_PRIORITY, BatchPolicy, ModelQueue, Pending, Reply
from convoy.service.batching.scheduler import Scheduler
from convoy.service.errors import InferenceError, ShuttingDownError

logger = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")


class Answer(NamedTuple, Generic[Out]):
    """
    The result of one request and what it took.

    Attributes:
        queue_s: Wait for the device, in seconds.
        inference_s: Run of the batch, in seconds.
        batch_size: Images in the batch.
    """

    result: Out
    queue_s: float
    inference_s: float
    batch_size: int


_Queue = ModelQueue[In, Answer[Out]]
_Waiting = Pending[In, Answer[Out]]
_Batch = Sequence[Pending[In, Answer[Out]]]


class Place(NamedTuple, Generic[In, Out]):
    """What a request holds of a queue, from its admission until it leaves."""

    queue: _Queue[In, Out]
    pending: _Waiting[In, Out]
    expiry: asyncio.TimerHandle | None
    left: Callable[[], None]

    def leave(self) -> None:
        """Give it back, whatever became of the request; may be called again."""
        if self.expiry:
            self.expiry.cancel()
        self.queue.remove(self.pending)
        self.left()


class _Run(NamedTuple, Generic[In, Out]):
    """A batch that runs, perhaps inline, and those that are to run after it on its cores."""

    queue: _Queue[In, Out]
    batch: _Batch[In, Out]
    rest: Sequence[_Batch[In, Out]] = ()
    inline: bool = False


class _Span(NamedTuple):
    """From when until when a batch ran, in event-loop time."""

    start: float
    end: float


class Batcher(Generic[In, Out]):
    """
    Runs the batches of all models of one device.

    Use as an async context manager: leaving it answers what was admitted, then stops.

    Args:
        executor: Where batches run; has a thread for each core.
        cores: Cores of the device. Each run takes as many as its model's policy says.
    """

    def __init__(self, executor: Executor, cores: int = 1) -> None:
        self._executor = executor
        self._scheduler: Scheduler[In, Answer[Out]] = Scheduler(cores)
        self._infer: dict[_Queue[In, Out], Callable[[Sequence[In]], Sequence[Out]]] = {}
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.TimerHandle | None = None
        self._woken = False
        self._running: Counter[_Queue[In, Out]] = Counter()
        self._free_at = -math.inf  # when the last run ended that another was made ready behind
        self._idle: dict[_Queue[In, Out], asyncio.Future[None]] = {}
        self._closing = False
        self._ended = asyncio.Event()

    async def __aenter__(self) -> Batcher[In, Out]:
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
        infer: Callable[[Sequence[In]], Sequence[Out]],
        policy: BatchPolicy,
        run_s: Mapping[int, float] = MappingProxyType({}),
    ) -> _Queue[In, Out]:
        """
        Add a model.

        Args:
            infer: Blocking call from the items of a batch to as many results, in the same
                order. If it raises, the batch is run again in halves until only the items
                that fail alone have failed.
            policy: When its batches leave; needs no more cores than the device has.
            run_s: Seconds that runs took so far, by their images.
        """
        queue = self._scheduler.open(policy)
        for size, seconds in run_s.items():
            queue.learn(seconds, size)
        self._infer[queue] = infer
        return queue

    async def close(self, queue: _Queue[In, Out]) -> None:
        """
        Remove a model whose requests are all answered or withdrawn.

        Returns when nothing of it runs any more: a batch may run on for callers who have left.
        """
        if self._running[queue]:
            self._idle[queue] = self._loop.create_future()
            await self._idle[queue]
        del self._running[queue]
        self._scheduler.close(queue)
        del self._infer[queue]

    async def submit(
        self,
        queue: _Queue[In, Out],
        prepare: Callable[[], Awaitable[In]],
        *,
        size: int = 1,
        deadline: float = math.inf,
        priority: int = DEFAULT_PRIORITY,
    ) -> Answer[Out]:
        """
        Admit a request, prepare its item, and wait for its answer.

        Cancelling the call withdraws it, at whatever stage it is. Whatever *prepare* raises is
        raised here.

        Args:
            prepare: Makes the item, such as by decoding an image. Not called, if the queue is
                full.
            size: Images in the item; at most the policy's `max_batch_size`.
            deadline: Event-loop time after which the caller no longer cares.
            priority: One of `queue.PRIORITIES`.

        Raises:
            QueueFullError: If too many images are waiting.
            DeadlineUnmeetableError: If it cannot be answered before *deadline*.
            RequestExpiredError: If *deadline* passes in the queue.
            ShuttingDownError: If the batcher is closing.
            InferenceError: If the model failed on the item.
        """
        reply: asyncio.Future[Answer[Out]] = self._loop.create_future()
        place = self._admit(queue, Pending(size, reply, deadline, priority))
        try:
            item = await prepare()
            if not reply.done():
                self._enqueue(place, item)
            return await reply
        finally:
            place.leave()
            if reply.done() and not reply.cancelled():
                reply.exception()  # seen, even if the caller left by another way

    def offer(
        self,
        queue: _Queue[In, Out],
        item: In,
        reply: Reply[Answer[Out]],
        *,
        size: int = 1,
        deadline: float = math.inf,
        priority: int = DEFAULT_PRIORITY,
    ) -> Place[In, Out]:
        """
        Admit a request whose item is there, as `submit` does, and do not wait.

        Args:
            reply: Gets the answer, or what `submit` would raise later; never before this returns.

        Returns:
            Its place, to be left when it is answered or nobody waits any more.

        Raises:
            QueueFullError, DeadlineUnmeetableError, RequestExpiredError, ShuttingDownError: As
                `submit`.
        """
        place = self._admit(queue, Pending(size, reply, deadline, priority))
        self._enqueue(place, item)
        return place

    def _admit(self, queue: _Queue[In, Out], pending: _Waiting[In, Out]) -> Place[In, Out]:
        if self._closing:
            raise ShuttingDownError("the server is shutting down")
        self._scheduler.admit(queue, pending, self._loop.time())
        expiry = None
        if pending.deadline < math.inf:
            # The scheduler looks only when the device is free, which may be too late to be told.
            expiry = self._loop.call_at(pending.deadline, queue.expire, pending)
        return Place(queue, pending, expiry, self._left)

    def _enqueue(self, place: Place[In, Out], item: In) -> None:
        self._scheduler.enqueue(place.queue, place.pending, item, self._loop.time())
        self._wake()

    def _left(self) -> None:
        if self._closing:  # and may be empty now
            self._wake()

    def _wake(self) -> None:
        """Look for batches that are due, after all that happens on the event loop now."""
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._start_due)

    def _start_due(self) -> None:
        """Start every batch that is due, and see to it that the next one is."""
        self._woken = False
        if self._timer:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        while due := self._scheduler.pop_batch(now, ignore_delay=self._closing):
            queue, batch = due
            self._running[queue] += 1
            if sum(pending.size for pending in batch) <= queue.policy.inline_size:
                self._run_inline(queue, batch)
                if not self._scheduler.idle:
                    self._wake()  # after whatever else the loop has to do
                    return
                break
            self._run(queue, [batch])
        # What is due already waits for cores: the end of a run starts it.
        if 0 < (due_in := self._scheduler.due_in(now)) < math.inf:
            self._timer = self._loop.call_later(due_in, self._start_due)
        if self._closing and not self._running.total() and self._scheduler.empty:
            self._ended.set()

    def _run_inline(self, queue: _Queue[In, Out], batch: _Batch[In, Out]) -> None:
        """Run *batch* here and now."""
        run = _Run(queue, batch, inline=True)
        self._ran(run, *_timed(self._infer[queue], _items(batch), self._loop.time))

    def _run(
        self,
        queue: _Queue[In, Out],
        batches: Sequence[_Batch[In, Out]],
    ) -> None:
        """Run *batches*, one after the other, on the cores that the first one was given."""
        batch, *rest = batches
        run = _Run(queue, batch, rest)
        ran = partial(self._ran, run)
        try:
            self._executor.submit(_tell, self._infer[queue], _items(batch), self._loop, ran)
        except RuntimeError as error:  # it is closed
            now = self._loop.time()
            self._loop.call_soon(self._ran, run, _Span(now, now), error)

    def _ran(self, run: _Run[In, Out], ran: _Span, results: Sequence[Out] | Exception) -> None:
        """Let the device go on, then answer every request of the batch, whatever came of it."""
        started = ran.start
        if run.queue.policy.ahead_s:  # it waited for the one before
            started = max(started, self._free_at)
            self._free_at = ran.end
        seconds = ran.end - started
        run.queue.charge(seconds)
        if isinstance(results, Exception):
            self._go_on(run, [*_isolated(run.batch, results), *run.rest])
            return
        size = sum(pending.size for pending in run.batch)
        run.queue.learn(seconds, size)
        self._go_on(run, run.rest)
        for pending, result in zip(run.batch, results, strict=True):
            if not pending.reply.done():
                queue_s = started - pending.enqueued_at
                pending.reply.set_result(Answer(result, queue_s, seconds, size))

    def _go_on(self, run: _Run[In, Out], rest: Sequence[_Batch[In, Out]]) -> None:
        """Run *rest*, or let others have the cores of *run*."""
        queue = run.queue
        if rest:
            self._run(queue, rest)
            return
        self._running[queue] -= 1
        if not self._running[queue] and (idle := self._idle.pop(queue, None)):
            idle.set_result(None)
        self._scheduler.release(queue)
        if not run.inline:  # or it is called from there
            self._start_due()


def _items(batch: _Batch[In, Out]) -> list[In]:
    return [cast(In, pending.item) for pending in batch]


def _isolated(batch: _Batch[In, Out], error: Exception) -> list[_Batch[In, Out]]:
    """Fail a request that failed alone; cut a batch that failed together into halves."""
    if len(batch) > 1:
        logger.warning("batch failed, running its halves", extra={"requests": len(batch)})
        middle = len(batch) // 2
        halves = (batch[:middle], batch[middle:])
        wanted = [[pending for pending in half if not pending.reply.done()] for half in halves]
        return [half for half in wanted if half]
    logger.error("inference failed", exc_info=error)
    (pending,) = batch
    if not pending.reply.done():
        pending.reply.set_exception(InferenceError("the model failed on this input"))
    return []


def _tell(
    infer: Callable[[Sequence[In]], Sequence[Out]],
    items: Sequence[In],
    loop: asyncio.AbstractEventLoop,
    ran: Callable[[_Span, Sequence[Out] | Exception], None],
) -> None:
    """Run *infer* in a thread, and tell *loop* what came of it."""
    loop.call_soon_threadsafe(ran, *_timed(infer, items, loop.time))


def _timed(
    infer: Callable[[Sequence[In]], Sequence[Out]],
    items: Sequence[In],
    clock: Callable[[], float],
) -> tuple[_Span, Sequence[Out] | Exception]:
    """Run *infer*, and measure it."""
    started = clock()
    results: Sequence[Out] | Exception
    try:
        results = infer(items)
        if len(results) != len(items):
            raise RuntimeError(f"{len(items)} items gave {len(results)} results")
    except Exception as error:
        results = error
    return _Span(started, clock()), results
