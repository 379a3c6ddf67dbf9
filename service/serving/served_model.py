"""One served model: from images or tensors, through the queue and the device, to outputs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from convoy.artifact.layers import Description
from convoy.artifact.manifest import Manifest
from convoy.service.batching.batcher import Answer, Batcher, Place
from convoy.service.batching.queue import BatchPolicy, Reply
from convoy.service.decoding.decoder import Decoder
from convoy.service.errors import InferenceError
from convoy.service.runtime.session import Session
from convoy.service.serving.inference import Inference, Ran, Tensor, Terms
from convoy.service.serving.statistics import Statistics
from convoy.service.telemetry.metrics import ModelMetrics


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
        layers: Those of the graph, if the artifact tells them.
        statistics: What it has done so far.
    """

    def __init__(
        self,
        manifest: Manifest,
        session: Session,
        *,
        policy: BatchPolicy,
        max_batch_size: int,
        batcher: Batcher[Tensor, Ran],
        decoder: Decoder,
        metrics: ModelMetrics,
        run_s: Mapping[int, float],
        load_s: float,
        layers: Description | None,
        on_failure: Callable[[ServedModel], None],
    ) -> None:
        """
        Open a queue for the model.

        Args:
            run_s: Seconds that runs took so far, by their images.
            on_failure: Called when the model failed on a request.
        """
        self.manifest = manifest
        self.session = session
        self.policy = policy
        self.max_batch_size = max_batch_size
        self.load_s = load_s
        self.layers = layers
        self.statistics = Statistics()
        self._batcher = batcher
        self._queue = batcher.open(self._run, policy, run_s)
        self._decoder = decoder
        self._metrics = metrics
        self._on_failure = on_failure
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
        """
        Wait until nobody uses the model and nothing of it runs, then give up its queue.

        Its session is still open.
        """
        await self._unused.wait()
        await self._batcher.close(self._queue)

    def check_room(self, images: int) -> None:
        """Raise `QueueFullError` if *images* more would be too many."""
        self._queue.check_room(images)

    async def infer(self, batch: Tensor, terms: Terms) -> Inference:
        """
        Run a tensor, `[N, ...]` in the input's shape and dtype, N at most `max_batch_size`.

        Raises:
            QueueFullError, RequestExpiredError, ShuttingDownError, InferenceError: As
                `Batcher.submit`.
        """

        async def prepared() -> Tensor:
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

        async def decoded() -> Tensor:
            nonlocal decode_s
            started = time.perf_counter()
            batch = await self._decoder.decode(images, self.manifest)
            decode_s = time.perf_counter() - started
            self._metrics.phase["decode"].observe(decode_s)
            return batch

        inference = await self._submit(decoded, len(images), terms)
        return inference._replace(decode_s=decode_s)

    async def preview(self, image: bytes) -> bytes:
        """
        Show what the network sees of *image*: the preprocessed pixels, as PNG.

        Raises:
            InvalidImageError, ImageTooLargeError: If it cannot be decoded.
        """
        return await self._decoder.preview(image, self.manifest.preprocessing)

    def offer(self, batch: Tensor, reply: Reply[Answer[Ran]], terms: Terms) -> Place[Tensor, Ran]:
        """
        Run a tensor as `infer` does, and do not wait.

        The model is to be held until *reply* has an answer, of which `ran` makes what `infer`
        returns, or an error, which `failed` is to be told.

        Raises:
            QueueFullError, DeadlineUnmeetableError, RequestExpiredError, ShuttingDownError: As
                `Batcher.offer`.
        """
        return self._batcher.offer(
            self._queue,
            batch,
            reply,
            size=len(batch),
            deadline=terms.deadline,
            priority=terms.priority,
        )

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

    def failed(self, started_at: float, error: Exception) -> None:
        """Count a request that failed after it was accepted."""
        self.statistics.fail.add(time.perf_counter() - started_at)
        if isinstance(error, InferenceError):
            self._on_failure(self)

    def ran(self, answer: Answer[Ran], images: int, started_at: float) -> Inference:
        """Count what a request of *images* waited and ran, and tell it with its outputs."""
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
            started_at=started_at,
            answered_at=time.perf_counter(),
        )

    async def _submit(
        self, prepare: Callable[[], Awaitable[Tensor]], images: int, terms: Terms
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
        except Exception as error:
            self.failed(started, error)
            raise
        return self.ran(answer, images, started)

    def _run(self, items: Sequence[Tensor]) -> Sequence[Ran]:
        """Run one batch; called in one of the device's threads."""
        results, times = self.session.run_each(items)
        size = sum(len(item) for item in items)
        padding = self.session.padding(size)
        with self._metrics.batches:
            self._metrics.batch_size.observe(size)
            if padding:
                self._metrics.padding.inc(padding)
            self.statistics.ran(size, times)
        return [Ran(outputs, times) for outputs in results]
