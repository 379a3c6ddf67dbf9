"""Bytes of an image -> uint8 `[H, W, C]`: the only implementation, for training and serving.

There is one rule for each kind of image:

* JPEG, PNG, WebP, BMP, GIF, TIFF and AVIF are decoded, and HEIC with an extra; their first bytes
  tell them apart. No other format is opened; `image_formats.py` names it in the refusal.
* The limits on bytes, pixels and the ratio of the sides are checked before any pixel is decoded.
* Two kinds of images keep within these limits and would take minutes; they are refused as well: a
  JPEG of more than 64 scans (a progressive one has about 10), and a run-length encoded BMP, which
  Pillow decodes byte by byte in Python. A million empty segments or chunks, which take as long,
  are noticed while they are read. `image_headers.py` checks what Pillow would make memory for while
  it opens a GIF or a TIFF.
* A rotation in the EXIF data is applied. EXIF data that cannot be read is ignored.
* CMYK and YCCK are converted to RGB as Pillow does it, without colour profiles.
* 16 bits per channel are reduced to the upper 8. Pixels of 32 bits, which have no fixed range, are
  refused.
* A palette is replaced by its colours.
* An alpha channel and transparent entries of a palette are laid over white, as on a web page.
  PNG's single transparent colour without a palette is treated like any other colour.
* The first frame of an animation is used, and the first page of a TIFF. A camera's raw file, which
  has a thumbnail there, is refused.
* A large JPEG is decoded at a fraction of its size if the manifest says so: `scaled_decoding.py`.
* A damaged or truncated image is refused, never completed with grey, as far as its format reveals
  damage: `damage/` looks for what decoders do not notice, and `jpeg/` tells damage from oddities
  that every viewer accepts. What follows the image, as in a motion photo, is ignored.
* A TIFF shows what its tags say, or is refused; see `tiff.py`.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from convoy.artifact import damage, image_formats, image_headers, jpeg, plain_png, tiff
from convoy.artifact.errors import ImageError, ImageTooLargeError
from convoy.artifact.manifest import InputTensor, Manifest, Normalization, Preprocessing
from convoy.artifact.plain_png import PlainPng
from convoy.artifact.resize import Box, fit, resized_size
from convoy.artifact.scaled_decoding import choose_scale, shown_box

# Pillow warns of decompression bombs in a way that single threads cannot catch; `ImageLimits`
# replaces that check.
Image.MAX_IMAGE_PIXELS = None

# Pillow warns of each of the 65,536 tags that an EXIF block may hold, each time in another text:
# one hostile image would make megabytes of log, and Python would keep as much for its filter.
warnings.filterwarnings("ignore", module=r"PIL\.")

_BMP_RUN_LENGTH = (1, 2)  # BI_RLE8 and BI_RLE4

_MAX_READS = 50_000
"""Limit on the reads of one image. A segment of a JPEG takes 3 reads, a chunk of a PNG 4; 10 MiB in
the usual chunks of 8 KiB take about 5,000."""

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns an image upright, by EXIF orientation."""

_FIRST_ON_ITS_SIDE = 5
"""The EXIF orientations from this on swap width and height."""

_JPEG = ("JPEG", "MPO")
"""JPEG by Pillow's names: MPO has several images, of which the first one is decoded."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """
    Upper limits on an image.

    Attributes:
        max_bytes: Size of the encoded image.
        max_pixels: Width times height, before and after resizing. Decoding takes up to 24 bytes of
            memory for each (a WebP, the worst format).
        max_aspect_ratio: Ratio of the longer side to the shorter one.
    """

    max_bytes: int = 10 * 1024 * 1024
    max_pixels: int = 25_000_000
    max_aspect_ratio: float = 200.0


TRAINING_LIMITS = ImageLimits(max_bytes=256 * 1024 * 1024, max_pixels=120_000_000)
"""Limits on the images of a data set, which its owner chose: the largest cameras of telephones have
108 megapixels. A worker of the loader decodes one image at a time."""


class _Source(io.BytesIO):
    """
    The bytes of an image, which Pillow may read in a limited number of pieces.

    Pillow's plug-ins read headers piece by piece in Python and hold the GIL: 10 MiB of the smallest
    pieces would stop all other threads for seconds.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads > _MAX_READS:
            raise ImageError(f"the image is in more than {_MAX_READS} pieces")
        return super().read(size)


def preprocess(data: bytes, spec: Preprocessing, limits: ImageLimits = ImageLimits()) -> Pixels:
    """
    Decode *data* into the pixels of the network's input: uint8 `[H, W, C]`.

    Raises:
        ImageTooLargeError: If *data* exceeds one of *limits*.
        ImageError: If *data* is empty, truncated or not an image of `image_formats.FORMATS`.
    """
    decoded = _decoded(data, spec, limits)
    return fit(decoded.image, spec, decoded.size, decoded.box)


