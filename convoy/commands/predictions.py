"""`convoy predictions`: use a prediction log that `convoy serve` wrote."""

from __future__ import annotations

import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from convoy.artifact.errors import RepositoryError
from convoy.commands.command_line import UsageError, command
from convoy.commands.output_files import explain
from convoy.options import Option, Options
from convoy.stores import is_url, open_store, reaching


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


class _Row(BaseModel):
    """A row of the log. Servers of other versions write fewer columns, or more."""

    time: AwareDatetime
    labels: list[str] | None = None
    class_indices: list[int] | None = None
    probabilities: list[float] | None = None
    image_sha256: str | None = None
    served_label: str | None = None
    served_class_index: int | None = None
    served_probability: float | None = None

    def answer(self) -> tuple[str, int | None, float] | None:
        """
        Return the client's answer: label, class index and probability; None if there is none.

        Raises:
            ValueError: If the columns contradict each other.
        """
        # In the row of a shadow, the client's answer is beside the shadow's.
        if self.served_label and self.served_probability is not None:
            return self.served_label, self.served_class_index, self.served_probability
        if not self.labels:
            return None
        if not self.class_indices or not self.probabilities:
            raise ValueError("a row has labels without classes or probabilities")
        return self.labels[0], self.class_indices[0], self.probabilities[0]


_ROWS = TypeAdapter(list[_Row])


class Seen(NamedTuple):
    """
    An image with an answer that it got.

    Attributes:
        time: When it was answered.
        class_index: None in the logs of servers that did not write it for shadows.
    """

    time: datetime
    label: str
    class_index: int | None
    probability: float
    path: str


@command(PredictionsSettings)
def main(chosen: PredictionsSettings) -> int:
    """Copy the images; return 1 after one line that says why, if it cannot be done."""
    try:
        _copy_images(chosen)
    except (UsageError, RepositoryError) as error:
        print(f"convoy predictions: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"convoy predictions: {explain(error)}", file=sys.stderr)
        return 1
    return 0


def _copy_images(chosen: PredictionsSettings) -> None:
    """
    Copy the images, and print how many each class has.

    Raises:
        UsageError: If there is nothing to copy, or a part of the log is damaged.
        RepositoryError: If the log cannot be read.
        OSError: If an image cannot be written.
    """
    if chosen.folder.exists() and any(chosen.folder.iterdir()):
        raise UsageError(f"{chosen.folder} is not empty; name another folder")
    if not is_url(chosen.log) and not Path(chosen.log).is_dir():
        raise UsageError(f"{chosen.log} is not a folder")
    log = _Log(chosen.log)
    seen = _images(log, chosen)
    names = _folder_names({(image.label, image.class_index) for image in seen})
    counts: Counter[str] = Counter()
    for image in seen:
        name = names[image.label, image.class_index]
        counts[name] += 1
        target = chosen.folder / name / f"{image.probability:.3f}-{Path(image.path).name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(log.read(image.path))
    for name, count in sorted(counts.items()):
        print(f"{count:6,}  {name}")
    print(f"{counts.total():6,}  images in {chosen.folder}")


class _Log:
    """The files of a log, in a folder or a store; every error is a `RepositoryError`."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._store, self.root = open_store(location)

    def find(self, folder: str) -> list[str]:
        """Return the paths of all files below *folder*, sorted."""
        with reaching(self._location):
            return sorted(self._store.find(folder))

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        try:
            with reaching(self._location):
                return bytes(self._store.cat_file(path))
        except FileNotFoundError as error:
            raise RepositoryError(f"{path} was removed meanwhile; run the command again") from error


def _images(log: _Log, chosen: PredictionsSettings) -> list[Seen]:
    """Return each image of the log once, with its first answer; raise if there is none."""
    files = {Path(path).stem: path for path in log.find(f"{log.root}/_images")}
    found: dict[str, Seen] = {}
    models = set()
    for model, row, answer in _rows(log):
        models.add(model)
        path = files.get(row.image_sha256 or "")
        if path and answer and model == (chosen.model or model):
            seen = Seen(row.time, *answer, path)
            # Parts are no sequence: a part of one day has a random name.
            found[path] = min(found.get(path, seen), seen, key=lambda one: one.time)
    kept = [image for image in found.values() if image.probability <= chosen.max_probability]
    # Case 1: no log, or one without a single answer.
    if not models:
        raise UsageError(
            f"{chosen.log} has no predictions; name the --prediction-log of a server, whose "
            "--prediction-log-share, 0.01 by default, may have left out all requests so far"
        )
    # Case 2: several models, whose classes may have nothing to do with each other.
    if len(models) > 1 and not chosen.model:
        raise UsageError(f"the log has several models: add --model {' or '.join(sorted(models))}")
    # Case 3: another model.
    if chosen.model and chosen.model not in models:
        raise UsageError(f"the log has no model {chosen.model}; it has {', '.join(sorted(models))}")
    # Case 4: the server kept no images.
    if not found:
        raise UsageError(
            f"{chosen.log} has no images with answers; serve with --prediction-log-images"
        )
    # Case 5: all answers are more certain.
    if not kept:
        least = min(image.probability for image in found.values())
        raise UsageError(
            f"all answers are more certain than --max-probability {chosen.max_probability:g}; the "
            f"least certain one has {least:.3f}"
        )
    return kept


def _rows(log: _Log) -> Iterator[tuple[str, _Row, tuple[str, int | None, float] | None]]:
    """Yield each row of all parts, between the model, which the folder names, and its answer."""
    for path in log.find(log.root):
        partition = re.search(r"/model=([^/]+)/", path.removeprefix(log.root.rstrip("/")))
        if not partition:
            continue
        try:
            yield from ((partition[1], row, row.answer()) for row in _part(log, path))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join(map(str, problem["loc"]))
            raise _damaged(path, f"row {where}: {problem['msg']}") from error
        # Arrow's errors and json's are of these kinds.
        except (ValueError, OSError) as error:
            raise _damaged(path, str(error)) from error


def _damaged(path: str, why: str) -> UsageError:
    return UsageError(f"{path} is damaged: {why}; remove it, and run again")


def _part(log: _Log, path: str) -> Sequence[_Row]:
    """Read the rows of a part; other files have none."""
    rows: list[Any] = []
    if path.endswith(".parquet"):
        import pyarrow.parquet as pq  # an extra

        part = pq.ParquetFile(io.BytesIO(log.read(path)))
        names = [name for name in part.schema_arrow.names if name in _Row.model_fields]
        rows = part.read(names).to_pylist()
    elif path.endswith(".jsonl"):
        rows = [json.loads(line) for line in log.read(path).splitlines()]
    return _ROWS.validate_python(rows)


def _folder_names(classes: Set[tuple[str, int | None]]) -> dict[tuple[str, int | None], str]:
    """Return the name of a folder for each class: its label, with the index if others share it."""
    # A label may hold characters that the name of a folder cannot have.
    names = {
        one: re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", one[0]).strip(". ") or "_" for one in classes
    }
    counts = Counter(name for (_, index), name in names.items() if index is not None)
    return {
        (label, index): f"{name} ({index})" if index is not None and counts[name] > 1 else name
        for (label, index), name in names.items()
    }
