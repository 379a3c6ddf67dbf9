"""`evaluation.json`: how well a version classifies, as `convoy evaluate` measured it.

It is written beside the manifest after a version was published, and can be missing. It holds one
evaluation for each set of images, which the hash of their content tells apart.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from convoy.artifact.errors import ArtifactError
from convoy.artifact.manifest import Evaluation, Part, Sha256
from convoy.artifact.optional_files import (
    OptionalFile,
    check_graph,
    read_known_file,
    read_optional_file,
)
from convoy.artifact.schema import NewerSchemaError
from convoy.artifact.whole_files import update_beside_graph

EVALUATION_FILE = "evaluation.json"

Share = Annotated[float, Field(ge=0, le=1)]


class Measured(Part):
    """
    A share of the images, with its 95 % interval (Wilson, 1927).

    Attributes:
        count: Number of images that it counts.
    """

    count: int = Field(ge=0)
    share: Share
    low: Share
    high: Share


class ClassScore(Part):
    """
    The scores of one class.

    Attributes:
        images: Number of images of the class.
        precision: Share of the images given this class that are of it; None if none was given it.
        recall: Share of its images that were given it; None if it has no images.
        f1: Harmonic mean of the two; None if it has no images.
    """

    label: str
    images: int = Field(ge=0)
    precision: Share | None
    recall: Share | None
    f1: Share | None


class Bin(Part):
    """Answers of similar confidence: their number, mean confidence, and share of right ones."""

    images: int = Field(ge=1)
    confidence: Share
    accuracy: Share


class DataEvaluation(Part):
    """
    The answers of a model to one set of images.

    Attributes:
        data: Name of the data set, and of its part.
        data_sha256: SHA-256 of the images with their classes.
        images: Number of images.
        skipped: Number of images that could not be decoded and were left out.
        top5: None if there are no more than five classes.
        ece: Expected calibration error: the mean difference of confidence and accuracy over `bins`.
        bins: The reliability curve.
        classes: The classes of the model, in the order of its output.
        confusion: True class, given class and number of images, for each pair that occurs.
        not_finite: Number of images whose scores held NaN or infinity; their answers are wrong.
        images_per_s: Images read, decoded and classified per second.
        measured_with: The runtime and the machine, in words.
    """

    data: str
    data_sha256: Sha256
    images: int = Field(ge=1)
    skipped: int = Field(0, ge=0)
    top1: Measured
    top5: Measured | None
    ece: Share
    bins: tuple[Bin, ...]
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, int, int], ...]
    not_finite: int = Field(0, ge=0)
    images_per_s: float = Field(gt=0)
    measured_with: str
    measured_at: datetime

    def accuracy(self) -> Evaluation:
        """Return the accuracy alone, as manifests state it."""
        return Evaluation(
            data=self.data,
            data_sha256=self.data_sha256,
            origin="measured",
            images=self.images,
            top1=self.top1.share,
            top5=None if self.top5 is None else self.top5.share,
        )


class SavedEvaluations(OptionalFile):
    """The content of `evaluation.json`."""

    schema_version: Literal[1] = 1
    evaluations: tuple[DataEvaluation, ...]


def read_evaluations(folder: Path, model_sha256: str) -> tuple[DataEvaluation, ...]:
    """
    Read the evaluations of the artifact in *folder*; return none if there are none to be used.

    Raises:
        ArtifactError: If the file is damaged, or of another graph than *model_sha256*.
    """
    path = folder / EVALUATION_FILE
    saved = read_optional_file(path, SavedEvaluations)
    if saved is None:
        return ()
    check_graph(path, saved, model_sha256)
    return saved.evaluations


def write_evaluation(folder: Path, evaluation: DataEvaluation, model_sha256: str) -> None:
    """
    Add *evaluation* to those of the artifact in *folder*, atomically.

    It replaces one on the same images. Several processes may add theirs at once.

    Raises:
        ArtifactError: As `evaluations_to_keep`.
    """

    def content() -> str:
        others = (
            one
            for one in evaluations_to_keep(folder, model_sha256)
            if one.data_sha256 != evaluation.data_sha256
        )
        saved = SavedEvaluations(model_sha256=model_sha256, evaluations=(*others, evaluation))
        return saved.model_dump_json(indent=2) + "\n"

    update_beside_graph(folder, EVALUATION_FILE, content)


def evaluations_to_keep(folder: Path, model_sha256: str) -> tuple[DataEvaluation, ...]:
    """
    Read the evaluations of the artifact in *folder*, to which another one is to be added.

    Raises:
        ArtifactError: If the file is damaged, of another graph than *model_sha256*, or of a newer
            convoy: its evaluations would be lost.
    """
    path = folder / EVALUATION_FILE
    try:
        saved = read_known_file(path, SavedEvaluations)
    except NewerSchemaError as error:
        raise ArtifactError(
            f"{path}: {error}; add to it with the convoy that wrote it, or remove it"
        ) from error
    if saved is None:
        return ()
    check_graph(path, saved, model_sha256)
    return saved.evaluations
