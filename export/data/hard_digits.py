"""The digits of mnist5k, drawn so that they tell networks apart.

Each digit is drawn once, at a level of its own from 0 to 1. At level 0 it is as MNIST has it:
white on black, filling the frame. Towards 1 it loses contrast and size, moves and turns, and
patterns, strokes, pieces of other digits, blur and noise come in its way. All levels are equally
frequent, so that a network that learns from these digits reads plain ones, too.

A digit is the same every time: its generator is seeded by its place alone, and all that follows
is arithmetic that rounds alike on every machine, and Pillow's on integers.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from convoy.artifact.manifest import Preprocessing
from convoy.export.data.digits import load_digits
from convoy.export.data.split import DataSet, Split, encode_png

SIDE_PX = 64
SEED = 0

MIN_CONTRAST = 65
"""Distance of the digit's colour from both colours of its ground; of white from black: 255."""

CLUTTER_OPACITY = (0.3, 0.7)
"""Opacity of the strokes and of parts of other digits over the ground, from and to."""

# At level 1; in proportion at the others.
MAX_SHRINKING = 0.5
"""Share of its size that the digit loses."""
MAX_TURN = 0.13
"""Tangent of half the angle, to either side: 15 degrees."""
MAX_STROKES = 7
MAX_STRANGERS = 4
MAX_BLUR_PX = 1.2
MAX_NOISE = 55
"""To either side, of 255."""

_PLAIN = Preprocessing(color="L", resize_px=28, crop_height_px=28, crop_width_px=28)
_FINENESS = 4  # glyphs are enlarged so much that their nearest pixel will do
_CHARACTER = 20 / 28  # share of MNIST's frame that a digit fills

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


def load_hard_digits() -> DataSet:
    """
    Draw the digits of mnist5k in the same three parts: RGB, 64x64.

    Only digits to train on appear as clutter, so the plain test digits remain unseen: they are a
    second test.
    """
    plain = load_digits()
    train = _pixels_of(plain.train)
    parts = [
        _drawn(part, train, number)
        for number, part in enumerate((plain.train, plain.validation, plain.test))
    ]
    return DataSet(
        name="hard5k",
        source=f"{plain.source}; drawn in colour, scaled and moved, on cluttered and noisy grounds",
        labels=plain.labels,
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        extra_tests={plain.name: plain.test},
    )


def _drawn(part: Split, strangers: Pixels, number: int) -> Split:
    images = [
        draw(digit, strangers, np.random.Generator(np.random.PCG64([SEED, number, index])))
        for index, digit in enumerate(_pixels_of(part))
    ]
    return Split([encode_png(Image.fromarray(image)) for image in images], part.labels)


def _pixels_of(part: Split) -> Pixels:
    return part.pixels(_PLAIN)[:, :, :, 0]


def draw(digit: Pixels, strangers: Pixels, random: np.random.Generator) -> Pixels:
    """
    Draw one digit: uint8 `[64, 64, 3]`, RGB.

    Args:
        digit: uint8 `[28, 28]`, white on black.
        strangers: Digits to take clutter from: uint8 `[N, 28, 28]`.
    """
    painter = _Painter(random)
    canvas = painter.add_strokes(painter.ground())
    canvas = painter.add_strangers(canvas, strangers)
    canvas = painter.add_digit(canvas, digit)
    return painter.spoil(canvas)


