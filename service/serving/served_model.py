"""One served model: images or tensors pass through queue and device to become outputs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from convoy.service.batching.batcher import Batcher
from convoy.service.batching.queue import BatchPolicy
from convoy.service.call import Request
from convoy.service.decoding.decoder import Decoder
from convoy.service.engine import Tensor
from convoy.service.serving.loader import LoadedArtifact
from convoy.service.telemetry.batch_record import BatchTimes
from convoy.service.telemetry.metrics import ModelMetrics
from convoy.service.telemetry.statistics import Statistics


class ServedModel:
    """
    A loaded version of a model, with a queue: `engine.Model` in the engine's own process.

    Attributes:
        name: Name of the model.
        manifest: The artifact's description.
        session: The loaded graph.
        policy: The rules by which its batches are formed.
        max_batch_size: Maximum number of images in one request.
        load_s: Time that loading took, in seconds.
        layers: The layers of the graph, if the artifact states them.
        baseline: What images and answers look like, if the artifact states it.
        model_path: The file of the graph.
        no_class_maps: Reason why it has no class activation maps; empty if it has them.
        metrics: Metrics of the model.
        statistics: Statistics of the version since it was loaded.
    """

    def __init__(
        self,
        loaded: LoadedArtifact,
        *,
        policy: BatchPolicy,
        batcher: Batcher,
        decoder: Decoder,
        metrics: ModelMetrics,
        on_failure: Callable[[ServedModel], None],
    ) -> None:
        """
        Open a queue for the model.

        Args:
            on_failure: Called with the model after it failed on a request.
        """
        self.name = loaded.manifest.name
        self.manifest = loaded.manifest
        self.session = loaded.session
        self.policy = policy
        self.max_batch_size = loaded.session.max_batch_size
        self.load_s = loaded.load_s
        self.layers = loaded.layers
        self.baseline = loaded.baseline
        self.model_path = loaded.model_path
        self.no_class_maps = loaded.no_class_maps
        self.metrics = metrics
        self.statistics = Statistics()
        self._batcher = batcher
        self._queue = batcher.open(loaded.session.runner, policy, loaded.run_s, self._count_batch)
        self._is_shadow = False
        self._decoder = decoder
        self._on_failure = on_failure
        self._holders = 0
        self._unused = asyncio.Event()  # set while no call holds the model
        self._unused.set()

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def provider(self) -> str:
        return self.session.provider

    @property
    def precision(self) -> str:
        return self.session.precision

    @property
    def fallback_reason(self) -> str:
        return self.session.fallback_reason

    @property
    def is_shadow(self) -> bool:
        """True if the model answers no clients; the scheduler takes its requests last."""
        return self._is_shadow

    def set_shadow(self, is_shadow: bool) -> None:
        """Make the model a shadow, or an ordinary one."""
        self._is_shadow = is_shadow
        self._batcher.set_shadow(self._queue, is_shadow)

    def expected_s(self, images: int) -> float:
        """Return the expected duration of a run of that many images, in seconds."""
        return self._queue.latency.run_s(images)

    @property
    def queue_depth(self) -> int:
        """Images admitted and not yet running."""
        return self._queue.admitted_size

    def hold(self) -> None:
        """Keep the model open until `release`; any number of calls may hold it."""
        self._holders += 1
        self._unused.clear()

    def release(self) -> None:
        """Allow the model to close, once no other call holds it."""
        self._holders -= 1
        if not self._holders:
            self._unused.set()

    async def close(self) -> None:
        """Wait until no call holds the model, then remove its queue. The session stays open."""
        # A run may outlast its calls: the batcher waits for it.
        await self._unused.wait()
        await self._batcher.close(self._queue)

    def suspect(self) -> None:
        """Request a check of whether the model, which failed on a request, can still run."""
        self._on_failure(self)

    async def check_room(self, images: int) -> None:
        """Raise `QueueFullError` if the queue has no room for *images* more."""
        self.check_room_now(images)

    def check_room_now(self, images: int) -> None:
        """Check as `check_room` does, without waiting."""
        self._queue.check_room(images)

    def infer(self, request: Request, batch: Tensor) -> Awaitable[None]:
        """
        Run a tensor, `[N, ...]` in the input's shape and dtype, N at most `max_batch_size`.

        The outputs and times are in *request* afterwards. Errors are those of `Batcher.submit`.
        """
        request.item, request.images = batch, len(batch)
        return self._batcher.submit(self._queue, request)

    def infer_images(self, request: Request, images: Sequence[bytes]) -> Awaitable[None]:
        """
        Decode images, at most `max_batch_size`, and run them together.

        The outputs and times are in *request* afterwards. Other errors are those of
        `Batcher.submit`.

        Raises:
            InvalidImageError, ImageTooLargeError: If an image cannot be decoded.
        """
        request.encoded, request.images = images, len(images)
        decode = partial(self._decoder.decode, request, images, self.manifest)
        return self._batcher.submit(self._queue, request, decode)

    async def decode(self, request: Request, images: Sequence[bytes]) -> Tensor:
        """
        Decode images to a tensor for `infer`.

        Raises:
            InvalidImageError, ImageTooLargeError: If an image cannot be decoded.
        """
        return await self._decoder.decode(request, images, self.manifest)

    def offer(self, request: Request, batch: Tensor) -> None:
        """Run a tensor as `infer` does, without waiting; see `Batcher.offer`."""
        request.item, request.images = batch, len(batch)
        self._batcher.offer(self._queue, request)

    def reserve(self, request: Request, images: int) -> None:
        """Give a request of *images* a place before they are decoded; errors are `offer`'s."""
        request.images = images
        self._batcher.admit(self._queue, request)

    def run_reserved(self, request: Request, batch: Tensor) -> None:
        """Run the tensor of a request that has a place, unless its deadline has passed."""
        if not request.done:
            request.item = batch
            self._batcher.enqueue(self._queue, request)

    def waits(self, request: Request) -> bool:
        """Return whether a request holds a place: no run has begun to read its tensor."""
        return request in self._queue.admitted

    def withdraw(self, request: Request) -> None:
        """Free the place of a request whose client has disconnected."""
        self._batcher.withdraw(self._queue, request)

    async def preview(self, image: bytes) -> bytes:
        """
        Return the pixels that the network receives for *image*, after preprocessing, as PNG.

        Raises:
            InvalidImageError, ImageTooLargeError: If it cannot be decoded.
        """
        return await self._decoder.preview(image, self.manifest.preprocessing)

    def _count_batch(self, images: int, times: BatchTimes) -> None:
        # The metrics count answers to clients; a comparison counts the runs of a shadow.
        if self._is_shadow:
            return
        self.metrics.batch_size.observe(images)
        # Only a GPU pads batches.
        if times.padding:
            self.metrics.padding.inc(times.padding)
        self.statistics.add_batch(
            images, input_s=times.input_s, infer_s=times.infer_s, output_s=times.output_s
        )
