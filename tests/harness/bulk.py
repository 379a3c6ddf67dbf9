"""Inputs and outputs of `convoy bulk`, and classifiers that end their process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from convoy.bulk.answers import Answer, Model
from convoy.bulk.images import Image, Unread, read
from convoy.service.serving.top_k import Prediction
from tests.harness import tiny
from tests.harness.images import png

DAMAGED = png(3)[:-20]


def write_images(folder: Path, count: int, damaged: int = 100) -> None:
    """Write *count* images of the tiny model's size, every *damaged*-th of them damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    encoded = [png(first) for first in range(tiny.POISON)]
    for index in range(count):
        data = DAMAGED if index % damaged == 1 else encoded[index % len(encoded)]
        (folder / f"{index:06d}.png").write_bytes(data)


def write_parquet(path: Path, count: int, damaged: int = 100, **options: Any) -> None:
    """Write the same images to a Parquet file with the columns `key` and `image`."""
    encoded = [png(first) for first in range(tiny.POISON)]
    images = [
        DAMAGED if index % damaged == 1 else encoded[index % len(encoded)] for index in range(count)
    ]
    pq.write_table(pa.table({"key": range(count), "image": images}), path, **options)


def expected_rows(count: int, damaged: int = 100) -> list[tuple[str | None, str | None]]:
    """The label and the error of each of these images."""
    return [
        (None, "INVALID_IMAGE")
        if index % damaged == 1
        else (f"class {tiny.answer(index % tiny.POISON)}", None)
        for index in range(count)
    ]


def rows(folder: Path) -> dict[Any, tuple[str | None, str | None]]:
    """Read all parts: label and error by id; no id may be in two rows."""
    found = pq.read_table(folder).select(["id", "label", "error"]).to_pylist()
    by_id = {row["id"]: (row["label"], row["error"]) for row in found}
    assert len(by_id) == len(found)
    return by_id


def start_bulk(arguments: Sequence[str | Path], cwd: Path) -> Popen[str]:
    """Start the command in a process group of its own."""
    command = [sys.executable, "-m", "convoy", "bulk", *map(str, arguments)]
    return Popen(command, cwd=cwd, stdout=PIPE, stderr=PIPE, text=True, start_new_session=True)


@dataclass(frozen=True)
class Suicidal:
    """A classifier whose process is killed by images of certain bytes, and marks each image."""

    deadly: bytes

    @property
    def model(self) -> Model:
        return Model("suicidal", 1, "0" * 64)

    def answers(self, images: Iterable[Image]) -> Iterator[Answer]:
        for image in read(list(images)):
            if isinstance(image, Unread):
                yield Answer(error=image.reason)
                continue
            assert isinstance(image, bytes)
            if image == self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            yield Answer([Prediction(0, image.decode(), 1.0)])
