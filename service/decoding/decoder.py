"""Decoding of images outside the event loop, which never touches a pixel."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from convoy.artifact.errors import ImageError
from convoy.artifact.errors import ImageTooLargeError as TooLarge
from convoy.artifact.manifest import Manifest, Preprocessing
from convoy.artifact.preprocess import ImageLimits, image_to_input, preprocess
from convoy.service.call import Request
from convoy.service.errors import ImageTooLargeError, InvalidImageError, StartError

T = TypeVar("T")


class DecodePool(Protocol):
    """A pool of workers that decode images."""

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call *work*, a function of a module, in a worker; the future gets its outcome."""

    def close(self) -> None:
        """End the workers without waiting for them."""


class DecodeThreads:
    """
    A pool of threads that decode images; decoders release the GIL.

    Args:
        threads: Number of images decoded at once.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        return self._pool.submit(work, *arguments)

    def close(self) -> None:
        """End the threads without waiting for images that are being decoded."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def open_pool(threads: int, processes: int, timeout_s: float) -> DecodePool:
    """
    Start the workers that decode images: *threads*, unless *processes* is not 0.

    Args:
        timeout_s: Longest time for one image in a process, in seconds.

    Raises:
        StartError: If processes are asked for and their library is not installed.
    """
    if not processes:
        return DecodeThreads(threads)
    try:
        from convoy.service.decoding.processes import DecodeProcesses  # an extra
    except ImportError as error:
        raise StartError(
            "decoding in processes is not available: install the extra isolate"
        ) from error
    return DecodeProcesses(processes, timeout_s)


class Decoder:
    """
    Turns encoded images into the input of models.

    Args:
        limits: Limits on the size of one image.
    """

    def __init__(self, pool: DecodePool, limits: ImageLimits) -> None:
        self._pool = pool
        self._limits = limits

    async def decode(
        self, request: Request, images: Sequence[bytes], manifest: Manifest
    ) -> npt.NDArray[Any]:
        """
        Decode images to a batch of the model's input, `[N, ...]` in its dtype.

        The time that it took is in *request* afterwards.

        Raises:
            InvalidImageError: If one of them is not an image; the message gives its position where
                there are several.
            ImageTooLargeError: If one of them exceeds a limit.
        """
        started, several, items, decoding = time.monotonic(), len(images) > 1, [], []
        for data in images:
            future = self._pool.submit(image_to_input, data, manifest, self._limits)
            decoding.append(asyncio.wrap_future(future))
        # All results are awaited, so that no worker is left with an image of a call that ended.
        for index, item in enumerate(await asyncio.gather(*decoding, return_exceptions=True)):
            if isinstance(item, BaseException):
                raise _named(item, index if several else None)
            items.append(item)
        batch = np.stack(items) if several else items[0][np.newaxis]  # one image needs no copy
        request.decode_s = time.monotonic() - started
        return batch

    async def preview(self, data: bytes, spec: Preprocessing) -> bytes:
        """
        Preprocess an image for the network and encode the result as PNG.

        Raises:
            InvalidImageError: If it is not an image.
            ImageTooLargeError: If it exceeds a limit.
        """
        try:
            return await asyncio.wrap_future(self._pool.submit(_preview, data, spec, self._limits))
        except ImageError as error:
            raise _named(error, None) from error

    def close(self) -> None:
        """End the workers without waiting for images."""
        self._pool.close()


def _preview(data: bytes, spec: Preprocessing, limits: ImageLimits) -> bytes:
    pixels = preprocess(data, spec, limits)
    # PNG is RGB: show the colours as in the original image.
    if spec.color == "BGR":
        pixels = pixels[:, :, ::-1]
    image = Image.fromarray(pixels[:, :, 0] if spec.channels == 1 else pixels)
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def _named(error: BaseException, index: int | None) -> BaseException:
    """Return the error that a client sees, with the position of the image."""
    text = str(error) if index is None else f"image {index}: {error}"
    # Only errors about the image are for the client; any other is internal.
    if isinstance(error, TooLarge):
        return ImageTooLargeError(f"{text}, or ask for the server's limits on images to be raised")
    return InvalidImageError(text) if isinstance(error, ImageError) else error
