"""`convoy evaluate` from its settings to its table and files."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import numpy as np
import numpy.typing as npt
import onnxruntime
from rich.console import Console

from convoy.artifact.evaluation import DataEvaluation, evaluations_to_keep, write_evaluation
from convoy.artifact.files import Artifact
from convoy.artifact.repository import ModelRepository
from convoy.client import Client
from convoy.commands.command_line import UsageError
from convoy.commands.evaluate import scoring
from convoy.commands.evaluate.answers import (
    TOP,
    Answers,
    Show,
    ask_artifact,
    ask_server,
    check_single_label,
    multi_label_error,
    refuse_bad,
)
from convoy.commands.evaluate.calibration_data import calibration_notes
from convoy.commands.evaluate.evaluate_settings import EvaluateSettings
from convoy.commands.evaluate.labelled_images import LabelledImages, load_images
from convoy.commands.evaluate.models import parse_model, read_model
from convoy.commands.evaluate.report import ModelResult, Pair, Report, print_report, write_json
from convoy.commands.measurement.progress import progress_bar
from convoy.commands.output_files import prepare, prepare_beside_graph
from convoy.consoles import plain_console
from convoy.export.data.classes import class_indices
from convoy.export.data.split import Split
from convoy.export.errors import DataError
from convoy.results import Model
from convoy.service.machine.resources import processor_name


@dataclass(frozen=True, slots=True)
class Subject:
    """
    A model that is measured.

    Attributes:
        ask: Answers images; reports how many are done.
        measured_with: The runtime and the machine, in words.
        artifact: Its files, if it is run here.
    """

    name: str
    version: int
    labels: tuple[str, ...]
    ask: Callable[[Split, Show], Answers]
    measured_with: str
    artifact: Artifact | None = None

    @property
    def title(self) -> str:
        return f"{self.name}:{self.version}"


def evaluate(settings: EvaluateSettings, console: Console | None = None) -> Report:
    """
    Measure, print, draw and write; return the results.

    Raises:
        RepositoryError: If there is no such model.
        ArtifactError: If one is damaged.
        ExportError: If the data is not available, has other classes than a model, or images that
            cannot be decoded; or if ONNX Runtime refuses a graph.
        ConvoyError: If the server cannot be reached or refuses a call.
        UsageError: If the options do not fit the models.
        OSError: If a file cannot be written.
    """
    _make_folders(settings)
    console = console or plain_console(soft_wrap=True)
    if settings.uses_server:
        with Client(
            settings.address,
            timeout_s=settings.timeout_s,
            credentials=settings.credentials(),
            token=settings.token.get_secret_value(),
        ) as client:
            report = _measure_all(settings, _served(settings, client), quiet=console.quiet)
    else:
        report = _measure_all(settings, _stored(settings), quiet=console.quiet)
    print_report(report, console)
    if settings.json_file:
        write_json(report, settings.json_file)
    if settings.figures:
        from convoy.commands.evaluate.figures import draw_all  # matplotlib takes a second to import

        for path in draw_all(report, settings.figures, settings.format):
            console.print(str(path))
    return report


def _make_folders(settings: EvaluateSettings) -> None:
    """Make the folders before measuring, as results must not be lost for want of a folder."""
    prepare(settings.json_file)
    if settings.figures:
        import matplotlib  # noqa: F401 - fails before measuring if it is not installed

        settings.figures.mkdir(parents=True, exist_ok=True)


def _stored(settings: EvaluateSettings) -> list[Subject]:
    """Return the models of the repository, beside which results can be written if they are to."""
    subjects = []
    for text in dict.fromkeys(settings.models):
        artifact = read_model(ModelRepository(settings.model_repository), text)
        manifest = artifact.manifest
        check_single_label(manifest)
        if settings.write:
            prepare_beside_graph(artifact.model_path.parent)
            # What is refused after measuring is refused before.
            evaluations_to_keep(artifact.model_path.parent, manifest.model_sha256)
        subjects.append(
            Subject(
                name=manifest.name,
                version=manifest.version,
                labels=manifest.labels,
                ask=partial(ask_artifact, artifact),
                measured_with=f"ONNX Runtime {onnxruntime.__version__}, {processor_name()}",
                artifact=artifact,
            )
        )
    return subjects


def _served(settings: EvaluateSettings, client: Client) -> list[Subject]:
    """Return the models of the server."""
    models = client.models()
    return [
        _served_model(settings, client, models, text) for text in dict.fromkeys(settings.models)
    ]


def _served_model(
    settings: EvaluateSettings, client: Client, models: Sequence[Model], text: str
) -> Subject:
    name, version = parse_model(text)
    found = [m for m in models if m.name == name and version in (0, m.version)]
    if not found:
        known = ", ".join(f"{model.name}:{model.version}" for model in models) or "none"
        raise UsageError(
            f"{settings.address} serves no {text}; it serves {known}. To measure a model of the "
            "repository, leave out --address and unset CONVOY_ADDRESS"
        )
    model = max(found, key=lambda one: one.version)
    if model.is_multi_label:
        raise multi_label_error(model.name)
    return Subject(
        name=model.name,
        version=model.version,
        labels=model.labels,
        ask=lambda images, show: ask_server(
            client, model.name, model.version, len(model.labels), images, show
        ),
        measured_with=f"the server at {settings.address}, {model.provider}",
    )


def _measure_all(settings: EvaluateSettings, subjects: Sequence[Subject], *, quiet: bool) -> Report:
    manifests = [subject.artifact.manifest for subject in subjects if subject.artifact]
    images = load_images(settings.data, settings.part, None if settings.uses_server else manifests)
    maps = [
        class_indices(images.classes, s.labels, s.title, by_order=settings.by_order)
        for s in subjects
    ]
    answers = _ask_all(settings, subjects, images, quiet=quiet)
    # Every model is measured on the same images: those that any of them cannot decode are left out.
    bad = {index for found, _ in answers for index in found.bad}
    used = images.without(bad)
    if not len(used.images):
        raise DataError(f"no image of {images.name} can be decoded")
    results, rights = [], []
    for subject, indices, (found, seconds) in zip(subjects, maps, answers, strict=True):
        kept, truth = found.without(bad), indices[used.images.labels]
        rights.append(scoring.right_answers(kept.best, truth, 1))
        evaluation = _evaluation(subject, used, kept, truth, len(images.images) / seconds)
        results.append(
            ModelResult(model=subject.name, version=subject.version, evaluation=evaluation)
        )
        if settings.write and subject.artifact:
            artifact = subject.artifact
            folder = artifact.model_path.parent
            write_evaluation(folder, evaluation, artifact.manifest.model_sha256)
    pair = None
    if len(rights) == 2:
        first, second, p_value = scoring.mcnemar(*rights)
        pair = Pair(only_first=first, only_second=second, p_value=p_value)
    notes = (*images.notes, *calibration_notes(settings.data, images, manifests))
    return Report(results=tuple(results), notes=notes, pair=pair, written=settings.write)


def _ask_all(
    settings: EvaluateSettings,
    subjects: Sequence[Subject],
    images: LabelledImages,
    *,
    quiet: bool,
) -> list[tuple[Answers, float]]:
    """Return the answers of each model, with the seconds that they took."""
    total = len(images.images) * len(subjects)
    names = [str(s) if not isinstance(s, bytes) else "an image" for s in images.images.sources]
    found = []
    errors = plain_console(stderr=True, quiet=quiet)
    with progress_bar(errors) as show:
        for number, subject in enumerate(subjects):
            before = number * len(images.images)
            # A line for each model where there is no terminal, not one for each batch.
            is_bar = sys.stderr.isatty()
            show(subject.title, before, total)

            def done(count: int, title: str = subject.title, before: int = before) -> None:
                if is_bar:  # noqa: B023 - the same for all models
                    show(title, before + count, total)

            started = time.perf_counter()
            answers = subject.ask(images.images, done)
            found.append((answers, time.perf_counter() - started))
            refuse_bad(images.images, names, answers.bad, skip=settings.skip_bad_images)
    return found


def _evaluation(
    subject: Subject,
    images: LabelledImages,
    answers: Answers,
    truth: npt.NDArray[np.int64],
    images_per_s: float,
) -> DataEvaluation:
    """Score the *answers* to *images*, whose right classes are *truth*."""
    best = answers.best
    right = scoring.right_answers(best, truth, 1)
    ece, bins = scoring.reliability(answers.confidence, right)
    table = scoring.confusion(best, truth, len(subject.labels))
    # The last column counts answers that were no numbers; no class was given there.
    entries = [
        (int(t), int(g), int(table[t, g])) for t, g in zip(*table[:, :-1].nonzero(), strict=True)
    ]
    has_top5 = len(subject.labels) > TOP  # else every answer is among the five
    return DataEvaluation(
        data=images.name,
        data_sha256=images.sha256,
        images=len(truth),
        skipped=images.skipped,
        top1=scoring.measured(right),
        top5=scoring.measured(scoring.right_answers(best, truth, TOP)) if has_top5 else None,
        ece=ece,
        bins=tuple(bins),
        classes=tuple(scoring.class_scores(table, subject.labels)),
        confusion=tuple(entries),
        not_finite=int((best[:, 0] < 0).sum()),
        images_per_s=images_per_s,
        measured_with=subject.measured_with,
        measured_at=datetime.now(UTC).replace(microsecond=0),
    )
