"""Speed and memory of `convoy bulk`, and of the same loop by hand: `python -m bench.bulk`.

The loop by hand has what a good engineer would write: processes of multiprocessing, each with a
session of ONNX Runtime of one thread, simplejpeg or Pillow, batches of 8, and a CSV of the best
class. Contenders run in turn, on the same processors. A ratio is of images per second, with a
bootstrap interval of its median. Engines that are not installed are left out.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from PIL import Image
from rich.console import Console

from bench.race.networks import write_networks
from convoy.commands.measurement.intervals import of_median
from tests.harness.server_process import ServerProcess

BATCH_SIZE = 8
SHARD = 500


def write_photos(path: Path, count: int) -> None:
    """Write JPEGs of 500x375 pixels: smooth noise, as photographs compress, in a Parquet file."""
    random = np.random.default_rng(0)
    photos = []
    for _ in range(min(count, 100)):
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8))
        encoded = io.BytesIO()
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(encoded, "JPEG", quality=90)
        photos.append(encoded.getvalue())
    images = [photos[index % len(photos)] for index in range(count)]
    pq.write_table(pa.table({"image": images}), path, row_group_size=SHARD)


def write_digits(path: Path, count: int) -> None:
    """Write PNGs of 28x28 grey pixels to a Parquet file."""
    random = np.random.default_rng(0)
    digits = []
    for _ in range(100):
        encoded = io.BytesIO()
        coarse = Image.fromarray(random.integers(0, 256, (7, 7), np.uint8))
        coarse.resize((28, 28)).save(encoded, "PNG")
        digits.append(encoded.getvalue())
    with pq.ParquetWriter(path, pa.schema([("image", pa.binary())])) as writer:
        for start in range(0, count, 10_000):
            size = min(10_000, count - start)
            writer.write_table(pa.table({"image": [digits[i % 100] for i in range(size)]}))


def plain(model: Path, photos: Path, labels: Path, workers: int) -> None:
    """Label *photos* as by hand."""
    rows = pq.read_metadata(photos).num_row_groups
    with (
        multiprocessing.get_context("spawn").Pool(workers, _open, (model, photos)) as pool,
        labels.open("w", newline="") as file,
    ):
        writer = csv.writer(file)
        for found in pool.imap_unordered(_label_group, range(rows)):
            writer.writerows(found)


_session: onnxruntime.InferenceSession
_photos: pq.ParquetFile


def _open(model: Path, photos: Path) -> None:
    global _session, _photos
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    _session = onnxruntime.InferenceSession(model / "model.onnx", options)
    _photos = pq.ParquetFile(photos)


def _label_group(group: int) -> list[tuple[int, float]]:
    images = _photos.read_row_group(group).column("image").to_pylist()
    found: list[tuple[int, float]] = []
    tensor = _session.get_inputs()[0]
    decode = _digit if tensor.shape[-1] == 1 else _photo
    for start in range(0, len(images), BATCH_SIZE):
        batch = np.stack([decode(image) for image in images[start : start + BATCH_SIZE]])
        logits = _session.run(["logits"], {tensor.name: batch})[0]
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        best = shares.argmax(1)
        found += zip(best.tolist(), shares[np.arange(len(best)), best].tolist(), strict=True)
    return found


def _photo(data: bytes) -> npt.NDArray[np.uint8]:
    image = Image.fromarray(simplejpeg.decode_jpeg(data))
    width, height = image.size
    scale = 256 / min(width, height)
    resized = image.resize((int(width * scale), int(height * scale)), Image.Resampling.BILINEAR)
    left, top = (resized.width - 224) // 2, (resized.height - 224) // 2
    return np.asarray(resized.crop((left, top, left + 224, top + 224)))


def _digit(data: bytes) -> npt.NDArray[np.uint8]:
    padded = np.zeros((32, 32, 1), np.uint8)
    padded[2:-2, 2:-2, 0] = np.asarray(Image.open(io.BytesIO(data)))
    return padded


def run(command: list[str], cwd: Path) -> dict[str, float]:
    """Run a command; return its seconds, processor seconds, and the peak of one process in MB."""
    started = time.perf_counter()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, *command],
        os.environ,  # noqa: TID251
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, str(cwd / "log"), os.O_WRONLY | os.O_CREAT, 0o644)],
    )
    _, status, usage = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"{command} failed")
    return {
        "seconds": time.perf_counter() - started,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }


def contenders(
    root: Path, name: str, photos: Path, labels: Path, workers: int
) -> dict[str, list[str]]:
    """Return the command of each contender."""
    bulk = ["-m", "convoy", "bulk", name, str(photos), "--to", str(labels)]
    bulk += ["--model-repository", str(root)]
    own = ["--workers", str(workers)]
    found = {
        "plain": ["-m", "bench.bulk", "--plain", str(root / name / "1"), str(photos), str(labels)],
        "local": [*bulk, *own],
        "server": [*bulk, "--server"],
    }
    found["plain"] += own
    for engine, package in (("dask", "distributed"), ("ray", "ray")):
        if find_spec(package):
            found[engine] = [*bulk, *own, "--engine", engine]
    return found


def compare(arguments: argparse.Namespace, root: Path, folder: Path) -> Iterator[dict[str, object]]:
    """Measure all contenders in turn; yield a row for each."""
    name, workers = arguments.model, arguments.workers
    photos, labels = folder / "photos.parquet", folder / "labels"
    write = write_digits if name == "lenet5" else write_photos
    write(photos, arguments.images)
    commands = contenders(root, name, photos, labels, workers)
    commands = {key: commands[key] for key in arguments.contenders if key in commands}
    measured: dict[str, list[dict[str, float]]] = {key: [] for key in commands}
    for _ in range(arguments.rounds):
        for key, command in commands.items():
            if key == "server":
                with _server(root, name) as server:
                    measured[key].append(run([*command, server.address], folder))
            else:
                measured[key].append(run(command, folder))
            shutil.rmtree(labels) if labels.is_dir() else labels.unlink()
    base = [one["seconds"] for one in measured[arguments.contenders[0]]]
    for key, found in measured.items():
        ratios = [first / one["seconds"] for first, one in zip(base, found, strict=True)]
        yield {
            "contender": key,
            "images_per_s": round(
                arguments.images / float(np.median([f["seconds"] for f in found])), 1
            ),
            "cpu_s": round(_median(found, "cpu_s"), 2),
            "peak_mb": round(max(one["peak_mb"] for one in found)),
            "ratio": round(float(np.median(ratios)), 3),
            "interval": [round(bound, 3) for bound in of_median(ratios)],
        }


def _median(found: list[dict[str, float]], key: str) -> float:
    return float(np.median([one[key] for one in found]))


def _server(root: Path, name: str) -> ServerProcess:
    return ServerProcess(root, "--model-control-mode", "explicit", "--load-model", name)


def main() -> None:
    """Measure, and print a line of JSON for each contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet18", choices=["lenet5", "resnet18"])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--contenders", nargs="+", default=["plain", "local", "server", "dask", "ray"]
    )
    parser.add_argument("--root", type=Path, default=Path("build/bulk/model_repository"))
    parser.add_argument("--plain", nargs=3, type=Path, metavar=("MODEL", "PHOTOS", "LABELS"))
    arguments = parser.parse_args()
    if arguments.plain:
        model, photos, labels = arguments.plain
        plain(model, photos, labels, arguments.workers)
        return
    if not (arguments.root / arguments.model).exists():
        write_networks(arguments.root, Console(emoji=False, stderr=True))
    with tempfile.TemporaryDirectory() as folder:
        for row in compare(arguments, arguments.root.absolute(), Path(folder)):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
