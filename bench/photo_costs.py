"""Processor time and memory of decoding photos: writes JSON, and tables into the page.

Each time is that of one thread, with the settings of the server's C library. The ways to decode a
photo take turns, so that their ratios do not depend on the state of the machine. The photos are
parts or repetitions of a synthetic one, with coarse and fine shapes and a little noise.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import math
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import simplejpeg
from matplotlib.figure import Figure
from PIL import Image

from convoy.artifact.jpeg.scans import is_damaged
from convoy.artifact.jpeg.structure import read
from convoy.artifact.manifest import Preprocessing
from convoy.artifact.preprocess import ImageLimits, preprocess
from convoy.artifact.resize import fit, resized_size
from convoy.figures import style
from convoy.figures.families import SERIES
from convoy.figures.labels import Mark, label_ends
from convoy.service.machine.resources import map_large_blocks, memory_bytes
from tests.fuzz.jpegs import photograph

SCALED = Preprocessing(
    scaled_decoding=True, color="RGB", resize_px=256, crop_height_px=224, crop_width_px=224
)
FULL = SCALED.model_copy(update={"scaled_decoding": False})
"""ImageNet's usual preprocessing."""

SMALL = 500, 375
"""Width and height of ImageNet's most common photograph, in pixels."""

TILE = 2000, 1500
"""Width and height of the synthetic photo."""

SIZES = (SMALL, (1024, 768), (1440, 1080), (1920, 1440), (2592, 1944), (4000, 3000), (8000, 6000))
OTHERS = (SMALL, (1920, 1440), (4000, 3000))
LARGE = (6000, 4000), (8000, 6000), (12000, 9000)
"""24, 48 and 108 megapixels."""

LIMITS = ImageLimits(max_bytes=1 << 30, max_pixels=1 << 30)

MARKS = "<!-- photos -->", "<!-- end of photos -->"
"""The marks around the tables in the page."""

Work = Callable[[], object]


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.photo_costs", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="for each photo")
    parser.add_argument("--docs", type=Path, default=Path("docs/explanation"))
    # How this program calls itself, so that each figure is that of a process of its own.
    parser.add_argument("--memory-of", nargs=2, metavar=("FILE", "full|scaled"))
    chosen = parser.parse_args()
    if chosen.memory_of:
        file, way = chosen.memory_of
        print(_peak_bytes(Path(file), SCALED if way == "scaled" else FULL))
        return
    map_large_blocks()
    # The heap of a thread is not that of the main thread, and the server decodes in threads.
    with ThreadPoolExecutor(1) as pool:
        results = pool.submit(_measure, chosen.seconds).result()
    (chosen.docs / "photos.json").write_text(json.dumps(results, indent=2) + "\n")
    page = chosen.docs / "benchmarks.md"
    page.write_text(written(results, page.read_text()))


def _measure(seconds: float) -> dict[str, Any]:
    cases = [("JPEG", size) for size in SIZES]
    cases += [(name, size) for name in ("PNG", "WEBP") for size in OTHERS]
    results: dict[str, Any] = {
        "steps": _steps(_photo("JPEG", SMALL), seconds),
        "times": [_times(name, size, seconds) for name, size in cases],
        "memory": [_memory(size, progressive) for size in LARGE for progressive in (False, True)],
    }
    return results


@functools.cache
def _tile() -> Image.Image:
    return photograph(random.Random(3), TILE)


def _photo(name: str, size: tuple[int, int], **options: Any) -> bytes:
    image = Image.new("RGB", size)
    for left in range(0, size[0], TILE[0]):
        for top in range(0, size[1], TILE[1]):
            image.paste(_tile(), (left, top))
    file = io.BytesIO()
    image.save(file, name, quality=90, **options)
    return file.getvalue()


def alone(data: bytes, name: str) -> Image.Image:
    """Decode and resize a photo with the libraries alone: no check, no copy, no crop."""
    if name == "JPEG":
        image = Image.fromarray(simplejpeg.decode_jpeg(data, "RGB"))
    else:
        image = Image.open(io.BytesIO(data))
    return image.resize(resized_size(image.size, FULL), Image.Resampling.BILINEAR)


def _times(name: str, size: tuple[int, int], seconds: float) -> dict[str, Any]:
    """Return the milliseconds of each way to decode a photo."""
    data = _photo(name, size)
    ways: dict[str, Work] = {
        "alone": lambda: alone(data, name),
        "full": lambda: preprocess(data, FULL, LIMITS),
    }
    if name == "JPEG":
        ways["scaled"] = lambda: preprocess(data, SCALED, LIMITS)
    found = {"format": name, "size": size, "bytes": len(data)} | _in_turn(ways, seconds)
    print(json.dumps(found), flush=True)
    return found


