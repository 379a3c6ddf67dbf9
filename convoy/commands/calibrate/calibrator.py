"""`convoy calibrate` from its settings to the next version of the model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from convoy.artifact.files import (
    GOLDEN_FILE,
    MODEL_FILE,
    Artifact,
    file_sha256,
    write_golden,
    write_manifest,
)
from convoy.artifact.golden import Golden, expected_answers, replay, softmax
from convoy.artifact.layers import write_layers
from convoy.artifact.manifest import Calibration, Manifest, Training
from convoy.artifact.stores import check_newest, open_repository
from convoy.commands.calibrate.calibrate_settings import CalibrateSettings
from convoy.commands.command_line import UsageError
from convoy.commands.evaluate import scoring
from convoy.commands.evaluate.answers import refuse_bad, scores_of
from convoy.commands.evaluate.labelled_images import LabelledImages, load_images
from convoy.commands.evaluate.models import read_model
from convoy.export.data.classes import class_indices
from convoy.export.describing.layer_table import describe_graph
from convoy.export.errors import DataError, ProofError
from convoy.export.onnx.session import open_session
from convoy.export.onnx.temperature import (
    Scores,
    as_logits,
    cross_entropy,
    fit_temperature,
    fold_temperature,
)

FEW_IMAGES = 200
"""Number of images below which a fitted temperature is a guess."""

NEGLIGIBLE = 0.005
"""
Difference of a temperature from 1 that is too small to matter.

It changes the probabilities of two classes by at most 0.0012.
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """
    Images with the answers of the model.

    Attributes:
        logits: `[N, classes]`.
        truth: Index of the class of each in the model's output: `[N]`.
    """

    images: LabelledImages
    logits: Scores
    truth: npt.NDArray[np.int64]

    def measure(self, temperature: float) -> tuple[float, float]:
        """Return the calibration error and the cross-entropy at *temperature*."""
        shares = softmax(self.logits / temperature)
        right = shares.argmax(axis=1) == self.truth
        ece, _ = scoring.reliability(shares.max(axis=1), right)
        return ece, cross_entropy(self.logits, self.truth, temperature)


def calibrate(settings: CalibrateSettings, console: Console) -> str | None:
    """
    Fit a temperature and write the next version of the model; report to *console*.

    Returns:
        The folder of the new version, or its URL; None if the probabilities are calibrated already
        or cannot be improved.

    Raises:
        RepositoryError: If there is no such model, it cannot be written, or another version of it
            has appeared.
        ArtifactError: If it is damaged.
        ExportError: If the data is not available or does not fit the model, or its graph has no
            softmax.
        UsageError: If the model is multi-label.
    """
    repository = open_repository(settings.model_repository, report=console.print)
    artifact = read_model(repository, settings.model)
    repository.check_writable(artifact.manifest.name)
    newest = max(repository.versions(artifact.manifest.name), default=0)
    fitted, measured = (
        _answered(settings, artifact, images)
        for images in _parts(settings, artifact.manifest, console)
    )
    temperature = fit_temperature(fitted.logits, fitted.truth)
    if temperature is None:
        raise DataError(
            f"no temperature fits the {len(fitted.truth)} images of {fitted.images.name}: the "
            "model is right about all of them, or no better than chance; give more images"
        )
    before, after = measured.measure(1.0), measured.measure(temperature)
    _print(temperature, fitted, measured, before, after, console)
    if abs(temperature - 1) < NEGLIGIBLE:
        console.print("the probabilities are calibrated already; nothing written")
        return None
    # Measured on images that the fit has not seen.
    if after[1] >= before[1]:
        console.print(
            "the cross-entropy on these images, which decides, does not fall "
            f"({before[1]:.4f} -> {after[1]:.4f}); nothing written"
        )
        return None
    with repository.writing(artifact.manifest.name) as (folder, number):
        check_newest(repository, artifact.manifest.name, newest)
        calibration = Calibration(
            temperature=temperature,
            of_version=artifact.manifest.version,
            data=fitted.images.name,
            data_sha256=fitted.images.sha256,
            images=len(fitted.truth),
        )
        _write(artifact, calibration, number, folder)
    location = repository.location(artifact.manifest.name, number)
    console.print(f"artifact {location}")
    return location


