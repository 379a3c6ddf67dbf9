"""Damage that Pillow does not notice: a file for each format, and `convoy.artifact.jpeg` for JPEG.

`docs/reference/images.md` lists which damage each format reveals.
"""

from __future__ import annotations

from PIL import Image

from convoy.artifact.damage import gif, heif, png, tiff, webp

_CHECKS = {
    "AVIF": heif.is_damaged,
    "GIF": gif.is_damaged,
    "HEIF": heif.is_damaged,
    "PNG": png.is_damaged,
    "TIFF": tiff.is_damaged,
    "WEBP": webp.is_damaged,
}
"""Checks of the bytes and the opened image, by Pillow's name of the format."""


def is_damaged(data: bytes, image: Image.Image) -> bool:
    """
    Return whether *data*, which were opened as *image* and keep within the limits, are damaged.

    Raises:
        Exception: Of any kind, if the file ends too early or contradicts itself.
    """
    check = _CHECKS.get(image.format or "")
    return check is not None and check(data, image)
