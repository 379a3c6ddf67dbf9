"""Draws the images of the page and of examples/images: `python -m tools.samples`.

They are drawn here, so that no third party has rights in them, and small: digits in white on
black, as LeNet-5 knows them, and three pictures in colour.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

FOLDER = Path("service/web/samples")
EXAMPLES = Path("examples/images")
SIDE = 112
SCALE = 4
"""Factor by which pictures are drawn larger; reducing them smooths the edges."""

PEN = 9


def main() -> None:
    """Draw all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    pictures = {
        **{"seven": _seven(), "three": _three(), "eight": _eight()},
        **{"ring": _ring(), "blocks": _blocks(), "sunset": _sunset()},
    }
    for name, picture in pictures.items():
        # 32 colours are enough for them, and keep the first view of the page small.
        small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS).quantize(32)
        small.save(FOLDER / f"{name}.png", optimize=True)
    EXAMPLES.mkdir(parents=True, exist_ok=True)
    for name in ("seven", "three", "eight"):
        digit = pictures[name].convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        digit.quantize(16).save(EXAMPLES / f"{name}.png", optimize=True)
    pictures["sunset"].save(EXAMPLES / "photo.jpg", quality=85)


def _canvas(color: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (SIDE * SCALE, SIDE * SCALE), color)
    return image, ImageDraw.Draw(image)


def _seven() -> Image.Image:
    image, draw = _canvas("black")
    points = [(x * SCALE, y * SCALE) for x, y in ((34, 32), (78, 32), (52, 84))]

    draw.line(points, "white", PEN * SCALE, joint="curve")
    # The line has flat ends; dots make them round, as a pen does.
    for x, y in points:
        _dot(draw, x, y, PEN * SCALE / 2)
    return image


def _three() -> Image.Image:
    image, draw = _canvas("black")
    for box, start, end in (((38, 28, 74, 60), 200, 90), ((36, 51, 76, 87), 270, 160)):
        draw.arc([edge * SCALE for edge in box], start, end, "white", PEN * SCALE)
    return image


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), "white")


def _eight() -> Image.Image:
    image, draw = _canvas("black")
    for box in ((40, 28, 72, 58), (36, 50, 76, 88)):
        draw.ellipse([edge * SCALE for edge in box], outline="white", width=PEN * SCALE)
    return image


def _ring() -> Image.Image:
    image, draw = _canvas("#20406b")
    draw.ellipse([edge * SCALE for edge in (18, 18, 94, 94)], outline="#f2b134", width=16 * SCALE)
    return image


def _blocks() -> Image.Image:
    image, draw = _canvas("#e9e4d8")
    for box, color in (
        ((14, 56, 44, 98), "#c8553d"),
        ((40, 30, 70, 98), "#588b8b"),
        ((66, 44, 98, 98), "#f28f3b"),
    ):
        draw.rectangle([edge * SCALE for edge in box], color)
    return image


def _sunset() -> Image.Image:
    image, draw = _canvas("#f6a15b")
    draw.ellipse([edge * SCALE for edge in (36, 34, 76, 74)], "#fff0c2")
    draw.rectangle((0, 66 * SCALE, SIDE * SCALE, SIDE * SCALE), "#2b4c7e")
    for row in range(5):
        left, right = 30 + 3 * row, 82 - 3 * row
        draw.rectangle([e * SCALE for e in (left, 72 + 7 * row, right, 73 + 7 * row)], "#8fb3dd")
    return image


if __name__ == "__main__":
    main()