def decode(data: bytes, spec: Preprocessing, limits: ImageLimits = ImageLimits()) -> Image.Image:
    """
    Decode *data* into an image of its own size, grey or RGB as *spec* requires.

    With `spec.scaled_decoding`, it may be smaller. Raises the same errors as `preprocess`.
    """
    return _decoded(data, spec, limits).image


class _Decoded(NamedTuple):
    """
    A decoded image, upright, grey or RGB.

    Attributes:
        size: Width and height of the image in the file, upright.
        box: The part of *image* that shows it.
    """

    image: Image.Image
    size: tuple[int, int]
    box: Box


def _decoded(data: bytes, spec: Preprocessing, limits: ImageLimits) -> _Decoded:
    _check_bytes(data, limits)
    if plain := plain_png.read(data):
        return _decode_plain(plain, spec, limits)
    opened = _open(data, spec, limits)
    try:
        if opened.format in _JPEG:
            return _decode_jpeg(opened, data, spec)
        image = _decode(opened, data)
        # Only now: Pillow turns a TIFF while it decodes it.
        image = _convert(_upright(image, _orientation(opened)), spec)
        return _Decoded(image, image.size, (0, 0, *image.size))
    except (MemoryError, ImageError):
        raise
    except Exception as error:  # as in `_open`
        raise ImageError(_damaged(opened)) from error


def is_image(data: bytes) -> bool:
    """Return whether *data* begins like an image of a format that is opened."""
    try:
        return _identify(_checked(data, ImageLimits())) is not None
    # The header was read, and the image refused.
    except ImageError:
        return True


def to_input(pixels: Pixels, tensor: InputTensor, normalization: Normalization) -> npt.NDArray[Any]:
    """Turn uint8 `[H, W, C]` into one item of the graph's input: its dtype, layout and scale."""
    # uint8: the graph normalises, so the pixels are the input.
    if tensor.dtype == "uint8":
        values: npt.NDArray[Any] = pixels
    # Floats of 0 to 255: the graph normalises these, too.
    elif normalization.where == "graph":
        values = pixels.astype(tensor.dtype)
    # Normalise here: in float32, as in training, whatever the type of the input.
    else:
        mean = np.asarray(normalization.mean, np.float32)
        std = np.asarray(normalization.std, np.float32)
        values = ((pixels / np.float32(255) - mean) / std).astype(tensor.dtype)
    return values if tensor.layout == "NHWC" else np.ascontiguousarray(values.transpose(2, 0, 1))


def image_to_input(
    data: bytes, manifest: Manifest, limits: ImageLimits = ImageLimits()
) -> npt.NDArray[Any]:
    """
    Decode *data* into one item of the input of *manifest*'s graph.

    Raises the same errors as `preprocess`.
    """
    pixels = preprocess(data, manifest.preprocessing, limits)
    return to_input(pixels, manifest.input, manifest.normalization)


def pixels_to_input(
    pixels: Pixels, manifest: Manifest, limits: ImageLimits = ImageLimits()
) -> npt.NDArray[Any]:
    """
    Turn the pixels of a decoded image into one item of the input of *manifest*'s graph.

    Args:
        pixels: Grey or RGB: uint8 `[H, W]`, `[H, W, 1]` or `[H, W, 3]`, of any size.

    Raises:
        ImageTooLargeError: If they exceed one of *limits*.
        ImageError: If they have another type or shape.
    """
    is_grey = pixels.ndim == 2 or pixels.shape[2:] == (1,)
    if pixels.dtype != np.uint8 or not (is_grey or pixels.shape[2:] == (3,)) or not pixels.size:
        raise ImageError(
            f"the pixels are {pixels.dtype} {list(pixels.shape)}; expected uint8 [H, W], "
            "[H, W, 1] or [H, W, 3]"
        )
    image = Image.fromarray(pixels.reshape(pixels.shape[:2]) if is_grey else pixels)
    _check_size(image.size, manifest.preprocessing, limits)
    fitted = fit(_convert(image, manifest.preprocessing), manifest.preprocessing)
    return to_input(fitted, manifest.input, manifest.normalization)


def _open(data: bytes, spec: Preprocessing, limits: ImageLimits) -> Image.Image:
    """Read the header and check the limits, without decoding a pixel."""
    image = _identify(_checked(data, limits))
    # Pillow opens no JPEG with a profile or a segment of Adobe's that is cut.
    if image is None and data.startswith(b"\xff\xd8\xff"):
        image = _identify(jpeg.essence(data))
    if image is None:
        raise ImageError(
            tiff.UNKNOWN_KIND if image_formats.is_tiff(data) else image_formats.describe(data)
        )
    _check_size(image.size, spec, limits)
    if image.format == "BMP" and image.info.get("compression") in _BMP_RUN_LENGTH:
        raise ImageError("run-length encoded BMP images are not decoded; save it as PNG")
    return image


def _checked(data: bytes, limits: ImageLimits) -> bytes:
    """Check what Pillow would make memory for while it opens an image; return what to open."""
    check = partial(_check_pixels, limits)
    try:
        if data.startswith(b"GIF8"):
            return image_headers.first_frame(data, check)
        if image_formats.is_tiff(data):
            image_headers.check_tiff(data, check)
    except (struct.error, LookupError, OverflowError) as error:  # the header is cut
        raise ImageError(image_formats.describe(data)) from error
    return data