def _parts(
    settings: CalibrateSettings, manifest: Manifest, console: Console
) -> tuple[LabelledImages, LabelledImages]:
    """Return the images to fit on and those to measure on, none of which was trained on."""
    tested = load_images(settings.data, None, [manifest])
    for note in tested.notes:
        console.print(note)
    # The weights were chosen on the validation part, and not fitted to it: it can fit one number.
    if tested.part == "test" and _was_validated(manifest.training):
        return load_images(settings.data, "validation", [manifest]), tested
    first, second = tested.halves()
    if not len(first.images) or not len(second.images):
        raise DataError(
            f"{tested.name} has too few images to fit on one half and measure on the other"
        )
    return first, second


def _was_validated(training: Training | None) -> bool:
    """Return whether the validation part was kept from the training, also of an imported model."""
    return training is None or training.validation is not None


def _answered(settings: CalibrateSettings, artifact: Artifact, images: LabelledImages) -> Answered:
    manifest = artifact.manifest
    title = f"{manifest.name}:{manifest.version}"
    indices = class_indices(images.classes, manifest.labels, title, by_order=settings.by_order)
    found, bad = [], dict[int, str]()
    for _, scores, refused in scores_of(artifact, images.images, lambda _: None):
        found.append(scores)
        bad |= refused
    names = [str(one) if isinstance(one, Path) else "an image" for one in images.images.sources]
    refuse_bad(images.images, names, bad, skip=settings.skip_bad_images)
    used = images.without(bad)
    logits = as_logits(np.concatenate(found), manifest.scores.kind)
    if not np.isfinite(logits).all():
        raise UsageError(f"{title} answers NaN or infinity for some images of {images.name}")
    return Answered(used, logits, indices[used.images.labels])


def _print(
    temperature: float,
    fitted: Answered,
    measured: Answered,
    before: tuple[float, float],
    after: tuple[float, float],
    console: Console,
) -> None:
    kind = "less" if temperature > 1 else "more"
    console.print(
        f"temperature {temperature:.4f}: {kind} confident; fitted on {len(fitted.truth)} images of "
        f"{fitted.images.name}"
    )
    if len(fitted.truth) < FEW_IMAGES:
        console.print(
            f"warning: few images to fit a temperature on ({len(fitted.truth)}); give a few hundred"
        )
    console.print(
        f"on {len(measured.truth)} images of {measured.images.name}: ECE {before[0]:.4f} before, "
        f"{after[0]:.4f} after; cross-entropy {before[1]:.4f} before, {after[1]:.4f} after"
    )


def _write(artifact: Artifact, calibration: Calibration, number: int, folder: Path) -> None:
    """Write the files of the version *number*, whose graph divides by the temperature."""
    manifest = artifact.manifest
    model = folder / MODEL_FILE
    fold_temperature(artifact.model_path, model, manifest, calibration.temperature)
    scores = artifact.golden.logits
    logits = as_logits(scores.astype(np.float64), manifest.scores.kind) / calibration.temperature
    expected = logits if manifest.scores.kind == "logits" else softmax(logits)
    golden = Golden(artifact.golden.images, expected.astype(np.float32))
    write_golden(folder, golden)
    made = manifest.model_copy(
        update={
            "version": number,
            "calibration": calibration,
            "model_sha256": file_sha256(model),
            "golden_sha256": file_sha256(folder / GOLDEN_FILE),
            "created_at": datetime.now(UTC).replace(microsecond=0),
        }
    )
    _prove(made, model, golden)
    write_manifest(folder, made)
    parameters = artifact.layers.trained_parameters if artifact.layers else made.parameter_count
    title = f"{made.name} version {number}"
    write_layers(folder, describe_graph(model, made.input, title, parameters), made.model_sha256)


def _prove(manifest: Manifest, model: Path, golden: Golden) -> None:
    """Check that the graph answers what the temperature makes of the earlier answers."""
    session = open_session(model)
    kinds = {one.name: one.kind for one in manifest.outputs if one.kind != "other"}

    def run(images: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        found = session.run(list(kinds), {manifest.input.name: images})
        return dict(zip(kinds, found, strict=True))

    size = min(manifest.max_batch_size, len(golden.images))
    batches = np.split(np.arange(len(golden.images)), range(size, len(golden.images), size))
    expected = expected_answers(kinds, golden.logits)
    for drift in replay(run, golden.images, expected, batches):
        if drift.exceeds(manifest.golden_tolerance) or not drift.same_classes:
            raise ProofError(
                f"with the temperature, {drift.output} is {drift.share:.1e} of its range off; "
                f"{manifest.golden_tolerance:.0e} is allowed: the graph is not calibrated"
            )
