"""One served model: from images or tensors, through the queue and the device, to outputs."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy.typing as npt

from artifact.manifest import Manifest
from service.batcher import Batcher
from service.decoding import Decoder
from service.metrics import ModelMetrics
from service.queue import DEFAULT_PRIORITY, BatchPolicy
from service.runtime import BatchTimes, Outputs, Session
from service.statistics import Statistics


class Terms(NamedTuple):
    """
    On what terms a request waits.

    Attributes:
        deadline: Event-loop time after which the client no longer cares.
        priority: One of `queue.PRIORITIES`.
    """

    deadline: float = math.inf
    priority: int = DEFAULT_PRIORITY


class Inference(NamedTuple):
    """
    Outputs for one request and where its time went.

    Attributes:
        outputs: Output name -> array `[N, ...]`.
        images: N.
        decode_s: Decoding its images, in seconds; 0 for tensors.
        queue_s: Waiting for the device, in seconds.
        inference_s: Running the batch, in seconds.
        batch_size: Images in that batch, those of other requests included.
        times: What the run took, in parts.
        started_at: `time.perf_counter()` when the request was accepted.
        answered_at: The same, when the outputs were there.
    """

    outputs: Outputs
    images: int
    decode_s: float
    queue_s: float
    inference_s: float
    batch_size: int
    times: BatchTimes
    started_at: float
    answered_at: float


class Ran(NamedTuple):
    """Outputs of one request, and what its whole batch took."""

    outputs: Outputs
    times: BatchTimes


class ServedModel:
    """
    One version of a model that answers.

    A context: while one is entered, by any number of calls, the model is not closed.

    Attributes:
        manifest: What the artifact says of itself.
        session: The loaded graph.
        policy: When its batches leave.
        max_batch_size: Most images in one request.
        load_s: Time that loading took, in seconds.
        statistics: What it has done so far.
    """

    def __init__(
        self,
        manifest: Manifest,
        session: Session,
        *,
        policy: BatchPolicy,
        max_batch_size: int,
        batcher: Batcher[npt.NDArray[Any], Ran],
        decoder: Decoder,
        metrics: ModelMetrics,
        run_s: Mapping[int, float],
        load_s: float,
    ) -> None:
        """
        Open a queue for the model.

        Args:
            run_s: Seconds that runs took so far, by their images.
        """
        self.manifest = manifest
        self.session = session
        self.policy = policy
        self.max_batch_size = max_batch_size
        self.load_s = load_s
        self.statistics = Statistics()
        self._batcher = batcher
        self._queue = batcher.open(self._run, policy, run_s)
        self._decoder = decoder
        self._metrics = metrics
        self._counting = threading.Lock()
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """Number of the version."""
        return self.manifest.version

    @property
    def queue_depth(self) -> int:
        """Images admitted and not yet running."""
        return self._queue.admitted_size

    def __enter__(self) -> Self:
        self._users += 1
        self._unused.clear()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._users -= 1
        if not self._users:
            self._unused.set()

    async def close(self) -> None:
        """Wait until nobody uses the model, then give up its queue; its session is still open."""
        await self._unused.wait()
        self._batcher.close(self._queue)

    def check_room(self, images: int) -> None:
        """Raise `QueueFullError` if *images* more would be too many."""
        self._queue.check_room(images)

    async def infer(self, batch: npt.NDArray[Any], terms: Terms) -> Inference:
        """
        Run a tensor, `[N, ...]` in the input's shape and dtype, N at most `max_batch_size`.

        Raises:
            QueueFullError, RequestExpiredError, ShuttingDownError, InferenceError: As
                `Batcher.submit`.
        """

        async def prepared() -> npt.NDArray[Any]:
            return batch

        return await self._submit(prepared, len(batch), terms)

    async def infer_images(self, images: Sequence[bytes], terms: Terms) -> Inference:
        """
        Decode images, at most `max_batch_size`, and run them together.

        Raises:
            InvalidImageError, ImageTooLargeError: If one of them cannot be decoded.
            QueueFullError, RequestExpiredError, ShuttingDownError, InferenceError: As
                `Batcher.submit`.
        """
        decode_s = 0.0

        async def decoded() -> npt.NDArray[Any]:
            nonlocal decode_s
            started = time.perf_counter()
            batch = await self._decoder.decode(images, self.manifest)
            decode_s = time.perf_counter() - started
            self._metrics.phase["decode"].observe(decode_s)
            return batch

        inference = await self._submit(decoded, len(images), terms)
        return inference._replace(decode_s=decode_s)

    def responded(self, inference: Inference) -> float:
        """Count an answer; returns the time that it took to make it of the outputs, in seconds."""
        now = time.perf_counter()
        respond_s = now - inference.answered_at
        self._metrics.phase["respond"].observe(respond_s)
        self.statistics.answered(
            inference.images,
            total_s=now - inference.started_at,
            decode_s=inference.decode_s,
            queue_s=inference.queue_s,
            respond_s=respond_s,
            times=inference.times,
        )
        return respond_s

    async def _submit(
        self, prepare: Callable[[], Awaitable[npt.NDArray[Any]]], images: int, terms: Terms
    ) -> Inference:
        started = time.perf_counter()
        try:
            answer = await self._batcher.submit(
                self._queue,
                prepare,
                size=images,
                deadline=terms.deadline,
                priority=terms.priority,
            )
        except Exception:
            self.statistics.fail.add(time.perf_counter() - started)
            raise
        self._metrics.phase["queue"].observe(answer.queue_s)
        self._metrics.phase["inference"].observe(answer.inference_s)
        return Inference(
            outputs=answer.result.outputs,
            images=images,
            decode_s=0.0,
            queue_s=answer.queue_s,
            inference_s=answer.inference_s,
            batch_size=answer.batch_size,
            times=answer.result.times,
            started_at=started,
            answered_at=time.perf_counter(),
        )

    def _run(self, items: Sequence[npt.NDArray[Any]]) -> Sequence[Ran]:
        """Run one batch; called in one of the device's threads."""
        results, times = self.session.run_each(items)
        size = sum(len(item) for item in items)
        with self._counting:
            self._metrics.batch_size.observe(size)
            self.statistics.ran(size, times)
        return [Ran(outputs, times) for outputs in results]
