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
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from types import MappingProxyType, TracebackType
from typing import Generic, NamedTuple, TypeVar, cast

from service.errors import InferenceError, ShuttingDownError
from service.queue import DEFAULT_PRIORITY, BatchPolicy, ModelQueue, Pending
from service.scheduler import Scheduler

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
        self._infer: dict[ModelQueue[In, Answer[Out]], Callable[[Sequence[In]], Sequence[Out]]] = {}
        self._changed = asyncio.Event()
        self._closing = False
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Batcher[In, Out]:
        self._worker = asyncio.create_task(self._run(), name="batcher")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing = True
        self._changed.set()
        assert self._worker is not None
        await self._worker

    def open(
        self,
        infer: Callable[[Sequence[In]], Sequence[Out]],
        policy: BatchPolicy,
        run_s: Mapping[int, float] = MappingProxyType({}),
    ) -> ModelQueue[In, Answer[Out]]:
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

    def close(self, queue: ModelQueue[In, Answer[Out]]) -> None:
        """Remove a model whose requests are all answered."""
        self._scheduler.close(queue)
        del self._infer[queue]

    async def submit(
        self,
        queue: ModelQueue[In, Answer[Out]],
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
        if self._closing:
            raise ShuttingDownError("the server is shutting down")
        loop = asyncio.get_running_loop()
        pending: Pending[In, Answer[Out]] = Pending(size, loop.create_future(), deadline, priority)
        self._scheduler.admit(queue, pending, loop.time())
        expiry = None
        if deadline < math.inf:
            # The scheduler looks only when the device is free, which may be too late to be told.
            expiry = loop.call_at(deadline, queue.expire, pending)
        try:
            item = await prepare()
            if not pending.future.done():
                self._scheduler.enqueue(queue, pending, item, loop.time())
                self._changed.set()
            return await pending.future
        finally:
            if expiry:
                expiry.cancel()
            queue.remove(pending)
            if self._closing:
                self._changed.set()
            if pending.future.done() and not pending.future.cancelled():
                pending.future.exception()  # seen, even if the caller left by another way

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as runs:
                while due := await self._next_batch():
                    runs.create_task(self._run_and_free(*due))
        finally:
            self._closing = True
            self._scheduler.fail_all(ShuttingDownError("the server is shutting down"))

    async def _next_batch(
        self,
    ) -> tuple[ModelQueue[In, Answer[Out]], Sequence[Pending[In, Answer[Out]]]] | None:
        """Wait until a batch is due; None says that the batcher is closed and empty."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            now = loop.time()
            if due := self._scheduler.pop_batch(now, ignore_delay=self._closing):
                return due
            if self._closing and self._scheduler.empty:
                return None
            # What is due already waits for cores: the end of a run is a change, too.
            await self._wait_for_change(self._scheduler.due_in(now) or math.inf)

    async def _wait_for_change(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(None if timeout_s == math.inf else timeout_s):
                await self._changed.wait()
        except TimeoutError:
            pass  # a batch is due

    async def _run_and_free(
        self,
        queue: ModelQueue[In, Answer[Out]],
        batch: Sequence[Pending[In, Answer[Out]]],
    ) -> None:
        try:
            await self._run_batch(queue, batch)
        finally:
            self._scheduler.release(queue)
            self._changed.set()

    async def _run_batch(
        self,
        queue: ModelQueue[In, Answer[Out]],
        batch: Sequence[Pending[In, Answer[Out]]],
    ) -> None:
        """Answer every request of *batch*, whatever happens to the model."""
        loop = asyncio.get_running_loop()
        items = [cast(In, pending.item) for pending in batch]
        batch_size = sum(pending.size for pending in batch)
        started = loop.time()
        try:
            results, seconds = await loop.run_in_executor(
                self._executor, _timed, self._infer[queue], items
            )
        except Exception as error:
            queue.charge(loop.time() - started)
            await self._isolate(queue, batch, error)
            return
        queue.charge(seconds)
        queue.learn(seconds, batch_size)
        for pending, result in zip(batch, results, strict=True):
            if not pending.future.done():
                queue_s = started - pending.enqueued_at
                pending.future.set_result(Answer(result, queue_s, seconds, batch_size))

    async def _isolate(
        self,
        queue: ModelQueue[In, Answer[Out]],
        batch: Sequence[Pending[In, Answer[Out]]],
        error: Exception,
    ) -> None:
        """Fail a request that failed alone; run the halves of a batch that failed together."""
        if len(batch) > 1:
            logger.warning("batch failed, running its halves", extra={"requests": len(batch)})
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                if wanted := [pending for pending in half if not pending.future.done()]:
                    await self._run_batch(queue, wanted)
            return
        logger.error("inference failed", exc_info=error)
        (pending,) = batch
        if not pending.future.done():
            pending.future.set_exception(InferenceError("the model failed on this input"))


def _timed(
    infer: Callable[[Sequence[In]], Sequence[Out]], items: Sequence[In]
) -> tuple[Sequence[Out], float]:
    """Run *infer* and measure it, in the thread that runs it."""
    started = time.perf_counter()
    results = infer(items)
    seconds = time.perf_counter() - started
    if len(results) != len(items):
        raise RuntimeError(f"{len(items)} items gave {len(results)} results")
    return results, seconds