class _Painter:
    """Draws at a random level, in random colours. A canvas is float64 `[64, 64, 3]`, 0 to 255."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.level = random.random()
        self.grounds, self.ink = self._colors()

    def _colors(self) -> tuple[Floats, Floats]:
        """Draw two ground colours `[2, 3]`, black at level 0, and the digit's, white at level 0."""
        # Draw again until the digit is visible on both colours of its ground.
        while True:
            colors = self.random.random((3, 3)) * 255 * self.level
            grounds, ink = colors[:2], 255 * (1 - self.level) + colors[2]
            if min(_distance(ground, ink) for ground in grounds) >= MIN_CONTRAST:
                return grounds, ink

    def ground(self) -> Floats:
        """Both colours of the ground in a coarse random pattern: gradients, blobs or patches."""
        side = int(self.random.integers(1, 9))
        pattern = self.random.integers(0, 256, (side, side), dtype=np.uint8)
        soft = self.random.random() < 0.7
        method = Image.Resampling.BICUBIC if soft else Image.Resampling.NEAREST
        share = _resized(pattern, SIDE_PX, method)
        return _blend(self.grounds[0], self.grounds[1], share[:, :, None] / 255)

    def add_strokes(self, canvas: Floats) -> Floats:
        """Draw lines and ellipses."""
        image = Image.fromarray(_rounded(canvas))
        pen = ImageDraw.Draw(image)
        for _ in range(int(self._up_to(MAX_STROKES + 1))):
            (x0, x1), (y0, y1) = self.random.integers(-8, SIDE_PX + 8, (2, 2)).tolist()
            color = tuple(_rounded(self._clutter_color()).tolist())
            width = int(self.random.integers(1, 4))
            if self.random.random() < 0.5:
                pen.line((x0, y0, x1, y1), color, width)
            else:
                box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
                pen.ellipse(box, outline=color, width=width)
        return np.asarray(image).astype(np.float64)

    def add_strangers(self, canvas: Floats, strangers: Pixels) -> Floats:
        """Draw other digits, smaller and centred on an edge, so that about half of each is seen."""
        for _ in range(int(self._up_to(MAX_STRANGERS + 1))):
            stranger = strangers[self.random.integers(len(strangers))]
            along, across = SIDE_PX * self.random.random(), SIDE_PX * int(self.random.integers(2))
            x, y = (along, across) if self.random.random() < 0.5 else (across, along)
            size = 0.4 + 0.5 * self.random.random()
            mask = _placed(stranger, size, 0.4 * self._around(), x, y)
            canvas = _blend(canvas, self._clutter_color(), mask)
        return canvas

    def add_digit(self, canvas: Floats, digit: Pixels) -> Floats:
        """Draw the digit itself over everything else, inside the canvas."""
        size = 1 - self._up_to(MAX_SHRINKING)
        room = SIDE_PX / 2 * (1 - size * _CHARACTER) * self.level
        x, y = SIDE_PX / 2 + room * self._around(), SIDE_PX / 2 + room * self._around()
        mask = _placed(digit, size, MAX_TURN * self.level * self._around(), x, y)
        return _blend(canvas, self.ink, mask)

    def spoil(self, canvas: Floats) -> Pixels:
        """Blur the canvas, then add noise."""
        blur = ImageFilter.BoxBlur(self._up_to(MAX_BLUR_PX))
        blurred = np.asarray(Image.fromarray(_rounded(canvas)).filter(blur))
        noise = self.random.random(canvas.shape) * 2 - 1
        return _rounded(blurred + self._up_to(MAX_NOISE) * noise)

    def _clutter_color(self) -> Floats:
        """Mix the ground's first colour with another: in half of the cases the digit's."""
        other = self.ink if self.random.random() < 0.5 else self.random.random(3) * 255
        low, high = CLUTTER_OPACITY
        return _blend(self.grounds[0], other, low + (high - low) * self.random.random())

    def _up_to(self, most: float) -> float:
        """Draw a number from 0 to *most*, at level 1."""
        return most * self.level * self.random.random()

    def _around(self) -> float:
        """Draw a number from -1 to 1."""
        return 2 * self.random.random() - 1


def _placed(glyph: Pixels, size: float, turn: float, x: float, y: float) -> Floats:
    """
    Return the share of each pixel that *glyph* covers: `[64, 64, 1]`, 0 to 1.

    Args:
        glyph: uint8 `[28, 28]`.
        size: Side of the glyph's frame, as a share of the canvas.
        turn: Tangent of half its rotation; sine and cosine follow from it without rounding that
            differs between machines.
        x: Of its centre, in pixels of the canvas, as *y*.
    """
    fine = _resized(glyph, _FINENESS * len(glyph), Image.Resampling.BICUBIC)
    cos, sin = (1 - turn * turn) / (1 + turn * turn), 2 * turn / (1 + turn * turn)
    step = len(fine) / (size * SIDE_PX)
    right, down = np.arange(SIDE_PX) + 0.5 - x, (np.arange(SIDE_PX) + 0.5 - y)[:, None]
    column = np.floor((right * cos + down * sin) * step).astype(int) + len(fine) // 2
    row = np.floor((down * cos - right * sin) * step).astype(int) + len(fine) // 2
    last = len(fine) - 1
    inside = (row >= 0) & (row <= last) & (column >= 0) & (column <= last)
    covered = np.where(inside, fine[row.clip(0, last), column.clip(0, last)], 0)
    return covered[:, :, None] / 255


def _resized(pixels: Pixels, side_px: int, method: Image.Resampling) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((side_px, side_px), method))


def _blend(under: Floats, over: Floats, opacity: Floats | float) -> Floats:
    return under + (over - under) * opacity


def _distance(one: Floats, other: Floats) -> float:
    """Return the distance of two colours, the channels weighted about as the eye does."""
    red, green, blue = one - other
    return math.sqrt((2 * red * red + 4 * green * green + 3 * blue * blue) / 9)


def _rounded(values: Floats) -> Pixels:
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)
