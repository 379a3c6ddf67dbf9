"""One export from beginning to end: network, artifact, summary."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from convoy.artifact.errors import RepositoryError
from convoy.artifact.manifest import Evaluation, Manifest, macs_text
from convoy.artifact.stores import open_repository
from convoy.export.artifact_writer import write
from convoy.export.errors import ExportError
from convoy.export.export_settings import ExportSettings
from convoy.export.recipes import NETWORKS
from convoy.export.subject import Subject
from convoy.export.training.kept_weights import as_trained, load_kept
from convoy.export.training.task import prepare
from convoy.export.training.tracking.tracker import make_trackers
from convoy.export.training.trained_network import fit
from convoy.export.weights.pretrained import load


def export(settings: ExportSettings, console: Console) -> tuple[str, Manifest] | None:
    """
    Train or load, prove and write one artifact; report progress to *console*.

    Returns:
        The folder of the new version, or its URL, and its manifest; None if `validate_only` is set,
        and in processes that torchrun started beside the first.

    Raises:
        ExportError: If the network, data or weights are not available, or the proof fails.
        RepositoryError: If the artifact cannot be written; raised before the training.
    """
    if settings.from_run is not None:
        settings = as_trained(settings)
    # That of a training is only in its record.
    if settings.architecture not in NETWORKS:
        raise ExportError(f"unknown network {settings.architecture!r}")
    name = settings.model_name
    repository = open_repository(settings.model_repository, report=console.print)
    # Fail before anything is written if a tracker cannot record.
    make_trackers(settings.track)
    # Fail before the training if the artifact cannot be written after it.
    if not settings.validate_only:
        repository.check_writable(name)
    # Weights that a training has kept, public ones, or those of a training that begins now.
    if settings.from_run is not None:
        subject: Subject | None = load_kept(settings, console)
    elif settings.only_weights:
        subject = load(settings, console)
    else:
        subject = fit(prepare(settings, console), console)
    # A training to choose a recipe by, or a process beside the first.
    if subject is None:
        return None
    with ExitStack() as stack:
        if subject.run is not None:
            stack.enter_context(_naming_kept_weights(subject.run.folder))
            stack.enter_context(subject.run.watched())
        folder, number = stack.enter_context(repository.writing(name))
        manifest = write(subject, settings, number, folder, console)
    location = repository.location(name, number)
    # The artifact is there; the checkpoint, to repeat a failed export from, is no longer needed.
    if subject.run is not None:
        # As it is in the repository, which proves an upload, too.
        subject.run.finish(repository.read(name, number).model_path.parent)
    _print_summary(manifest, location, console)
    return location, manifest


@contextmanager
def _naming_kept_weights(folder: Path) -> Iterator[None]:
    """State in the error of an artifact that cannot be written how to export its weights."""
    try:
        yield
    except RepositoryError as error:
        raise RepositoryError(
            f"{error}; the weights are kept: export them with "
            f"`convoy export --from {shlex.quote(str(folder))}`"
        ) from error


def train(settings: ExportSettings, console: Console) -> Path:
    """
    Train, and write no artifact; report progress to *console*.

    Returns:
        The folder of the training, with its weights.

    Raises:
        ExportError: If data or weights are not available, or the training diverges.
    """
    subject = fit(prepare(settings, console), console)
    if subject is not None and subject.run is not None:
        subject.run.finish()
    return settings.runs / settings.model_name


def _print_summary(manifest: Manifest, location: str, console: Console) -> None:
    assert manifest.memory is not None
    memory = manifest.memory
    facts = [
        ("artifact", location),
        ("model", f"{manifest.name} version {manifest.version}, {manifest.precision}"),
        ("classes", str(len(manifest.labels))),
        ("input", f"uint8 [N, {', '.join(map(str, manifest.input.item_shape))}]"),
        ("parameters", f"{manifest.parameter_count:,}"),
        ("MACs per image", macs_text(manifest.macs)),
        *(("accuracy", _accuracy(evaluation)) for evaluation in manifest.evaluations),
        (
            "memory",
            f"weights {memory.weights_bytes / 1e6:.2f} MB, "
            f"arena {memory.arena_peak_bytes / 1e6:.2f} MB at batch {memory.batch_size}",
        ),
        ("SHA-256", manifest.model_sha256),
    ]
    for name, fact in facts:
        console.print(f"{name:16}{fact}")


def _accuracy(evaluation: Evaluation) -> str:
    top5 = "" if evaluation.top5 is None else f", top-5 {evaluation.top5:.4f}"
    return (
        f"top-1 {evaluation.top1:.4f}{top5} on {evaluation.images} images of {evaluation.data}, "
        f"{evaluation.attribution}"
    )
