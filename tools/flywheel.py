"""A camera that changes, and a model that is taught its images: `make flywheel`.

A model of plain digits is served. Then a camera sends digits in colour, on cluttered grounds
(`hard5k`). The drift metrics show it, the log of predictions keeps the images, a person (here: the
known labels) corrects their classes, and a fine-tuned version runs as a shadow and is promoted.
Everything is real but the camera and the person. docs/how-to/flywheel.md explains each step.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from convoy import AsyncClient
from convoy.export import data
from convoy.export.data.split import Split
from tests.harness.server_process import ServerProcess

MODEL = "digits"
CHUNK = 250
"""Number of images between two readings of the metrics."""

IMAGES_PER_S = 90.0
"""Rate of the camera. Above 100 images per second, drift is measured on a sample."""

CONCURRENCY = 16

SHADOW_IMAGES = 500
"""Number of images that the shadow answers before it is judged."""

MAX_ROUNDS = 10
"""Maximum number of times that the camera sends its images until the shadow has answered enough."""

LOG_TIMEOUT_S = 180.0

SERVE = (
    *("--model-control-mode", "explicit", "--load-model", MODEL),
    *("--drift", "--drift-windows-s", "60"),
    *("--prediction-log", "predictions", "--prediction-log-share", "1", "--prediction-log-images"),
)

console = Console(emoji=False, highlight=False, markup=False, soft_wrap=True)


class Point(NamedTuple):
    """
    A chunk of consecutive images.

    Attributes:
        images: Number of images that were sent before, and with these.
        accuracy: Share of these with the right answer.
        drift: Largest index of any signal; None if a window has too few images.
        version: The version that answered.
    """

    images: int
    accuracy: float
    drift: float | None
    version: int


class Camera:
    """
    Sends images to a server at a steady pace, and notes the answers.

    Attributes:
        points: One for each `CHUNK` of images.
    """

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.points: list[Point] = []
        self.sent = 0

    def send(self, title: str, images: Split) -> None:
        """Send *images*, whose classes are their labels as text, in a random order."""
        order = np.random.default_rng(0).permutation(len(images))
        asyncio.run(self._send(images.part(order.tolist())))
        last = self.points[-1]
        drift = "not known" if last.drift is None else f"{last.drift:.2f}"
        console.print(
            f"{title}: {len(images)} images; version {last.version} was right about "
            f"{last.accuracy:.0%} of the last {CHUNK}; largest drift index {drift}"
        )

    async def _send(self, images: Split) -> None:
        places = asyncio.Semaphore(CONCURRENCY)
        async with AsyncClient(self._server.address) as client:

            async def ask(index: int) -> tuple[bool, int]:
                async with places:
                    answer = await client.classify(images.image(index), model=MODEL)
                return answer.label == str(images.labels[index]), answer.model_version

            for start in range(0, len(images), CHUNK):
                ends = time.monotonic() + CHUNK / IMAGES_PER_S
                indices = range(start, min(start + CHUNK, len(images)))
                right, versions = zip(*await asyncio.gather(*map(ask, indices)), strict=True)
                await asyncio.sleep(max(0.0, ends - time.monotonic()))
                self.sent += len(right)
                drift = self._drift(versions[-1])
                self.points.append(Point(self.sent, sum(right) / len(right), drift, versions[-1]))

    def compared(self, version: int) -> int:
        """Return the number of images that the shadow *version* has answered."""
        return int(sum(self._values("convoy_shadow_samples", version, measure="agreement")))

    def _drift(self, version: int) -> float | None:
        return max(self._values("convoy_drift_psi", version), default=None)

    def _values(self, name: str, version: int, **labels: str) -> list[float]:
        families = text_string_to_metric_families(self._server.get("/metrics"))
        wanted = {"model": MODEL, "version": str(version), **labels}.items()
        return [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and wanted <= sample.labels.items()
        ]


class _StepError(Exception):
    """A step that could not be completed."""


def main() -> int:
    """Run all steps; return 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m tools.flywheel", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/flywheel"))
    parser.add_argument("--epochs", type=int, default=40, help="Fine-tune for this many epochs.")
    chosen = parser.parse_args()
    shutil.rmtree(chosen.folder, ignore_errors=True)
    chosen.folder.mkdir(parents=True)
    try:
        with contextlib.chdir(chosen.folder):
            found = _run_steps(chosen.epochs)
            Path("flywheel.json").write_text(json.dumps(found, indent=1) + "\n")
    except subprocess.CalledProcessError:
        return 1  # the command has said why
    except _StepError as error:
        console.print(f"{error}")
        return 1
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    console.print(f"the points of the figure are in {chosen.folder / 'flywheel.json'}")
    return 0


