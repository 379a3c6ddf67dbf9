"""The loop by hand, as a good engineer would write it for one job.

Run it with `python -m bench.bulk.plain_loop MODEL PHOTOS LABELS WORKERS`. 0 workers are one for
each processor.

Processes of multiprocessing, each with a session of ONNX Runtime of one thread, simplejpeg or
Pillow, batches of 8, and a CSV of the best class. It imports nothing of convoy.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pyarrow.parquet as pq
import simplejpeg
from PIL import Image

BATCH_SIZE = 8


def label(model: Path, photos: Path, labels: Path, workers: int) -> None:
    """Label *photos*."""
    groups = pq.read_metadata(photos).num_row_groups
    with (
        multiprocessing.get_context("spawn").Pool(workers, _open, (model, photos)) as pool,
        labels.open("w", newline="") as file,
    ):
        writer = csv.writer(file)
        for found in pool.imap_unordered(_label_group, range(groups)):
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


if __name__ == "__main__":
    workers = int(sys.argv[4]) or len(os.sched_getaffinity(0))
    label(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), workers)
