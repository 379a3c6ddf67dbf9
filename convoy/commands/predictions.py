"""`convoy predictions`: use a prediction log that `convoy serve` wrote."""

from __future__ import annotations

import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from convoy.artifact.errors import RepositoryError
from convoy.commands.command_line import UsageError, command
from convoy.options import Option, Options
from convoy.stores import is_url, open_store

COLUMNS = (
    *("labels", "probabilities", "image_sha256", "format"),
    *("served_label", "served_probability"),
)


class PredictionsSettings(Options):
    """
    Copy the images of a prediction log into a folder for each predicted class.

    The names of the files begin with the probability, so that uncertain answers come first. Move
    wrong images to the folders of their classes, and train on the result with
    `convoy export --data folder:DIR`.

    The log must have been written with --prediction-log-images.
    """

    examples = (
        (
            "Collect what a model has seen, for labelling",
            "convoy predictions to-folder predictions/ to-label --model resnet50",
        ),
    )

    action: Annotated[Literal["to-folder"], Option("to-folder", positional=True)] = Field(
        description="Copy images into a folder for each predicted class."
    )
    log: Annotated[str, BeforeValidator(str), Option("LOG", positional=True)] = Field(
        description="Read this folder or URL, the --prediction-log of a server."
    )
    folder: Annotated[Path, Option("DIR", positional=True)] = Field(
        description="Write to this folder. It must be empty, or not exist."
    )
    model: Annotated[str, Option("NAME")] = Field(
        "", description="Use only the predictions of this model."
    )
    max_probability: float = Field(
        1.0, ge=0, le=1, description="Leave out answers that are more certain than this."
    )


class Seen(NamedTuple):
    """An image with the answer that it got first."""

    label: str
    probability: float
    path: str


@command(PredictionsSettings)
def main(chosen: PredictionsSettings) -> int:
    """Copy the images; return 1 after one line that says why, if it cannot be done."""
    try:
        _copy_images(chosen)
    except UsageError as error:
        print(f"convoy predictions: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"convoy predictions: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _copy_images(chosen: PredictionsSettings) -> None:
    """Copy the images, and print how many each class has."""
    if chosen.folder.exists() and any(chosen.folder.iterdir()):
        raise UsageError(f"{chosen.folder} is not empty; name another folder")
    store, root = _open(chosen.log)
    seen = _images(store, root, chosen)
    counts = Counter(_copy(store, image, chosen.folder) for image in seen)
    for label, count in sorted(counts.items()):
        print(f"{count:6,}  {label}")
    print(f"{counts.total():6,}  images in {chosen.folder}")


def _open(log: str) -> tuple[Any, str]:
    if not is_url(log) and not Path(log).is_dir():
        raise UsageError(f"{log} is not a folder")
    try:
        return open_store(log)
    except RepositoryError as error:
        raise UsageError(str(error)) from error


def _images(store: Any, root: str, chosen: PredictionsSettings) -> list[Seen]:
    """Return each image of the log once; raise if there is none."""
    files = {Path(path).stem: path for path in store.find(f"{root}/_images")}
    found: dict[str, Seen] = {}
    models = set()
    for row in _rows(store, root):
        models.add(row["model"])
        path = files.get(row.get("image_sha256") or "")
        if path and row.get("labels") and row["model"] == (chosen.model or row["model"]):
            # In the row of a shadow, the client's answer is beside the shadow's.
            label = row.get("served_label") or row["labels"][0]
            probability = row.get("served_probability") or row["probabilities"][0]
            found.setdefault(path, Seen(label, probability, path))
    kept = [image for image in found.values() if image.probability <= chosen.max_probability]
    # Case 1: several models, whose classes may have nothing to do with each other.
    if len(models) > 1 and not chosen.model:
        raise UsageError(f"the log has several models: add --model {' or '.join(sorted(models))}")
    # Case 2: another model.
    if chosen.model and chosen.model not in models:
        raise UsageError(f"the log has no model {chosen.model}; it has {', '.join(sorted(models))}")
    # Case 3: the server kept no images.
    if not found:
        raise UsageError(
            f"{chosen.log} has no images with answers; serve with --prediction-log-images"
        )
    # Case 4: all answers are more certain.
    if not kept:
        least = min(image.probability for image in found.values())
        raise UsageError(
            f"all answers are more certain than --max-probability {chosen.max_probability:g}; the "
            f"least certain one has {least:.3f}"
        )
    return kept


def _rows(store: Any, root: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of all parts, with the model, which the folder names."""
    for path in sorted(store.find(root)):
        partition = re.search(r"/model=([^/]+)/", path)
        if not partition:
            continue
        model = {"model": partition[1]}
        if path.endswith(".parquet"):
            import pyarrow.parquet as pq  # an extra

            part = pq.ParquetFile(io.BytesIO(store.cat_file(path)))
            # Parts of older servers have fewer columns.
            table = part.read([name for name in COLUMNS if name in part.schema_arrow.names])
            yield from (row | model for row in table.to_pylist())
        elif path.endswith(".jsonl"):
            yield from (json.loads(line) | model for line in store.cat_file(path).splitlines())


def _copy(store: Any, image: Seen, folder: Path) -> str:
    """Copy an image to the folder of its class; return the class."""
    # A label may hold characters that the name of a folder cannot.
    target = folder / (re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", image.label).strip(". ") or "_")
    target.mkdir(parents=True, exist_ok=True)
    name = f"{image.probability:.3f}-{Path(image.path).name}"
    (target / name).write_bytes(store.cat_file(image.path))
    return image.label
