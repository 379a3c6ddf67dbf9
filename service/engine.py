"""The boundary between a transport and the engine, which owns queues, models and devices.

A transport parses a message, checks it against a model's description, and hands over images or a
tensor; the engine answers with outputs, or an error. `convoy.service.serving` implements this
interface in the engine's own process, and `convoy.service.serving.fronts` in a front process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from convoy.artifact.manifest import Manifest
from convoy.service import call
from convoy.service.call import Call, Request

Tensor = npt.NDArray[Any]
"""The images of one request, `[N, ...]` in the shape and dtype of the model's input."""


class Model(call.Model, Protocol):
    """
    A served version of a model.

    Attributes:
        manifest: The artifact's description.
        max_batch_size: Maximum number of images in one request.
    """

    manifest: Manifest
    max_batch_size: int

    @property
    def version(self) -> int:
        """Number of the version."""

    @property
    def provider(self) -> str:
        """Execution provider that runs it, or most of it."""

    @property
    def precision(self) -> str:
        """Number format that it is computed in: that of its weights, or `bf16`."""

    @property
    def fallback_reason(self) -> str:
        """Reason for another provider than the preferred one; empty without fallback."""

    async def check_room(self, images: int) -> None:
        """Raise `QueueFullError` if the queue has no room for *images* more."""

    def infer(self, request: Request, batch: Tensor) -> Awaitable[None]:
        """
        Run a tensor, `[N, ...]` in the input's shape and dtype, N at most `max_batch_size`.

        The outputs and times are in *request* afterwards. Errors are those of `Batcher.submit`.
        """

    def infer_images(self, request: Request, images: Sequence[bytes]) -> Awaitable[None]:
        """
        Decode images, at most `max_batch_size`, and run them together.

        The outputs and times are in *request* afterwards. Other errors are those of
        `Batcher.submit`.

        Raises:
            InvalidImageError, ImageTooLargeError: If an image cannot be decoded.
        """

    def offer(self, request: Request, batch: Tensor) -> None:
        """Run a tensor as `infer` does, without waiting; see `Batcher.offer`."""

    def withdraw(self, request: Request) -> None:
        """Free the place of a request whose client has disconnected."""


class Models(Protocol):
    """
    The models that are served.

    Attributes:
        generation: Changes whenever `get` may give another answer than before.
    """

    generation: int

    def get(self, name: str, version: str = "") -> Model:
        """
        Find a model.

        Args:
            version: Decimal digits; empty for the newest version that serves.

        Raises:
            ModelNotReadyError: If it is being loaded, failed to load or was unloaded.
            ModelNotFoundError: If there is no model of that name and version.
        """

    def models(self) -> Sequence[Model]:
        """Return every model that serves, by name and version."""

    def find(self, call: Call, name: str, version: str = "") -> Model:
        """Find the model that *call* asks for, and let the call hold it; raises as `get`."""

    def label(self, name: str) -> str:
        """Return the label of calls for *name* in metrics: itself only if it serves."""
