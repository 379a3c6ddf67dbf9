"""Sound JPEGs of many kinds: what is in them, how they were compressed, and what is odd about them.

The encoders are Pillow and simplejpeg, both with libjpeg-turbo, and the programs `cjpeg` and
`jpegtran` where they are installed and asked for.
"""

from __future__ import annotations

import io
import random
import shutil
import subprocess
from collections.abc import Callable
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image, ImageDraw

SIZES = ((64, 48), (128, 96), (201, 163), (320, 240), (500, 380))

SCANS = (
    "0 1 2;",
    "0; 1; 2;",
    "0 1 2: 0-0, 0, 1; 0: 1-2, 0, 0; 0: 3-63, 0, 1; 1: 1-63, 0, 0; 2: 1-63, 0, 0;"
    "0 1 2: 0-0, 1, 0; 0: 3-63, 1, 0;",
    "0: 0-0, 0, 0; 1 2: 0-0, 0, 0; 0: 1-1, 0, 0; 0: 2-2, 0, 0; 0: 3-63, 0, 2; 1: 1-63, 0, 0;"
    "2: 1-63, 0, 0; 0: 3-63, 2, 1; 0: 3-63, 1, 0;",
)
"""Orders of scans, for cjpeg."""

SAMPLINGS = ("1x1", "2x1", "1x2", "2x2", "4x1", "1x4", "4x2", "2x4", "3x1", "2x2,2x1,1x1")


def photograph(dice: random.Random, size: tuple[int, int] | None = None) -> Image.Image:
    """Return an image with coarse shapes, fine ones, and a little noise, as cameras make them."""
    noise, size = _noise(dice), size or dice.choice(SIZES[1:4])
    pixels = np.zeros((size[1], size[0], 3))
    for cells, strength in ((4, 1.0), (24, 0.4), (96, 0.15)):
        coarse = Image.fromarray(noise.integers(0, 256, (cells, cells, 3), np.uint8))
        pixels += np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)) * strength
    pixels += noise.normal(0, dice.choice((0, 2, 6)), pixels.shape)
    return Image.fromarray((pixels / 1.55).clip(0, 255).astype(np.uint8))


