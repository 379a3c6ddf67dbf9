"""The images of a request: its body as it is, or the files of a form, and the form's options."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import NamedTuple

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from convoy.service.errors import InvalidArgumentError

# It warns of each form that cannot be read: any client could fill the log.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

MAX_FIELDS = 16
"""Maximum number of fields of a form, in addition to its files."""

MAX_FIELD_BYTES = 1024
"""Maximum size of a field in bytes: options are numbers."""

_UTF_8 = frozenset({b"", b"utf-8", b"utf8", b"us-ascii"})

_HOW = (
    "send the file as the body (curl --data-binary @photo.jpg) or in a form "
    "(curl -F image=@photo.jpg)"
)

_TEXT_BYTES = 64
"""Bytes of a body that tell text from an image: every format has a NUL or a byte above 127."""


class SentImage(NamedTuple):
    """An encoded image, and the name of its file; empty if it is the body itself."""

    file: str
    data: bytes


class _InMemoryParser(MultiPartParser):
    """starlette's parser, which never writes a file to the disk: the body's size is limited."""

    spool_max_size = 0


async def read_images(
    request: Request, body: bytes, max_images: int
) -> tuple[list[SentImage], list[tuple[str, str]]]:
    """
    Take *body*, the body of *request*, apart.

    Args:
        max_images: Maximum number of files of a form.

    Returns:
        Its images, at least one, and the fields of the form; the body of another media type than
        a form's is one image, whatever its type: curl states the type of a web form for any body.

    Raises:
        InvalidArgumentError: If it has no image, or is a form that cannot be read.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        if not body:
            raise InvalidArgumentError(f"the request has no image: {_HOW}")
        return [SentImage("", body)], []
    images, fields = await _read_form(request, body, max_images)
    if not images:
        raise InvalidArgumentError(f"the form has no file: {_HOW}")
    return images, fields


def image_hint(request: Request, body: bytes) -> str:
    """Return advice about *body*, which is no image; empty if there is none."""
    start, media_type = body.lstrip()[:_TEXT_BYTES], request.headers.get("content-type", "")
    # JSON, base64 or a path in place of the image; markup may be an image, of a format of its own.
    if start.isascii() and b"\0" not in start and not start.startswith((b"<", b"--")):
        return f"; this route takes image files, not JSON, base64 or paths: {_HOW}"
    # `curl -d @photo.jpg` removes line ends, and states the type of a web form.
    if media_type == "application/x-www-form-urlencoded":
        return "; with curl, use --data-binary in place of -d"
    return ""


async def _read_form(
    request: Request, body: bytes, max_images: int
) -> tuple[list[SentImage], list[tuple[str, str]]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    # The parser decodes texts as the client says, and some of Python's codecs take hours.
    _, stated = parse_options_header(request.headers["content-type"])
    if stated.get(b"charset", b"").lower() not in _UTF_8:
        raise InvalidArgumentError("the form's charset must be utf-8, or left out")
    parser = _InMemoryParser(
        request.headers,
        stream(),
        max_files=max_images,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidArgumentError(f"the form cannot be read: {error.message}") from error
    images, fields = [], []
    for name, value in form.multi_items():
        # A file has a file name; `curl -F image=<photo.jpg` would send an image as text.
        if isinstance(value, UploadFile):
            images.append(SentImage(value.filename or "", await value.read()))
        else:
            fields.append((name, value))
    await form.close()
    return images, fields
