"""Export of public weights without training."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from convoy.export import data
from convoy.export.data.held_out import tests_of, validation_of
from convoy.export.errors import DataError
from convoy.export.export_settings import ExportSettings
from convoy.export.subject import Subject
from convoy.export.training.run_record import RECORD_FILE
from convoy.export.weights import (
    PublicWeights,
    file_options,
    find_weights,
    load_into,
    numbered_labels,
)
from convoy.export.weights.state_dict import NAMED
from convoy.models import ARCHITECTURES, drop_auxiliary


def load(settings: ExportSettings, console: Console) -> Subject:
    """
    Build the network and give it the weights that *settings* name.

    Raises:
        WeightsError: If there are no such weights, or they do not fit the network.
        DataError: If the images to measure them on have other classes.
    """
    assert settings.weights is not None
    weights = find_weights(settings.architecture, settings.weights, file_options(settings))
    console.print(f"weights {weights.source}")
    if warning := _warning(settings, weights.labels):
        console.print(f"warning: {warning}", markup=False)
    network = ARCHITECTURES[settings.architecture].build(num_classes=len(weights.labels))
    load_into(network, weights.state, weights.source)
    drop_auxiliary(network)
    decoding = {"scaled_decoding": settings.scaled_decoding}
    spec = weights.preprocessing.model_copy(update=decoding)
    images = _images(settings, weights, console)
    return Subject(
        architecture=settings.architecture,
        network=network.eval(),
        labels=weights.labels,
        preprocessing=spec,
        mean=weights.mean,
        std=weights.std,
        weights=weights.record(),
        published=() if weights.evaluation is None else (weights.evaluation,),
        validation=None if images is None else validation_of(images),
        tests=() if images is None else tests_of(images),
        skipped_images=() if images is None else images.skipped,
        calibration=None if images is None else images.train,
    )


def _warning(settings: ExportSettings, labels: tuple[str, ...]) -> str | None:
    """Return a warning if the export of a file of weights alone loses facts, else None."""
    assert settings.weights is not None
    path = Path(settings.weights)
    if settings.is_file and (path.parent / RECORD_FILE).is_file():
        return (
            f"{path.parent / RECORD_FILE} has the labels and the preprocessing of these weights, "
            f"which are not read here: export them with `convoy export --from {path}`"
        )
    if settings.labels is None and labels == numbered_labels(len(labels)):
        return (
            f'{path.name} names no classes: they are called "{labels[0]}" to "{labels[-1]}"; give '
            "their names with --labels"
        )
    return None


def _images(
    settings: ExportSettings, weights: PublicWeights, console: Console
) -> data.DataSet | None:
    """
    Load the images to measure on.

    Their classes are compared by their order, which is printed where the names differ: the folders
    of ImageNet are named by WordNet's numbers, whose order is that of the weights.
    """
    if settings.evaluation_data is None:
        return None
    images, labels = data.load(settings.evaluation_data), weights.labels
    # Names may be worded differently, so that their number decides. A name of another place would
    # give wrong accuracies.
    if len(images.labels) != len(labels):
        raise DataError(
            f"{images.name} has {len(images.labels)} classes, and the weights {len(labels)}"
        )
    pairs = [pair for pair in zip(images.labels, labels, strict=True) if pair[0] != pair[1]]
    if moved := next((name for name, _ in pairs if name in labels), None):
        raise DataError(
            f"{moved} is class {images.labels.index(moved)} of {images.name}, and class "
            f"{labels.index(moved)} of the weights: leave out --evaluation-data, and measure the "
            "model with convoy evaluate, which goes by the names of the classes"
        )
    if pairs:
        named = ", ".join(f"{name} for {label}" for name, label in pairs[:NAMED])
        rest = f", and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
        console.print(f"classes of {images.name} by their order: {named}{rest}", markup=False)
    if images.left_out:
        console.print(f"left out: {data.counted(images.left_out)}")
    return data.check_images(
        images, weights.preprocessing, console, skip_bad=settings.skip_bad_images
    )
