"""Bytes of an image -> uint8 `[H, W, C]`: the one implementation, for training and serving.

One rule for each kind of image:

* JPEG, PNG, WebP and BMP are decoded, told apart by their first bytes; nothing else is opened.
* The limits on bytes and pixels are checked before any pixel is decoded.
* A rotation in the EXIF data is applied.
* CMYK and YCCK are converted to RGB as Pillow does it, without colour profiles.
* 16 bits per channel keep their upper 8.
* A palette is replaced by its colours.
* Transparency is laid over white, as a page would show it.
* Of an animation the first frame counts.
* A truncated image is refused, never completed with grey.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageOps

from artifact.errors import ImageError, ImageTooLargeError
from artifact.manifest import InputTensor, Manifest, Normalization, Preprocessing

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""Pillow's names of the formats that are opened."""

# Pillow's guard against decompression bombs warns in a way that threads cannot catch one by one;
# `ImageLimits` replaces it.
Image.MAX_IMAGE_PIXELS = None

_EXIF_ORIENTATION = 0x0112
_INTERPOLATION = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """
    What an image may cost at most.

    Attributes:
        max_bytes: Size of the encoded image.
        max_pixels: Width times height, of the image and of its resized form.
    """

    max_bytes: int = 10 * 1024 * 1024
    max_pixels: int = 50_000_000


def preprocess(data: bytes, spec: Preprocessing, limits: ImageLimits = ImageLimits()) -> Pixels:
    """
    Decode *data* and make it what the network sees: uint8 `[H, W, C]`.

    Raises:
        ImageTooLargeError: If *data* breaks one of *limits*.
        ImageError: If *data* is empty, truncated or no image of `FORMATS`.
    """
    opened = _open(data, spec, limits)
    try:
        image = _convert(_decode(opened, data), spec)
    except MemoryError:
        raise
    except Exception as error:  # as in `_open`
        raise ImageError(f"the {opened.format} image is damaged or truncated") from error
    return _fit(image, spec)


def to_input(pixels: Pixels, tensor: InputTensor, normalization: Normalization) -> npt.NDArray[Any]:
    """Turn uint8 `[H, W, C]` into one item of the graph's input: its dtype, layout and scale."""
    if tensor.dtype == "uint8":
        values: npt.NDArray[Any] = pixels
    elif normalization.where == "graph":
        values = pixels.astype(tensor.dtype)
    else:
        mean = np.asarray(normalization.mean, np.float32)
        std = np.asarray(normalization.std, np.float32)
        values = ((pixels / np.float32(255) - mean) / std).astype(tensor.dtype)
    return values if tensor.layout == "NHWC" else np.ascontiguousarray(values.transpose(2, 0, 1))


def image_to_input(
    data: bytes, manifest: Manifest, limits: ImageLimits = ImageLimits()
) -> npt.NDArray[Any]:
    """Decode *data* into one item of the input of *manifest*'s graph; raises as `preprocess`."""
    pixels = preprocess(data, manifest.preprocessing, limits)
    return to_input(pixels, manifest.input, manifest.normalization)


def _open(data: bytes, spec: Preprocessing, limits: ImageLimits) -> Image.Image:
    """Read the header and check the limits; no pixel is decoded."""
    if not data:
        raise ImageError("the image is empty: 0 bytes")
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError(
            f"the image has {len(data)} bytes; at most {limits.max_bytes} are accepted"
        )
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plug-ins raise almost anything on hostile bytes.
        raise ImageError("the bytes are not a JPEG, PNG, WebP or BMP image") from error
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"the image has {width}x{height} pixels; at most {limits.max_pixels} are accepted"
        )
    width, height = _resized(image.size, spec.resize_px)
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"the image is too elongated: resized it would have {width}x{height} pixels"
        )
    return image


def _decode(image: Image.Image, data: bytes) -> Image.Image:
    """Decode all pixels, upright. Common JPEGs go through simplejpeg: same pixels, less time."""
    decoded = None
    if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
        decoded = _decode_jpeg(image, data)
    if decoded is None:
        image.load()
        decoded = image
    return ImageOps.exif_transpose(decoded)


def _decode_jpeg(image: Image.Image, data: bytes) -> Image.Image | None:
    """
    Decode by simplejpeg; None if it objects.

    It objects to whatever libjpeg warns of: to a truncated image, but to a stray byte between
    two markers, too. Pillow tells the two apart.
    """
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB" if image.mode == "RGB" else "GRAY")
    except ValueError:
        return None
    decoded = Image.fromarray(pixels if image.mode == "RGB" else pixels[:, :, 0])
    if orientation := image.getexif().get(_EXIF_ORIENTATION):
        decoded.getexif()[_EXIF_ORIENTATION] = orientation
    return decoded


def _convert(image: Image.Image, spec: Preprocessing) -> Image.Image:
    """Make *image* grey (`L`) or `RGB`, by the rules at the top of this file."""
    if image.mode.startswith("I;16") or image.mode == "I":
        upper = np.asarray(image).astype(np.uint32) >> 8
        image = Image.fromarray(upper.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode == "CMYK":
        image = image.convert("RGB")
    return image.convert("L" if spec.color == "L" else "RGB")


def _resized(size: tuple[int, int], resize_px: int) -> tuple[int, int]:
    """Width and height once the shorter side is *resize_px*; truncated, as torchvision does."""
    width, height = size
    if width <= height:
        return resize_px, max(resize_px, int(resize_px * height / width))
    return max(resize_px, int(resize_px * width / height)), resize_px


def _fit(image: Image.Image, spec: Preprocessing) -> Pixels:
    """Resize, crop and pad *image*; the offsets of the crop are rounded as torchvision's."""
    size = _resized(image.size, spec.resize_px)
    if image.size != size:
        image = image.resize(size, _INTERPOLATION[spec.interpolation])
    left = round((size[0] - spec.crop_width_px) / 2)
    top = round((size[1] - spec.crop_height_px) / 2)
    pixels = np.asarray(image).reshape(size[1], size[0], spec.channels)
    pixels = pixels[top : top + spec.crop_height_px, left : left + spec.crop_width_px]
    if spec.color == "BGR":
        pixels = pixels[:, :, ::-1]
    if spec.pad_px:
        pad = (spec.pad_px, spec.pad_px)
        pixels = np.pad(pixels, (pad, pad, (0, 0)))
    return np.ascontiguousarray(pixels)
