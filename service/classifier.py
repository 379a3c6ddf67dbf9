"""One served model: from images or tensors, through the queue and the device, to answers."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from artifact.manifest import Manifest
from service.batcher import Answer, Batcher
from service.decoding import Decoder
from service.errors import InvalidArgumentError
from service.metrics import ModelMetrics
from service.runtime import Outputs, Session, as_scores, softmax
from service.scheduler import BatchPolicy

MAX_TOP_K = 1000
DEFAULT_TOP_K = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """
    Outputs for one request and where its time went.

    Attributes:
        outputs: Output name -> array `[N, ...]`.
        decode_s: Decoding its images, in seconds; 0 for tensors.
        queue_s: Waiting for the device, in seconds.
        inference_s: Running the batch, in seconds.
        batch_size: Images in that batch, those of other requests included.
        answered_at: `time.perf_counter()` when the outputs were there.
    """

    outputs: Outputs
    decode_s: float
    queue_s: float
    inference_s: float
    batch_size: int
    answered_at: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class, its place in the output and its probability in `[0, 1]`."""

    class_index: int
    label: str
    probability: float


class ServedModel:
    """
    One version of a model that answers.

    Attributes:
        manifest: What the artifact says of itself.
        session: The loaded graph.
        max_batch_size: Most images in one request, and in one batch.
    """

    def __init__(
        self,
        manifest: Manifest,
        session: Session,
        *,
        policy: BatchPolicy,
        batcher: Batcher[npt.NDArray[Any], Outputs],
        decoder: Decoder,
        metrics: ModelMetrics,
    ) -> None:
        self.manifest = manifest
        self.session = session
        self.max_batch_size = policy.max_batch_size
        self._batcher = batcher
        self._queue = batcher.open(self._run, policy)
        self._decoder = decoder
        self._metrics = metrics

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.manifest.name

    @property
    def queue_depth(self) -> int:
        """Images admitted and not yet running."""
        return self._queue.admitted_size

    def check_room(self, images: int) -> None:
        """Raise `QueueFullError` if *images* more would be too many."""
        self._queue.check_room(images)

    async def infer(self, batch: npt.NDArray[Any], deadline: float = math.inf) -> Inference:
        """
        Run a tensor, `[N, ...]` in the input's shape and dtype, N at most `max_batch_size`.

        Raises:
            QueueFullError, RequestExpiredError, ShuttingDownError, InferenceError: As
                `Batcher.submit`.
        """

        async def prepared() -> npt.NDArray[Any]:
            return batch

        answer = await self._batcher.submit(
            self._queue, prepared, size=len(batch), deadline=deadline
        )
        return self._inference(answer, decode_s=0.0)

    async def infer_images(self, images: Sequence[bytes], deadline: float = math.inf) -> Inference:
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

        answer = await self._batcher.submit(
            self._queue, decoded, size=len(images), deadline=deadline
        )
        return self._inference(answer, decode_s)

    @staticmethod
    def check_top_k(k: int) -> None:
        """
        Raise if *k* is out of range, before any work is done.

        Raises:
            InvalidArgumentError: If *k* is not in `[0, 1000]`.
        """
        if not 0 <= k <= MAX_TOP_K:
            raise InvalidArgumentError(f"top_k is {k}; it must be in [1, {MAX_TOP_K}], or 0 for 5")

    def top_k(self, outputs: Outputs, k: int) -> list[list[Prediction]]:
        """The *k* most probable classes of each image, most probable first; 5 if *k* is 0."""
        probabilities = self._probabilities(outputs)
        count = min(k or DEFAULT_TOP_K, probabilities.shape[1])
        best = largest(probabilities, count)
        labels = self.manifest.labels
        return [
            [Prediction(index, labels[index], float(row[index])) for index in indices]
            for row, indices in zip(probabilities, best.tolist(), strict=True)
        ]

    def responded(self, inference: Inference) -> float:
        """Count and return the time from the outputs to the finished answer, in seconds."""
        respond_s = time.perf_counter() - inference.answered_at
        self._metrics.phase["respond"].observe(respond_s)
        return respond_s

    def _inference(self, answer: Answer[Outputs], decode_s: float) -> Inference:
        self._metrics.phase["queue"].observe(answer.queue_s)
        self._metrics.phase["inference"].observe(answer.inference_s)
        return Inference(
            outputs=answer.result,
            decode_s=decode_s,
            queue_s=answer.queue_s,
            inference_s=answer.inference_s,
            batch_size=answer.batch_size,
            answered_at=time.perf_counter(),
        )

    def _probabilities(self, outputs: Outputs) -> npt.NDArray[Any]:
        if output := self.manifest.output("probabilities"):
            return as_scores(outputs[output.name])
        return softmax(as_scores(outputs[self.manifest.scores.name]))

    def _run(self, items: Sequence[npt.NDArray[Any]]) -> Sequence[Outputs]:
        """Run one batch; called in the device's thread."""
        results = self.session.run_each(items)
        self._metrics.batch_size.observe(sum(len(item) for item in items))
        return results


def largest(values: npt.NDArray[Any], count: int) -> npt.NDArray[np.intp]:
    """Indices of the *count* largest of each row, largest first; equal ones by their index."""
    if count < values.shape[1]:
        some = np.sort(np.argpartition(-values, count - 1, axis=1)[:, :count], axis=1)
    else:
        some = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    order = np.argsort(-np.take_along_axis(values, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)
