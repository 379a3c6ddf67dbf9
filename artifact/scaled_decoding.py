"""Scaled decoding: large JPEGs at 1/2, 1/4 or 1/8 of their size, which takes much less time.

libjpeg then computes fewer pixels of each block of 8x8, each the average of those that it stands
for. It reads all compressed data in any case, so that damage is noticed as in full size.
"""

from __future__ import annotations

from convoy.artifact.manifest import DECODED_SHARE, Preprocessing
from convoy.artifact.resize import Box, resized_size

_SCALES = (8, 4, 2)

_TURNED_LEFT = frozenset({2, 3, 6, 7})
_TURNED_UP = frozenset({3, 4, 7, 8})
"""EXIF orientations whose transposition moves the right or lower border of the file to the left or
to the top."""


def choose_scale(size: tuple[int, int], spec: Preprocessing) -> int:
    """
    Return by which number to divide the sides of a JPEG while decoding it; 1 for its full size.

    Args:
        size: Its width and height, upright.
    """
    if not spec.scaled_decoding:
        return 1
    needed = [DECODED_SHARE * side for side in resized_size(size, spec)]
    for scale in _SCALES:
        if size[0] >= scale * needed[0] and size[1] >= scale * needed[1]:
            return scale
    return 1


def shown_box(size: tuple[int, int], decoded: tuple[int, int], scale: int, orientation: int) -> Box:
    """
    Return the part of a decoded image that shows the one in the file.

    Pixels at the right and the lower border stand for fewer pixels of the file than others, if its
    sides are no multiples of *scale*.

    Args:
        size: Width and height in the file, upright.
        decoded: Width and height as decoded, upright.
        orientation: The EXIF orientation by which both were turned upright.
    """
    width, height = size[0] / scale, size[1] / scale
    left = decoded[0] - width if orientation in _TURNED_LEFT else 0.0
    top = decoded[1] - height if orientation in _TURNED_UP else 0.0
    return left, top, left + width, top + height
