"""Sends JPEGs to the decoder, intact and damaged ones, and counts what becomes of them.

`python -m tests.fuzz.damage --intact 5000 --damaged 20000` prints the counts as JSON. Its exit code
is 1 if an intact image was refused or decoded to other pixels than Pillow's, or a damaged one was
accepted with more than 2 % of its pixels wrong; these images are kept in `build/damaged/`. The same
seed makes the same images. `--programs` adds those that `cjpeg` and `jpegtran` make.

Some damage leaves no trace: zeros may turn an image into another one, bit for bit as an encoder
writes that. If `jpegtran` is installed, it writes again what a damaged image decodes to. If it
writes the same data, the outcome is "another image", which is no fault.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import numpy as np
from PIL import Image

from convoy.artifact import jpeg
from convoy.artifact.errors import ImageError
from convoy.artifact.jpeg.structure import read
from tests.fuzz.jpegs import CONTENTS, REGULAR, odd, photograph, sound

WRONG = 16
"""A pixel is wrong if one of its colours differs by more; ringing in JPEG is of that size."""

MOST_WRONG = 0.02
"""Share of wrong pixels with which an image may be accepted."""

KEPT = Path("build/damaged")

SPANS = (16, 32, 64, 256, 1024)
"""Bytes that are overwritten."""


class Case(NamedTuple):
    """A JPEG, the pixels that it should have, and what was done to it."""

    data: bytes
    pixels: np.ndarray
    kind: str


class Ledger(NamedTuple):
    """The outcomes by what was done, and the cases that should have ended otherwise."""

    outcomes: Counter[str]
    faults: list[Case]


Make = Callable[[random.Random], bytes]


def intact(dice: random.Random, make: Make = sound) -> Case:
    """Return a sound JPEG, often with oddities."""
    data = make(dice)
    return Case(odd(dice, data), pixels_of(data), "intact")


def damaged(dice: random.Random, make: Make = sound) -> Case:
    """Return a JPEG that was cut, cut and closed again, or overwritten with zeros."""
    data = make(dice)
    start = data.index(b"\xff\xda") + 12  # the campaign over all formats damages headers
    end, kind = len(data) - 2, dice.choice(("cut", "closed", "zeros", "zeros", "tail", "emptied"))
    place = dice.randrange(min(start, end - 1), end)
    span = min(dice.choice(SPANS), end - place)
    changed = {
        "cut": data[:place],
        "closed": data[:place] + data[end:],
        "zeros": data[:place] + bytes(span) + data[place + span :],
        "tail": data[:place] + bytes(end - place) + data[end:],
        "emptied": data[:place] + bytes(len(data) - place),
    }[kind]
    return Case(changed, pixels_of(data), kind)


def pixels_of(data: bytes) -> np.ndarray:
    """Decode as Pillow does it."""
    return np.asarray(Image.open(io.BytesIO(data)))


def outcome(case: Case) -> str:
    """Return what becomes of a JPEG."""
    try:
        image = jpeg.decode(case.data, Image.open(io.BytesIO(case.data)).mode)
    # Pillow does not open it, or it is refused.
    except (OSError, ImageError):
        return "refused"
    pixels = np.asarray(image)
    # Damage changed nothing, or there was none.
    if np.array_equal(pixels, case.pixels):
        return "right"
    if wrong_share(case.pixels, pixels) <= MOST_WRONG:
        return "nearly right"
    return "another image" if is_rewritten(case.data) else "wrong"


def is_fault(case: Case, outcome: str) -> bool:
    """Return whether an outcome should not be."""
    return outcome == "wrong" or (case.kind == "intact" and outcome != "right")


def wrong_share(expected: np.ndarray, pixels: np.ndarray) -> float:
    """Return the share of wrong pixels."""
    if expected.shape != pixels.shape:
        return 1.0
    difference = np.abs(pixels.astype(int) - expected).reshape(*expected.shape[:2], -1)
    return float((difference.max(axis=2) > WRONG).mean())


def is_rewritten(data: bytes) -> bool:
    """Return whether jpegtran writes the same data, but for zeros before the end."""
    if not shutil.which("jpegtran"):
        return False
    written = _rewritten(data)
    before, after = ([scan.data for scan in read(one).scans] for one in (data, written))
    is_padded = after[-1:] and not any(before[-1].removeprefix(after[-1]))
    return before[:-1] == after[:-1] and bool(is_padded)


def _rewritten(data: bytes) -> bytes:
    """Return what jpegtran writes, with tables for the image, and the same scans and intervals."""
    structure, script = read(data), ""
    names = list(structure.frame.sampling)
    for scan in structure.scans:
        places = " ".join(str(names.index(component)) for component in scan.components)
        (first, last), bits = scan.band, scan.header[-1]
        script += f"{places}: {first}-{last}, {bits >> 4}, {bits & 15};\n"
    restarts = ["-restart", f"{structure.interval}B"] if structure.interval else []
    with NamedTemporaryFile("w") as file:
        file.write(script)
        file.flush()
        command = ["jpegtran", "-optimize", "-scans", file.name, *restarts]
        return subprocess.run(command, input=data, capture_output=True).stdout


def attack(seed: int, cases: dict[Callable[..., Case], int], make: Make = sound) -> Ledger:
    """Make so many cases of each kind; return the outcomes, and the cases that are faults."""
    dice, ledger = random.Random(seed), Ledger(Counter(), [])
    for kind, count in cases.items():
        for case in (kind(dice, make) for _ in range(count)):
            result = outcome(case)
            ledger.outcomes[f"{case.kind}: {result}"] += 1
            if is_fault(case, result):
                ledger.faults.append(case)
    return ledger


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--intact", type=int, default=1000)
    parser.add_argument("--damaged", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--contents", choices=("all", "regular", "photographs"), default="all")
    parser.add_argument("--programs", action="store_true")
    chosen = parser.parse_args()
    contents = {"all": CONTENTS, "regular": REGULAR, "photographs": (photograph,)}
    make = partial(sound, contents=contents[chosen.contents], with_programs=chosen.programs)
    ledger = attack(chosen.seed, {intact: chosen.intact, damaged: chosen.damaged}, make)
    print(json.dumps(ledger.outcomes, indent=2, sort_keys=True))
    KEPT.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(ledger.faults):
        (KEPT / f"{chosen.seed}-{number}-{case.kind}.jpg").write_bytes(case.data)
    return 1 if ledger.faults else 0


if __name__ == "__main__":
    sys.exit(main())