def grain(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return noise, of a size whose data Pillow can hold."""
    size = min(size, SIZES[1])
    return Image.fromarray(_noise(dice).integers(0, 256, (size[1], size[0], 3), np.uint8))


def plain(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return an image of one colour, often white."""
    return Image.new("RGB", size, dice.choice(((255, 255, 255), _colour(dice))))


def slope(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return an image whose colours change evenly, in some direction."""
    x, y = np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1])
    across, down = dice.choice(((1, 0), (0, 1), (1, 1), (0.3, 0.7)))
    place = (x[None, :, None] * across + y[:, None, None] * down) / 2
    first, change = np.array(_colour(dice)), np.array(_colour(dice)) - 128
    return Image.fromarray((first + change * place).clip(0, 255).astype(np.uint8))


def tiles(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return a chequered image, as what shows transparency."""
    y, x = np.mgrid[: size[1], : size[0]] // dice.choice((4, 8, 16))
    return Image.fromarray(((x + y) % 2 * dice.choice((60, 255))).astype(np.uint8)).convert("RGB")


def drawing(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return lines, letters and shapes on paper."""
    image = Image.new("RGB", size, dice.choice(((255, 255, 255), _colour(dice))))
    pen, (width, height) = ImageDraw.Draw(image), size
    for _ in range(dice.choice((3, 12, 40))):
        x, y, colour = dice.randrange(width), dice.randrange(height), _colour(dice)
        far = (x, y, x + dice.randrange(width // 3), y + dice.randrange(height // 3))
        if dice.random() < 0.25:
            pen.text((x, y), "Lorem ipsum dolor sit amet", fill=colour)
        else:
            dice.choice((pen.line, pen.rectangle, pen.ellipse))(far, fill=colour)
    return image


def cut_out(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return a photograph on white, as shops show their goods."""
    image = Image.new("RGB", size, "white")
    small = photograph(dice, (size[0] // 2, size[1] // 2))
    image.paste(small, (dice.randrange(size[0] // 2), dice.randrange(size[1] // 2)))
    return image


REGULAR = (plain, slope, tiles, drawing, cut_out)
"""Images with areas whose compressed data may be zeros."""

CONTENTS = (photograph, grain, *REGULAR)


def pillow(dice: random.Random, image: Image.Image) -> bytes:
    """Compress an image of any mode as Pillow does it."""
    options: dict[str, Any] = {
        "quality": dice.choice((10, 40, 75, 90, 97, 100)),
        "progressive": dice.random() < 0.4,
        "optimize": dice.random() < 0.6,
    }
    if image.mode == "RGB":
        options["subsampling"] = dice.choice(("4:4:4", "4:2:2", "4:2:0"))
    options |= dice.choice(
        ({}, {}, {"restart_marker_rows": 1}, {"restart_marker_blocks": dice.choice((1, 3, 10))})
    )
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def turbo(dice: random.Random, image: Image.Image) -> bytes:
    """Compress an RGB or grey image as libjpeg-turbo's own interface does it."""
    pixels = np.atleast_3d(np.asarray(image))
    space, samplings = ("GRAY", ["Gray"]) if image.mode == "L" else ("RGB", _TURBO_SAMPLINGS)
    return bytes(
        simplejpeg.encode_jpeg(pixels, dice.choice((20, 75, 95)), space, dice.choice(samplings))
    )


_TURBO_SAMPLINGS = ["444", "422", "420", "440", "411"]


def cjpeg(dice: random.Random, image: Image.Image) -> bytes:
    """Compress an RGB or grey image with the program of libjpeg, in unusual ways, too."""
    pixels, options = io.BytesIO(), ["-quality", str(dice.choice((10, 40, 75, 90, 100)))]
    image.save(pixels, "PPM")
    options += dice.choice(([], ["-restart", "1"], ["-restart", "5B"]))
    if image.mode == "RGB":
        options += dice.choice((["-rgb"], ["-sample", dice.choice(SAMPLINGS)]))
    if image.mode == "L" or dice.random() < 0.7:
        options += dice.choice(([], ["-optimize"], ["-progressive"]))
        return _run(["cjpeg", *options], pixels.getvalue())
    with NamedTemporaryFile("w") as file:
        file.write(dice.choice(SCANS))
        file.flush()
        # Ten blocks are the limit of an interleaved scan.
        try:
            return _run(["cjpeg", *options, "-scans", file.name], pixels.getvalue())
        except subprocess.CalledProcessError:
            return _run(["cjpeg", *options], pixels.getvalue())


def jpegtran(dice: random.Random, image: Image.Image) -> bytes:
    """Compress an image of any mode, and again with other tables and scans."""
    options = dice.choice((["-optimize"], ["-progressive"], ["-optimize", "-rotate", "90"]))
    return _run(["jpegtran", *options], pillow(dice, image))


_PROGRAMS = tuple(encoder for encoder in (cjpeg, jpegtran) if shutil.which(encoder.__name__))
ENCODERS: tuple[Callable[[random.Random, Image.Image], bytes], ...] = (pillow, pillow, turbo)


def sound(
    dice: random.Random, contents: tuple[Any, ...] = CONTENTS, with_programs: bool = False
) -> bytes:
    """Return a JPEG of some content, mode and encoder."""
    image = dice.choice(contents)(dice, dice.choice(SIZES))
    image = image.convert(dice.choice(("RGB", "RGB", "L", "CMYK")))
    encoder = dice.choice(ENCODERS + (_PROGRAMS if with_programs else ()))
    # The others know no CMYK.
    return (pillow if image.mode == "CMYK" and encoder is not jpegtran else encoder)(dice, image)


def odd(dice: random.Random, data: bytes) -> bytes:
    """Return a sound JPEG with oddities that every viewer ignores."""
    oddities = (_version, _garbage, _filled, _padded, _film)
    for oddity in (some for some in oddities if dice.random() < 0.3):
        data = oddity(dice, data)
    return data


def _version(dice: random.Random, data: bytes) -> bytes:
    """Change the version of JFIF."""
    return data[:11] + bytes([dice.choice((0, 2, 3)), dice.randrange(99)]) + data[13:]


def _garbage(dice: random.Random, data: bytes) -> bytes:
    """Add bytes between two segments."""
    place = data.index(b"\xff\xdb")
    return data[:place] + dice.choice((b"\0\1garbage", b"x", bytes(50))) + data[place:]


def _filled(dice: random.Random, data: bytes) -> bytes:
    """Add filling bytes before the end."""
    return data[:-2] + b"\xff" * dice.randrange(9) + data[-2:]


def _padded(dice: random.Random, data: bytes) -> bytes:
    """Add zeros before the end, and before any filling bytes."""
    start = data[:-2].rstrip(b"\xff")
    return start + bytes(dice.choice((1, 2, 7, 12, 99, 512))) + data[len(start) :]


def _film(dice: random.Random, data: bytes) -> bytes:
    """Add bytes behind the end, as in a motion photo."""
    return data + dice.randbytes(dice.choice((1, 1000)))


def _run(command: list[str], data: bytes) -> bytes:
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def _noise(dice: random.Random) -> np.random.Generator:
    return np.random.default_rng(dice.getrandbits(32))


def _colour(dice: random.Random) -> tuple[int, int, int]:
    return dice.randrange(256), dice.randrange(256), dice.randrange(256)
