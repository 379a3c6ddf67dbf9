"""Images in the forms that users hold, and the steps from these to the input of a graph."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convoy.artifact.errors import ImageError, ImageTooLargeError, RepositoryError
from convoy.artifact.manifest import Manifest
from convoy.artifact.preprocess import ImageLimits, image_to_input, pixels_to_input
from convoy.service import errors
from convoy.stores import explain_store, is_url, open_store, reaching

LIMITS = ImageLimits()
"""The limits that a server has by default."""

FETCHED_BYTES = 32 << 20
"""Bytes of files that are fetched from a store at once."""

# Stable reasons of rows without an answer, beside those of a server.
INPUT_NOT_FOUND = "INPUT_NOT_FOUND"
INPUT_UNREADABLE = "INPUT_UNREADABLE"
INPUT_CHANGED = "INPUT_CHANGED"
WORKER_CRASHED = "WORKER_CRASHED"

_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
"""Errors of the names of files that do not exist, or cannot."""

_NOT_OF_ONE_URL = frozenset({407, 408, 425, 429})
"""Statuses of HTTP from 400 to 499 that other URLs would have as well, or this one only now."""


class File(NamedTuple):
    """
    A file with an image: a path or a URL, with its state when it was listed, if that is known.

    Attributes:
        size: In bytes.
        mtime_ns: Time of the last change; None in a store.
    """

    path: str
    size: int | None = None
    mtime_ns: int | None = None


class Unread(NamedTuple):
    """An image that could not be read, with the reason."""

    reason: str


Image = bytes | str | Path | File | Unread | Mapping[str, Any] | npt.NDArray[np.uint8] | None
"""Encoded bytes; a path or URL; `{"bytes": ..., "path": ...}` as Hugging Face's data sets have it;
pixels, uint8 `[H, W, C]` or `[H, W]`; or nothing."""


def to_inputs(images: Sequence[Image], manifest: Manifest) -> list[npt.NDArray[Any] | str]:
    """
    Read and decode images to items of the graph's input; give a reason in place of a bad image.

    Raises:
        RepositoryError: If a disk or a store fails, which is not the fault of one image.
    """
    return [_to_input(image, manifest) for image in read(images)]


def needs_reading(image: Image) -> bool:
    """Return whether an image is in a file or a store, and not in memory."""
    return isinstance(_source(image), File)


def read(images: Sequence[Image]) -> Iterator[bytes | npt.NDArray[np.uint8] | Unread]:
    """
    Read images in order, those in a store several at once.

    Raises:
        RepositoryError: As `to_inputs`.
    """
    waiting: list[File] = []
    store = None
    for image in map(_source, images):
        last = store
        file = image if isinstance(image, File) and is_url(image.path) else None
        # The files of a job may be in several stores, also of one kind.
        store = open_store(file.path)[0] if file else None
        size = sum(one.size or LIMITS.max_bytes for one in waiting)
        if waiting and (store != last or size > FETCHED_BYTES):
            yield from _fetch(waiting, last)
            waiting = []
        if file:
            waiting.append(file)
        else:
            yield _read_file(image) if isinstance(image, File) else image
    if waiting:
        yield from _fetch(waiting, store)


def _source(image: Image) -> bytes | npt.NDArray[np.uint8] | File | Unread:
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    if image is None:
        return Unread(errors.InvalidImageError.reason)
    if isinstance(image, File | Unread | np.ndarray):
        return image
    if isinstance(image, str | Path):
        return File(str(image))
    return bytes(image)


def _to_input(
    image: bytes | npt.NDArray[np.uint8] | Unread, manifest: Manifest
) -> npt.NDArray[Any] | str:
    try:
        if isinstance(image, Unread):
            return image.reason
        if isinstance(image, np.ndarray):
            return pixels_to_input(image, manifest, LIMITS)
        return image_to_input(image, manifest, LIMITS)
    except ImageTooLargeError:
        return errors.ImageTooLargeError.reason
    except ImageError:
        return errors.InvalidImageError.reason


def _read_file(file: File) -> bytes | Unread:
    try:
        # To open a pipe would wait for its writer, for ever.
        if not stat.S_ISREG(os.stat(file.path).st_mode):
            return Unread(INPUT_UNREADABLE)
        with open(file.path, "rb") as opened:
            state = os.fstat(opened.fileno())
            if file.size is not None and (state.st_size, state.st_mtime_ns) != file[1:]:
                return Unread(INPUT_CHANGED)
            if state.st_size > LIMITS.max_bytes:
                return Unread(errors.ImageTooLargeError.reason)
            return opened.read()
    except ValueError:  # a null character, or no character
        return Unread(INPUT_NOT_FOUND)
    except PermissionError:
        return Unread(INPUT_UNREADABLE)
    except OSError as error:
        if error.errno in _NO_FILE:
            return Unread(INPUT_NOT_FOUND)
        raise RepositoryError(f"cannot read {file.path}: {error.strerror}") from error


def _fetch(files: Sequence[File], store: Any) -> Iterator[bytes | Unread]:
    wanted = [file for file in files if (file.size or 0) <= LIMITS.max_bytes]
    with reaching(files[0].path):
        # `cat` would take the brackets in a name for a wildcard.
        found = store.cat_ranges([open_store(file.path)[1] for file in wanted], None, None)
    contents = dict(zip(wanted, found, strict=True))
    for file in files:
        data = contents.get(file)
        if data is None:
            yield Unread(errors.ImageTooLargeError.reason)
        elif reason := _fault_of_url(data, file.path):
            yield Unread(reason)
        elif isinstance(data, Exception):  # the store fails, or refuses: others would fail as well
            reason = explain_store(data, file.path)
            raise RepositoryError(f"cannot read {file.path}: {reason}") from data
        elif file.size is not None and len(data) != file.size:
            yield Unread(INPUT_CHANGED)
        else:
            yield data


def _fault_of_url(result: bytes | Exception, url: str) -> str | None:
    """Return the reason of a URL that is itself at fault; None if it is not."""
    if isinstance(result, FileNotFoundError):
        return INPUT_NOT_FOUND
    if isinstance(result, bytes) or not url.lower().startswith(("http:", "https:")):
        return None
    # The web needs no credentials, which other stores would lack for all files.
    status = getattr(result, "status", 0)
    if status == HTTPStatus.GONE or isinstance(result, ValueError):  # it is no URL
        return INPUT_NOT_FOUND
    return INPUT_UNREADABLE if 400 <= status < 500 and status not in _NOT_OF_ONE_URL else None