def _steps(data: bytes, seconds: float) -> dict[str, float]:
    """Return the milliseconds of each step of a JPEG, and of all of them together."""
    structure, pixels = read(data), simplejpeg.decode_jpeg(data, "RGB")
    image = Image.fromarray(pixels)
    steps: dict[str, Work] = {
        "read the header, with Pillow": lambda: Image.open(io.BytesIO(data)).getexif(),
        "read the structure": lambda: read(data),
        "look for parts overwritten with zeros": lambda: is_damaged(structure),
        "decode, with simplejpeg": lambda: simplejpeg.decode_jpeg(data, "RGB"),
        "copy into Pillow's layout": lambda: Image.fromarray(pixels),
        "resize and crop": lambda: fit(image, FULL),
        "all steps, one after the other": lambda: preprocess(data, FULL),
        "for comparison: resize in full": lambda: image.resize((341, 256), 2),
    }
    return _in_turn(steps, seconds)


def _in_turn(ways: Mapping[str, Work], seconds: float) -> dict[str, float]:
    """Return the median milliseconds of each of *ways*, which are called in turn."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for work in ways.values():
        work()
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(taken[next(iter(ways))]) < 5:
        for name, work in ways.items():
            start = time.thread_time()
            work()
            taken[name].append(1000 * (time.thread_time() - start))
    return {name: round(statistics.median(times), 3) for name, times in taken.items()}


def _memory(size: tuple[int, int], progressive: bool) -> dict[str, Any]:
    """Return the megabytes that decoding takes at its peak, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.jpg"
        file.write_bytes(_photo("JPEG", size, progressive=progressive))
        found: dict[str, Any] = {"size": size, "progressive": progressive}
        for way in ("full", "scaled"):
            command = [sys.executable, "-m", "bench.photo_costs", "--memory-of", str(file), way]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[way] = round(int(done.stdout) / 1e6)
    print(json.dumps(found), flush=True)
    return found


def _peak_bytes(file: Path, spec: Preprocessing) -> int:
    map_large_blocks()
    data = file.read_bytes()
    before = memory_bytes()["resident"]
    preprocess(data, spec, LIMITS)
    return memory_bytes()["peak_resident"] - before


def written(results: Mapping[str, Any], text: str) -> str:
    """Return the *text* of a page with tables of *results* between its marks."""
    begin, end = MARKS
    tables = "\n\n".join("\n".join(table) for table in _tables(results))
    return re.sub(
        f"{begin}.*{end}", lambda _: f"{begin}\n\n{tables}\n\n{end}", text, flags=re.DOTALL
    )


def _tables(results: Mapping[str, Any]) -> Iterator[list[str]]:
    steps = ([name, f"{ms:.2f}"] for name, ms in results["steps"].items())
    yield _table(("step of a JPEG of 500x375", "ms"), steps)
    columns = ("format", "size", "MB", "decode and resize alone, ms", "in full", "scaled", "gain")
    yield _table(columns, map(_cells, results["times"]))
    yield _table(
        ("JPEG", "megapixels", "in full, MB", "scaled, MB"),
        (
            [
                "progressive" if row["progressive"] else "sequential",
                f"{row['size'][0] * row['size'][1] / 1e6:.0f}",
                f"{row['full']}",
                f"{row['scaled']}",
            ]
            for row in results["memory"]
        ),
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    alone_ms, full = row["alone"], row["full"]
    scaled = row.get("scaled")
    return [
        {"WEBP": "WebP"}.get(row["format"], row["format"]),
        "x".join(map(str, row["size"])),
        f"{row['bytes'] / 1e6:.2f}",
        f"{alone_ms:.2f}",
        f"{full:.2f} ({full / alone_ms:.2f} times)",
        f"{scaled:.2f}" if scaled else "",
        f"{full / scaled:.1f} times" if scaled else "",
    ]


def _table(columns: Sequence[str], rows: Any) -> list[str]:
    lines = [list(columns), ["---"] * len(columns), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def figure(path: Path) -> Figure:
    """Draw the photos per second of one core against their size, by the file at *path*."""
    rows = json.loads(path.read_text())["times"]
    made, (axes,), _ = style.frame(
        "Photos that one core decodes per second",
        ["Medians of processor time for a network of 224 px (bench.photo_costs)."],
        ["JPEG with and without scaled decoding, PNG and WebP"],
        columns=1,
    )
    lines = (
        ("JPEG", "scaled", "JPEG, scaled"),
        ("JPEG", "full", "JPEG, in full"),
        ("PNG", "full", "PNG"),
        ("WEBP", "full", "WebP"),
    )
    ends = []
    for (name, way, label), color in zip(lines, SERIES, strict=False):
        chosen = [row for row in rows if row["format"] == name]
        sizes = [math.prod(row["size"]) / 1e6 for row in chosen]
        rates = [1000 / row[way] for row in chosen]
        axes.plot(sizes, rates, "o-", color=color, ms=4)
        ends.append(Mark(label, sizes[-1], rates[-1]))
    axes.set(xlabel="megapixels", ylabel="photos per second")
    style.set_logarithmic(axes, x=True, y=True)
    label_ends(axes, ends, SERIES[: len(ends)])
    return made


if __name__ == "__main__":
    main()