def _run_steps(epochs: int) -> dict[str, Any]:
    plain, hard = data.load("mnist5k"), data.load("hard5k")
    _title("1. Train a model of plain digits, and serve it")
    _convoy("export", "lenet5", "--name", MODEL, "--epochs", "12")
    _show("serve", *SERVE)
    with ServerProcess("model_repository", *SERVE) as server:
        camera, changes = Camera(server), {}
        camera.send("plain digits", plain.validation + plain.test)

        _title("2. The camera changes")
        changes["the camera changes"] = camera.sent
        camera.send("digits in colour", hard.train)

        _title("3. Correct the classes of the images that the log has kept")
        _wait_for_rows(Path("predictions"), camera.sent)
        _convoy("predictions", "to-folder", "predictions", "to-label")
        _correct(Path("to-label"), hard.train)

        _title("4. Fine-tune a version on them, and measure both")
        weights = ("--weights", f"runs/{MODEL}/best.safetensors")
        _convoy(
            *("export", "lenet5", "--name", MODEL, *weights, "--data", "folder:to-label"),
            *("--epochs", str(epochs)),
        )
        _convoy("evaluate", f"{MODEL}:1", f"{MODEL}:2", "--data", "hard5k")

        _title("5. Let it run as a shadow")
        changes["version 2 is a shadow"] = camera.sent
        unseen = hard.validation + hard.test
        os.environ["CONVOY_ADDRESS"] = server.address  # noqa: TID251
        _convoy("shadow", MODEL, "2", "--share", "1")
        # A shadow runs only while the device is idle, so on a slow machine it misses many images.
        for _ in range(MAX_ROUNDS):
            camera.send("digits in colour", unseen)
            if camera.compared(2) >= SHADOW_IMAGES:
                break
        _convoy("shadow", MODEL)

        _title("6. Judge and promote it")
        # It must disagree with a version that is wrong, so the usual bound cannot be used.
        promote = ("promote", MODEL, "2")
        _convoy(*promote, expected=1)
        bounds = ("--min-images", str(SHADOW_IMAGES), "--min-agreement", "0")
        _convoy(*promote, *bounds, "--max-p99-ratio", "0")
        changes["version 2 is promoted"] = camera.sent
        camera.send("digits in colour", unseen)
    return {
        "measured_on": datetime.now(UTC).date().isoformat(),
        "changes": changes,
        "points": [point._asdict() for point in camera.points],
    }


def _wait_for_rows(log: Path, rows: int) -> None:
    """Wait until the parts of *log*, each of which may stay open for a minute, have *rows*."""
    console.print("waiting for the last part of the prediction log, at most a minute")
    ends = time.monotonic() + LOG_TIMEOUT_S
    while sum(pq.read_metadata(path).num_rows for path in log.rglob("part-*.parquet")) < rows:
        if time.monotonic() > ends:
            raise _StepError(f"the prediction log has fewer than {rows} rows")
        time.sleep(1)


def _correct(folder: Path, images: Split) -> None:
    """Do a person's part: move each of *images* to its class, and remove those of other cameras."""
    truth: Mapping[str, str] = {
        hashlib.sha256(images.image(index)).hexdigest(): str(images.labels[index])
        for index in range(len(images))
    }
    moved = removed = 0
    for path in sorted(folder.rglob("*.png")):
        label = truth.get(path.stem.rpartition("-")[2])
        if label is None:
            path.unlink()
            removed += 1
        elif label != path.parent.name:
            path.rename(folder / label / path.name)
            moved += 1
    console.print(f"removed {removed} plain digits; moved {moved} images to their own classes")


def _convoy(*arguments: str, expected: int = 0) -> None:
    """Show and run a command; raise if it ends with another code than *expected*."""
    _show(*arguments)
    command = [sys.executable, "-m", "convoy", *arguments]
    code = subprocess.run(command, check=False).returncode
    if code != expected:
        raise subprocess.CalledProcessError(code, command)


def _show(*arguments: str) -> None:
    console.print(f"$ convoy {' '.join(arguments)}")


def _title(text: str) -> None:
    console.print(f"\n{text}", style="bold")


if __name__ == "__main__":
    sys.exit(main())
