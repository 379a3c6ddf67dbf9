"""Damages sound JPEGs, and counts those that are accepted with wrong pixels.

`python -m tests.fuzz.damage --count 1000` prints the counts as JSON; its exit code is 1 if an image
was accepted with more than 2 % of its pixels wrong, and such images are kept in `build/damaged/`.
The same seed makes the same images.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from convoy.artifact.errors import ImageError
from convoy.artifact.manifest import Preprocessing
from convoy.artifact.preprocess import decode

SPEC = Preprocessing(color="RGB", resize_px=32, crop_height_px=32, crop_width_px=32)

WRONG = 16
"""A pixel is wrong if one of its colours differs by more; ringing in JPEG is of that size."""

MOST_WRONG = 0.02
"""Share of wrong pixels with which an image may be accepted."""

KEPT = Path("build/damaged")

SIZES = ((128, 96), (201, 163), (320, 240))


class Damaged(NamedTuple):
    """A JPEG, the pixels that it had, and how it was damaged."""

    data: bytes
    sound: np.ndarray
    damage: str


def photograph(dice: random.Random) -> Image.Image:
    """Return an image with coarse shapes, fine ones, and a little noise, as cameras make them."""
    noise, size = np.random.default_rng(dice.getrandbits(32)), dice.choice(SIZES)
    pixels = np.zeros((size[1], size[0], 3))
    for cells, strength in ((4, 1.0), (24, 0.4), (96, 0.15)):
        coarse = Image.fromarray(noise.integers(0, 256, (cells, cells, 3), np.uint8))
        pixels += np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)) * strength
    pixels += noise.normal(0, dice.choice((0, 2, 6)), pixels.shape)
    return Image.fromarray((pixels / 1.55).clip(0, 255).astype(np.uint8))


def encoded(dice: random.Random) -> bytes:
    """Encode an image in one of the ways of cameras and programs, often with restart markers."""
    options: dict[str, Any] = {
        "quality": dice.choice((40, 75, 90, 97)),
        "subsampling": dice.choice(("4:4:4", "4:2:2", "4:2:0")),
        "progressive": dice.random() < 0.25,
        "optimize": dice.random() < 0.25,
    }
    restarts = dice.choice(({}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3}))
    image = photograph(dice).convert(dice.choice(("RGB", "RGB", "RGB", "L", "CMYK")))
    if image.mode != "RGB":
        del options["subsampling"]
    file = io.BytesIO()
    image.save(file, "JPEG", **options, **restarts)
    return file.getvalue()


def damaged(dice: random.Random) -> Damaged:
    """Return a JPEG that was cut, cut and closed again, or partly overwritten with zeros."""
    sound = encoded(dice)
    start = sound.index(b"\xff\xda")  # headers are damaged by the campaign
    place = dice.randrange(start + 12, len(sound) - 2)
    length = dice.choice((16, 64, 256, 1024, len(sound)))
    damage = dice.choice(("cut", "closed", "zeros"))
    data = {
        "cut": sound[:place],
        "closed": sound[:place] + b"\xff\xd9",
        "zeros": (sound[:place] + bytes(length))[: len(sound) - 2] + sound[place + length :],
    }[damage]
    pixels = np.asarray(Image.open(io.BytesIO(sound)).convert("RGB"))
    return Damaged(data, pixels, damage)


def wrong_share(image: Damaged) -> float | None:
    """Return the share of wrong pixels that *image* is accepted with; None if it is refused."""
    try:
        pixels = np.asarray(decode(image.data, SPEC)).astype(int)
    except ImageError:
        return None
    return float((np.abs(pixels - image.sound).max(axis=2) > WRONG).mean())


def attack(seed: int, count: int) -> tuple[Counter[str], list[Damaged]]:
    """Damage *count* images; return the outcomes, and the images that are answered wrongly."""
    dice, outcomes, faults = random.Random(seed), Counter[str](), []
    for _ in range(count):
        image = damaged(dice)
        share = wrong_share(image)
        accepted = "accepted" if share is not None else "refused"
        if share is not None and share > MOST_WRONG:
            faults.append(image)
            accepted = "accepted and wrong"
        outcomes[f"{image.damage}: {accepted}"] += 1
    return outcomes, faults


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    outcomes, faults = attack(chosen.seed, chosen.count)
    print(json.dumps(outcomes, indent=2, sort_keys=True))
    KEPT.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(faults):
        (KEPT / f"{chosen.seed}-{number}-{image.damage}.jpg").write_bytes(image.data)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