def _identify(data: bytes) -> Image.Image | None:
    """Read the header with Pillow; return None if it cannot."""
    try:
        return Image.open(_Source(data), formats=image_formats.FORMATS)
    except (MemoryError, ImageError):
        raise
    except Exception:  # Pillow's plug-ins raise almost anything on hostile bytes.
        return None


def _check_bytes(data: bytes, limits: ImageLimits) -> None:
    if not data:
        raise ImageError("the file is empty (0 bytes); send an image")
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError(
            f"the image has {len(data)} bytes; at most {limits.max_bytes} are accepted: "
            "make it smaller"
        )


def _check_pixels(limits: ImageLimits, width: int, height: int) -> None:
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"the image has {width}x{height} pixels; at most {limits.max_pixels} are accepted: "
            "make it smaller"
        )


def _check_size(size: tuple[int, int], spec: Preprocessing, limits: ImageLimits) -> None:
    width, height = size
    _check_pixels(limits, width, height)
    if max(size) > limits.max_aspect_ratio * min(size):
        raise ImageTooLargeError(
            f"the image has {width}x{height} pixels; at most {limits.max_aspect_ratio:g} times as "
            "many along one side as along the other are accepted: crop it"
        )
    # A small and very elongated image grows when its shorter side becomes `resize_px`.
    width, height = resized_size(size, spec)
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"the image is too elongated: resized it would have {width}x{height} pixels; crop it"
        )


def _decode_plain(plain: PlainPng, spec: Preprocessing, limits: ImageLimits) -> _Decoded:
    _check_size(plain.size, spec, limits)
    try:
        image = _convert(plain.decode(), spec)
    except ValueError as error:
        raise ImageError("the PNG image is damaged or truncated; send the original file") from error
    return _Decoded(image, image.size, (0, 0, *image.size))


def _decode_jpeg(opened: Image.Image, data: bytes, spec: Preprocessing) -> _Decoded:
    orientation = _orientation(opened)
    size = opened.size if orientation < _FIRST_ON_ITS_SIDE else (opened.height, opened.width)
    scale = choose_scale(size, spec)
    image = _convert(_upright(jpeg.decode(data, opened.mode, scale), orientation), spec)
    # Neither another frame of the file, nor more pixels than were checked.
    assert image.size == (-(-size[0] // scale), -(-size[1] // scale))
    return _Decoded(image, size, shown_box(size, image.size, scale, orientation))


def _decode(image: Image.Image, data: bytes) -> Image.Image:
    """Decode all pixels of another format."""
    if damage.is_damaged(data, image):
        raise ImageError(_damaged(image))
    decoded = tiff.load(image) if image.format == "TIFF" else image
    decoded.load()
    return decoded


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _damaged(image: Image.Image) -> str:
    name = image_formats.name(image)
    return f"the {name} image is damaged or truncated; send the original file"


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1, which is upright, if none can be read."""
    try:
        found = int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except MemoryError:
        raise
    except Exception:  # as in `_open`; a damaged EXIF block does not affect the pixels
        return 1
    return found if found in _UPRIGHT else 1


def _convert(image: Image.Image, spec: Preprocessing) -> Image.Image:
    """Convert *image* to grey (`L`) or `RGB` by the rules at the top of this file."""
    # 32 bits per pixel, in TIFF: which values are black and white is known to their program only.
    if image.mode in ("I", "F", "LAB"):
        raise ImageError(
            f"the image has pixels of a kind ({image.mode}) without a fixed range of brightness; "
            "save it with 8 or 16 bits per channel"
        )
    # 16 bits per channel: Pillow's own conversion would clip them instead of taking the upper 8.
    if image.mode.startswith("I;16"):
        upper = np.asarray(image).astype(np.uint32) >> 8
        image = Image.fromarray(upper.clip(0, 255).astype(np.uint8))
    # A palette with transparent entries: give it an alpha channel, for the next case. Pillow
    # reads the palette of a GIF that holds all greys in order as none.
    is_palette = image.mode == "P" or (image.mode == "L" and image.format == "GIF")
    if is_palette and "transparency" in image.info:
        image = image.convert("RGBA")
    # Colours that were multiplied by their alpha.
    if image.mode in ("RGBa", "La"):
        image = image.convert(image.mode.upper())
    # An alpha channel: lay the image over white.
    if image.mode in ("RGBA", "LA", "PA"):
        alpha = image.getchannel("A")
        background = Image.new("RGB", image.size, "white")
        background.paste(image.convert("RGB"), mask=alpha)
        image = background
    if image.mode == "CMYK":
        image = image.convert("RGB")
    mode = "L" if spec.color == "L" else "RGB"
    # Pillow would copy an image that has the mode already.
    return image if image.mode == mode else image.convert(mode)
